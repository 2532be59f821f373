"""Futures and states inside of values."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from penstock.annotations import allow_failure, quote
from penstock.engine.inputs import find, resolve, to_states
from penstock.errors import UpstreamNotReady
from penstock.states import Cancelled, Completed, Crashed, Failed, Pending


@dataclass(frozen=True, slots=True)
class Slotted:
    """A frozen dataclass without a dict."""

    item: Any


class Model(BaseModel):
    """A pydantic model."""

    item: Any


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
