"""The model of a run's state says what the table of states says."""

from penstock.api.runstate import RunState, StateWord
from penstock.api.states import StateType


def test_the_words_of_the_model_are_those_of_the_table() -> None:
    assert StateWord.__args__ == tuple(state.value for state in StateType)  # type: ignore[attr-defined]


def test_the_rules_of_the_state_name_every_move_that_is_not_terminal() -> None:
    table = next(rule.rule for rule in RunState.rules if "oldSelf.seq + 1" in rule.rule)
    for state in StateType:
        assert (f"'{state.value}': [" in table) == (not state.terminal)
