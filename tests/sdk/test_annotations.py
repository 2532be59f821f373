"""Wrappers of one argument are values: they compare, hash and show themselves by what they hold."""

from __future__ import annotations

from typing import Any

import pytest

import penstock
from penstock.annotations import Annotation, allow_failure, opaque, quote, unmapped

KINDS: list[type[Annotation[Any]]] = [unmapped, allow_failure, quote, opaque]


@pytest.mark.parametrize("kind", KINDS)
def test_the_value_can_be_taken_out(kind: type[Annotation[Any]]) -> None:
    value = [1, 2]
    assert kind(value).value is value
    assert kind(value).unwrap() is value


@pytest.mark.parametrize("kind", KINDS)
def test_equal_is_the_same_wrapper_of_an_equal_value(kind: type[Annotation[Any]]) -> None:
    assert kind([1]) == kind([1])
    assert kind([1]) != kind([2])
    assert kind([1]) != [1]
    assert all(kind([1]) != other([1]) for other in KINDS if other is not kind)


def test_they_can_be_in_sets_where_their_values_can() -> None:
    assert len({unmapped(1), unmapped(1), quote(1), unmapped(2)}) == 3
    with pytest.raises(TypeError, match="unhashable"):
        hash(unmapped([1]))


@pytest.mark.parametrize("kind", KINDS)
def test_they_show_what_they_hold(kind: type[Annotation[Any]]) -> None:
    assert repr(kind("x")) == f"{kind.__name__}('x')"


def test_a_quote_can_be_unquoted() -> None:
    """As Prefect's."""
    assert quote("x").unquote() == "x"


def test_they_hold_nothing_else() -> None:
    with pytest.raises(AttributeError):
        unmapped(1).more = 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["unmapped", "allow_failure", "quote", "opaque"])
def test_the_package_exports_them(name: str) -> None:
    assert getattr(penstock, name) is globals()[name]
