"""Who gets which slots: tables for the rule, properties for what must always hold."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.concurrency.decision import Request, Taken, decide, give_back, refusal
from penstock.concurrency.limits import Limit

LIMITS = {limit.name: limit for limit in (Limit("a", 2), Limit("b", 1), Limit("r", 10, 2.0))}


def queue(*wanted: str) -> list[Request]:
    """`a`, `a+b`, `a*2`: requests in order of asking."""
    return [
        Request(number, tuple(text.partition("*")[0].split("+")), int(text.partition("*")[2] or 1))
        for number, text in enumerate(wanted)
    ]


CASES = {
    "free slots are given in order of asking": ({}, ["a", "a", "a"], (0, 1)),
    "all limits of a request are taken or none": ({"b": 1}, ["a+b", "b"], ()),
    "who asked first for a limit is not overtaken by who wants less": ({"a": 1}, ["a*2", "a"], ()),
    "a request that waits closes each of its limits": ({"b": 1}, ["a+b", "a"], ()),
    "and no other": ({"b": 1}, ["b", "a", "r"], (1, 2)),
    "a limit closed by one that waits closes further limits": ({"b": 1}, ["b", "b+a", "a"], ()),
    "a name without a limit is free": ({}, ["nobody", "a+nobody"], (0, 1)),
    "several slots at once": ({}, ["a*2", "a"], (0,)),
    "a rate gives what is left of it": ({"r": 8}, ["r*2", "r"], (0,)),
}


@pytest.mark.parametrize(("taken", "wanted", "granted"), CASES.values(), ids=CASES)
def test_the_rule(taken: Mapping[str, float], wanted: list[str], granted: tuple[int, ...]) -> None:
    assert decide(LIMITS, Taken(taken, 0.0), queue(*wanted), 0.0).granted == granted


def test_slots_of_a_rate_come_back_with_time() -> None:
    decision = decide(LIMITS, Taken({"r": 10}, 100.0), queue("r*3"), 100.5)
    assert (decision.granted, decision.taken.slots) == ((), {"r": 9.0})
    assert decision.again == pytest.approx(1.0)
    assert decide(LIMITS, decision.taken, queue("r*3"), 101.5).granted == (0,)


def test_a_clock_that_seems_to_go_back_changes_nothing() -> None:
    assert decide(LIMITS, Taken({"r": 10}, 100.0), (), 99.0).taken.slots == {"r": 10}


def test_what_waits_for_a_release_is_not_waited_for_by_time() -> None:
    """A time is named for the first of a queue, whose rate alone is missing."""
    full = Taken({"a": 2, "r": 10}, 0.0)
    assert decide(LIMITS, full, queue("a+r"), 0.0).again is None
    assert decide(LIMITS, full, queue("a", "r*2"), 0.0).again == pytest.approx(1.0)


def test_slots_are_given_back_unless_they_decay() -> None:
    taken = Taken({"a": 2, "r": 5}, 0.0)
    assert give_back(LIMITS, taken, Request(0, ("a", "r"), 1)).slots == {"a": 1, "r": 5}


@pytest.mark.parametrize(
    ("names", "occupy", "rate", "message"),
    [
        (["zero"], 1, False, "limit 'zero' is 0"),
        (["a"], 3, False, "has 2 slots, of which 3 cannot be taken"),
        (["a"], 0, False, "occupy must be at least 1"),
        (["a"], 1, True, "'a' is no rate"),
        (["a", "nobody"], 2, False, None),
        (["r"], 10, True, None),
    ],
)
def test_what_can_never_be_had_is_refused(names: list[str], occupy: int, rate: bool, message: str | None) -> None:
    why = refusal({**LIMITS, "zero": Limit("zero", 0)}, names, occupy, rate=rate)
    assert why is None if message is None else message in str(why)


names = st.sampled_from(["a", "b", "r"])
requests = st.lists(st.tuples(st.lists(names, min_size=1, unique=True), st.integers(1, 3)), max_size=8)
amounts = st.fixed_dictionaries({"a": st.integers(0, 2), "b": st.integers(0, 1), "r": st.floats(0, 10)})


@given(requests, amounts, st.floats(0, 20))
def test_no_limit_is_ever_exceeded_and_nobody_is_overtaken(
    wanted: list[tuple[list[str], int]], taken: dict[str, float], elapsed: float
) -> None:
    waiting = [Request(number, tuple(which), occupy) for number, (which, occupy) in enumerate(wanted)]
    decision = decide(LIMITS, Taken(taken, 0.0), waiting, elapsed)
    for name, count in decision.taken.slots.items():
        assert count <= LIMITS[name].slots + 1e-6
    left = [request for request in waiting if request.id not in decision.granted]
    for blocked in left:
        later = [r for r in waiting if r.id > blocked.id and not set(r.names).isdisjoint(blocked.names)]
        assert not {r.id for r in later} & set(decision.granted)
    again = decide(LIMITS, decision.taken, left, elapsed)
    assert again.granted == ()  # everything that could be given was


@given(requests)
def test_when_all_is_given_back_everybody_has_had_a_turn(wanted: list[tuple[list[str], int]]) -> None:
    possible = [(which, n) for which, n in wanted if all(n <= LIMITS[name].slots for name in which)]
    waiting = [Request(number, tuple(which), occupy) for number, (which, occupy) in enumerate(possible)]
    taken, now, order = Taken(), 0.0, []
    while waiting:
        decision = decide(LIMITS, taken, waiting, now)
        taken, order = decision.taken, [*order, *decision.granted]
        for request in waiting:
            if request.id in decision.granted:
                taken = give_back(LIMITS, taken, request)
        waiting = [request for request in waiting if request.id not in decision.granted]
        assert decision.granted or decision.again is not None
        now += 0.0 if decision.granted else (decision.again or 0.0) + 1e-6
    assert sorted(order) == list(range(len(possible)))
    assert taken.slots.get("a", 0) == taken.slots.get("b", 0) == 0
