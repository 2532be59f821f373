"""A condition is written in its own place: whoever else writes one at the same time loses nothing."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

import json_patches
from penstock.api import conditions

Json = dict[str, Any]
Said = tuple[str, str, str]  # type, status, time


def said(*words: Said) -> list[Json]:
    return [{"type": type_, "status": status, "lastTransitionTime": time} for type_, status, time in words]


def after(known: list[Json] | None, *patches: list[Json]) -> list[Json] | None:
    """The conditions after patches that were all made of what was known at first; those that are refused do nothing."""
    body: Json = {"status": {} if known is None else {"conditions": known}}
    for ops in patches:
        try:
            body = json_patches.applied(body, ops)
        except json_patches.Refused:
            continue
    found: list[Json] | None = body["status"].get("conditions")
    return found


READY, SILENT = ("PodReady", "False", "6"), ("NodeLost", "True", "6")


@pytest.mark.parametrize(
    ("known", "wanted", "then"),
    [
        pytest.param(None, [READY], [READY], id="the first of all"),
        pytest.param([READY], [SILENT], [READY, SILENT], id="another"),
        pytest.param([READY, SILENT], [("PodReady", "True", "7")], [("PodReady", "True", "7"), SILENT], id="news"),
        pytest.param([], [READY], [READY], id="of an empty list"),
        pytest.param([READY], [], [READY], id="none"),
        pytest.param(None, [], None, id="none of none"),
    ],
)
def test_a_condition_is_set(known: list[Said] | None, wanted: list[Said], then: list[Said] | None) -> None:
    before = None if known is None else said(*known)
    assert after(before, conditions.patch(before, said(*wanted))) == (None if then is None else said(*then))


@pytest.mark.parametrize("known", [None, said(READY), said(("Answered", "False", "6"), READY)])
def test_two_who_write_at_once_lose_nothing_of_each_other(known: list[Json] | None) -> None:
    """Whichever comes first: what was taken stands, and what was not was refused, and is decided again."""
    mine, others = said(("PodReady", "True", "7")), said(("Answered", "False", "7"))
    patches = [conditions.patch(known, mine), conditions.patch(known, others)]
    for order in permutations(patches):
        found = after(known, *order) or []
        first = mine if order[0] is patches[0] else others
        assert first[0] in found
        if known is not None:
            assert mine[0] in found
            assert others[0] in found


def test_what_changed_since_it_was_read_is_not_replaced() -> None:
    known = said(READY)
    late = conditions.patch(known, said(("PodReady", "False", "8")))
    early = conditions.patch(known, said(("PodReady", "True", "7")))
    assert after(known, early, late) == said(("PodReady", "True", "7"))
