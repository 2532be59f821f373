"""Hashes: equal for equal values, different for what JSON alone would take for the same."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.results.hashing import hash_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner)
        | st.frozensets(st.text())
    ),
    max_leaves=8,
)


@dataclass
class Point:
    x: int
    y: Any = None


class Model(BaseModel):
    x: int


@given(value=VALUES)
def test_a_copy_has_the_same_hash(value: Any) -> None:
    assert hash_of(copy.deepcopy(value)) == hash_of(value)


@given(value=st.dictionaries(st.text(), st.integers(), min_size=2))
def test_the_order_of_a_dict_makes_no_difference(value: dict[str, int]) -> None:
    assert hash_of(dict(reversed(value.items()))) == hash_of(value)


def test_what_differs_hashes_differently() -> None:
    values = [
        1, 1.0, True, "1", None, "null", b"1", [1], (1,), {1}, frozenset({1}), [[1]], {1: 2}, {"1": 2}, [], (), {}, "",
        Point(1), Point(2), Model(x=1), {"x": 1}, {"dict": []}, {"tuple": [1]}, Point,
    ]  # fmt: skip
    for one, other in combinations(values, 2):
        assert hash_of(one) != hash_of(other), (one, other)


def test_a_value_that_holds_itself() -> None:
    value: list[Any] = [1]
    value.append(value)
    assert hash_of(value) == hash_of(copy.deepcopy(value))


def test_lone_surrogates() -> None:
    assert hash_of("\ud800") != hash_of(["\ud800"])


def test_what_cannot_be_pickled_raises() -> None:
    import threading

    with pytest.raises(TypeError):
        hash_of({"a": [Point(1, threading.Lock())]})
