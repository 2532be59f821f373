"""Patterns of others: what they find, and what is not looked for since it would take too long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.linear_patterns import MAX_WORK, _places, found, is_pattern


@pytest.mark.parametrize(
    ("pattern", "text", "there"),
    [
        ("^(a+)+$", "a" * 40 + "!", False),  # Python needs days
        ("^(a+)+$", "a" * 40, True),
        ("b", "abc", True),
        (r"^\w+$", "größe", True),
        (r"^\p{L}+$", "größe", True),  # unknown to Python
        ("(?=a)a", "a", None),
        (r"(a)\1", "aa", None),
        ("(", "(", None),
        ("a" * 5000, "a", None),
        ("^[a-z]{1,1000}$", "a" * 20_000, None),
        ("^[a-z]{1,63}$", "a" * 20_000, False),
        ("(?:[a-z]{0,1000}x?){100}$", "a", None),
    ],
)
def test_what_a_pattern_finds(pattern: str, text: str, there: bool | None) -> None:
    assert found(pattern, text) is there


@pytest.mark.parametrize(
    ("pattern", "places"),
    [("abc", 4), ("a{3}", 4), ("a{2,5}b", 7), ("a{2,}", 3), ("(ab){3}", 7), ("((a{10}){10}){10}", 1001), (r"\{3}", 7)],
)
def test_the_places_of_a_pattern_are_those_of_its_repetitions_written_out(pattern: str, places: int) -> None:
    assert _places(pattern) == places


simple = st.recursive(
    st.sampled_from("ab."),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}"])).map(lambda pair: f"({pair[0]}){pair[1]}"),
    ),
    max_leaves=5,
)


@given(simple, st.text("ab", max_size=5), st.booleans())
def test_what_python_finds_is_found(pattern: str, text: str, whole: bool) -> None:
    pattern = f"^{pattern}$" if whole else pattern
    assert found(pattern, text) is (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    ("pattern", "valid"), [("a", True), (r"\p{L}", True), ("(?=a)", True), ("(", False), ("a{2,1}", False)]
)
def test_what_is_a_pattern_at_all(pattern: str, valid: bool) -> None:
    assert is_pattern(pattern) is valid


def test_a_text_as_long_as_all_parameters_can_be_looked_through() -> None:
    assert MAX_WORK > 2 * 512 * 1024
    assert found("^[^x]*$", "a" * 512 * 1024) is True
