"""The model of a run's state says what the table of states says."""

import re

from penstock.api.runstate import RunState, StateWord
from penstock.api.states import StateType, is_legal


def test_the_words_of_the_model_are_those_of_the_table() -> None:
    assert StateWord.__args__ == tuple(state.value for state in StateType)  # type: ignore[attr-defined]


def test_the_rule_of_the_state_names_every_legal_step_and_no_other() -> None:
    (rule,) = RunState.rules
    steps = set(re.findall(r"'(\w+)>(\w+)'", rule.rule))
    legal = {(a, b) for a in StateType for b in StateType if is_legal(a, b)}
    assert steps == {(a.value, b.value) for a, b in legal if not a.terminal}
