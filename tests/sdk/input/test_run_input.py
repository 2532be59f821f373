"""Models of input."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from penstock.errors import InvalidRunInput
from penstock.input import RunInput, keyset_from_base_key, keyset_from_paused_state
from penstock.input.run_input import run_input_of, validated
from penstock.states import Completed, Paused


class Name(RunInput):
    first: str
    last: str = "x"


class Plain(BaseModel):
    n: int


def test_other_types_are_wrapped_and_models_taken_as_they_are() -> None:
    assert run_input_of(Plain) is Plain
    assert run_input_of(Name) is Name
    model = run_input_of(list[int])
    assert validated(model, ["1", 2]).model_dump() == {"value": [1, 2]}
    assert validated(model, {"value": [3]}).model_dump() == {"value": [3]}


@pytest.mark.parametrize(
    ("given", "message"),
    [({}, "first: Field required"), ({"first": 1}, "first: Input should be a valid string"), (7, "Name: Input should")],
)
def test_what_does_not_fit_is_refused_by_field(given: object, message: str) -> None:
    with pytest.raises(InvalidRunInput, match=f"the input is no Name: .*{message}"):
        validated(Name, given)


def test_an_instance_fits() -> None:
    name = Name(first="a")
    assert validated(Name, name) is name
    assert validated(Plain, Plain(n=1)) == Plain(n=1)


def test_keysets_have_prefects_names() -> None:
    assert keyset_from_base_key("k") == {
        "description": "k-description",
        "response": "k-response",
        "schema": "k-schema",
    }
    state = Paused()
    assert keyset_from_paused_state(state)["schema"] == f"paused-{state.id}-schema"
    with pytest.raises(RuntimeError, match="a Completed run waits for no input"):
        keyset_from_paused_state(Completed())


def test_what_was_not_received_has_no_origin() -> None:
    with pytest.raises(RuntimeError, match="was not received"):
        _ = Name(first="a").metadata
