"""Futures and states inside of values."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from pydantic import BaseModel, ConfigDict

from penstock.annotations import allow_failure, quote
from penstock.engine.inputs import find, resolve, to_states
from penstock.errors import InvalidParameters, UpstreamNotReady
from penstock.states import Cancelled, Completed, Crashed, Failed, Pending


@dataclass(frozen=True, slots=True)
class Slotted:
    """A frozen dataclass without a dict."""

    item: Any


class Model(BaseModel):
    """A pydantic model."""

    item: Any


class Open(BaseModel):
    """A pydantic model that takes more than its fields."""

    model_config = ConfigDict(extra="allow")


class Pair(NamedTuple):
    left: Any
    right: Any


class Loud(list[Any]):
    """A list of the user's own."""


def test_values_without_futures_come_back_as_they_are() -> None:
    for value in (1, [1, [2]], {"a": [1]}, Slotted([1]), Model(item=[1]), Loud([1]), object(), (1, {2}), Slotted):
        assert resolve(value) is value


def test_replaced_in_place_of_what_they_stood_in() -> None:
    done = Completed(data=7)
    assert resolve([done, [done]]) == [7, [7]]
    assert resolve((done,)) == (7,)
    assert resolve(Slotted(done)) == Slotted(7)
    assert resolve(Model(item={"a": done})) == Model(item={"a": 7})
    changed = resolve(defaultdict(list, a=done))
    assert changed == {"a": 7}
    assert changed["missing"] == []


DONE = Completed(data=7)
HELD: dict[str, tuple[Any, Any]] = {
    "a key": ({DONE: 1}, {7: 1}),
    "a key and its value": ({"a": {DONE: DONE, 2: 3}}, {"a": {7: 7, 2: 3}}),
    "a key that is a tuple": ({(1, DONE): 2}, {(1, 7): 2}),
    "an ordered dict": (OrderedDict([(DONE, 1), ("b", DONE)]), OrderedDict([(7, 1), ("b", 7)])),
    "a deque": (deque([1, DONE], maxlen=2), deque([1, 7], maxlen=2)),
    "a named tuple": (Pair(DONE, [DONE]), Pair(7, [7])),
    "a set": ({DONE, 1}, {7, 1}),
    "a frozenset": (frozenset([DONE]), frozenset([7])),
    "a frozen dataclass": (Slotted(DONE), Slotted(7)),
    "a model": (Model(item=DONE), Model(item=7)),
    "a field that the model does not name": (Open(item=DONE, other=[1]), Open(item=7, other=[1])),  # type: ignore[call-arg]
}


@pytest.mark.parametrize("name", HELD)
def test_containers(name: str) -> None:
    """Whatever holds it, it is found and replaced, and what held it stays as it was."""
    given, expected = HELD[name]
    assert next(held for held, _ in find(given)) is DONE
    resolved = resolve(given)
    assert resolved == expected
    assert type(resolved) is type(given)
    assert getattr(resolved, "maxlen", None) == getattr(given, "maxlen", None)
    assert find(given) != []


@pytest.mark.parametrize("container", [{Completed(data=[1]): 2}, {Completed(data=[1])}])
def test_a_result_that_cannot_stand_where_its_future_stood(container: Any) -> None:
    with pytest.raises(InvalidParameters, match="unhashable type: 'list'; pass the future in a list, or as a value"):
        resolve(container)


def test_a_container_that_holds_itself_ends() -> None:
    loop: list[Any] = [Completed(data=1)]
    loop.append(loop)
    assert resolve(loop)[0] == 1


def test_a_large_plain_list_is_not_copied() -> None:
    rows = list(range(1_000_000))
    assert resolve({"rows": rows})["rows"] is rows


@pytest.mark.parametrize("state", [Failed(), Crashed(), Cancelled(), Pending(), Pending(name="NotReady")])
def test_nothing_is_built_on_what_did_not_complete(state: Any) -> None:
    with pytest.raises(UpstreamNotReady, match=state.name):
        resolve([state])


def test_failures_that_are_allowed_become_values() -> None:
    error = ValueError("x")
    assert resolve(allow_failure([Failed(data=error), Pending(name="NotReady")])) == [error, None]
    with pytest.raises(UpstreamNotReady):
        resolve(allow_failure(Crashed()))


def test_quoted_values_are_skipped_and_unwrapped() -> None:
    held = [Failed()]
    assert resolve(quote(held)) is held
    assert find(quote(held)) == []


def test_returned_values_keep_their_quotes() -> None:
    quoted = quote(ValueError())
    assert to_states([quoted])[0] is quoted
