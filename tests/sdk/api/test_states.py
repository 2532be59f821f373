"""The table of states: every pair is walked."""

from itertools import product

import pytest

from penstock.api.states import TERMINAL, TRANSITIONS, IllegalTransition, StateName, StateType, check, is_legal

EVERY = (None, *StateType)
PAIRS = list(product(EVERY, StateType))


def test_the_table_has_a_row_for_every_state_and_for_a_new_run() -> None:
    assert set(TRANSITIONS) == set(EVERY)


@pytest.mark.parametrize(("current", "proposed"), PAIRS)
def test_check_raises_exactly_where_a_move_is_illegal(current: StateType | None, proposed: StateType) -> None:
    if is_legal(current, proposed):
        check(current, proposed)
        return
    with pytest.raises(IllegalTransition) as refusal:
        check(current, proposed)
    assert proposed in str(refusal.value)
    assert refusal.value.reason == "IllegalTransition"


def test_terminal_states_lead_nowhere_and_all_others_lead_on() -> None:
    assert {state for state in StateType if not TRANSITIONS[state]} == TERMINAL
    assert {state for state in StateType if state.terminal} == TERMINAL


def test_a_run_that_is_cancelled_ends_cancelled() -> None:
    assert TRANSITIONS[StateType.CANCELLING] == {StateType.CANCELLED}


@pytest.mark.parametrize("state", [state for state in StateType if not state.terminal])
def test_from_every_state_a_run_can_end(state: StateType) -> None:
    reached, frontier = set(), {state}
    while frontier:
        reached |= frontier
        frontier = {following for one in frontier for following in TRANSITIONS[one]} - reached
    assert reached & TERMINAL


def test_only_user_code_completes_and_only_claimed_attempts_pause() -> None:
    assert [state for state in EVERY if is_legal(state, StateType.COMPLETED)] == [StateType.RUNNING]
    assert {state for state in EVERY if is_legal(state, StateType.PAUSED)} == {StateType.RUNNING, StateType.PAUSED}


def test_no_live_run_is_stuck_without_a_way_to_crash_but_a_cancelled_one() -> None:
    stuck = {state for state in EVERY if state not in TERMINAL and not is_legal(state, StateType.CRASHED)}
    assert stuck == {StateType.CANCELLING}


def test_the_message_says_what_is_legal() -> None:
    refusal = IllegalTransition(StateType.CANCELLING, StateType.COMPLETED)
    assert str(refusal) == "Cancelling cannot become Completed; legal is Cancelled"
    assert "nothing: it is terminal" in str(IllegalTransition(StateType.FAILED, StateType.RUNNING))
    assert "a new run" in str(IllegalTransition(None, StateType.PAUSED))


def test_names_refine_and_do_not_repeat_types() -> None:
    names = {value for key, value in vars(StateName).items() if key.isupper()}
    assert not names & {state.value for state in StateType}
