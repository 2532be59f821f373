"""What the FlowRun model computes itself."""

from builders import good, run_state
from penstock.api.flowrun import FlowRun, RunState, StateWord
from penstock.api.states import StateType


def test_the_words_of_the_model_are_those_of_the_table() -> None:
    assert StateWord.__args__ == tuple(state.value for state in StateType)  # type: ignore[attr-defined]


def test_the_state_of_a_run_is_none_until_it_is_accepted() -> None:
    body = good("FlowRun")
    assert FlowRun.model_validate(body).state_type is None
    assert FlowRun.model_validate({**body, "status": {}}).state_type is None
    accepted = FlowRun.model_validate({**body, "status": {"state": run_state("Pending")}})
    assert accepted.state_type is StateType.PENDING


def test_the_rules_of_the_state_name_every_move_that_is_not_terminal() -> None:
    table = next(rule.rule for rule in RunState.rules if "oldSelf.seq + 1" in rule.rule)
    for state in StateType:
        assert (f"'{state.value}': [" in table) == (not state.terminal)
