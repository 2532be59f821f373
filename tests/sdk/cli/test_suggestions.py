"""What is said of words that are not known."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.suggestions import MAX_LISTED, instead, listed

# The word, what is known, and what is said.
CASES: dict[str, tuple[str, list[str], str]] = {
    "one letter is wrong": ("biuld", ["build", "cancel"], "did you mean build?"),
    "capitals do not matter": ("COMPLETE", ["Completed", "Failed"], "did you mean Completed?"),
    "several are close": ("etl-3", ["etl-1", "etl-2", "x"], "did you mean etl-2 or etl-1?"),
    "nothing is close": ("zzz", ["build", "cancel"], "there are build, cancel"),
    "there is only one": ("zzz", ["build"], "there is build"),
    "there is none": ("zzz", [], "there are none"),
    "a word that is there twice is said once": ("zzz", ["a", "a"], "there is a"),
}


@pytest.mark.parametrize(("word", "known", "said"), CASES.values(), ids=CASES)
def test_the_nearest_or_all(word: str, known: list[str], said: str) -> None:
    assert instead(word, known, "there are none") == said


@given(st.text(), st.lists(st.text(min_size=1), min_size=1))
def test_only_words_that_are_known_are_suggested(word: str, known: list[str]) -> None:
    said = instead(word, known, "none")
    assert said.startswith(("did you mean ", "there is ", "there are "))
    assert any(each in said for each in known)


def test_a_word_that_is_known_is_the_nearest() -> None:
    assert instead("b", ["a", "b"], "") == "did you mean b?"


def test_a_long_list_is_cut_and_counted() -> None:
    words = [f"w{n:02}" for n in range(MAX_LISTED + 3)]
    assert listed(words) == ", ".join(words[:MAX_LISTED]) + " and 3 more"
    assert listed(words[:MAX_LISTED]) == ", ".join(words[:MAX_LISTED])
