"""Admission: the cases of its table, and what holds for every history of runs that wait, start and end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock_operator.core.admission import PATIENCE, Books, Limit, Line, Order, Stop, Waiting, admit

A, B, C = (Limit("limit", "team", name) for name in "abc")
NONE = 1000


def run(
    uid: str,
    *limits: Limit,
    queue: int = NONE,
    priority: int = NONE,
    due: float = 0,
    created: float = 0,
    first: float = 0,
) -> Waiting:
    return Waiting(Order(queue, priority, due, created, first, uid), limits)


def passes(books: Books, now: float = 0.0) -> list[str]:
    """Admit until nothing stirs; who was admitted, in order."""
    found: list[str] = []
    for _ in range(1000):
        if not books.stirred:
            return found
        books.ripen(now)
        verdict = admit(books, now)
        books.apply(verdict, now)
        found += [each.uid for each in verdict.admitted]
    raise AssertionError("it does not come to rest")


@dataclass(frozen=True)
class Case:
    """Bounds, who holds, who waits in the order in which they came; who is admitted."""

    bounds: dict[Limit, int]
    waits: list[Waiting]
    admitted: list[str]
    holds: dict[str, Line] = None  # type: ignore[assignment]


CASES: dict[str, Case] = {
    "nothing waits": Case({A: 1}, [], []),
    "without bounds all start": Case({}, [run("1", A), run("2", A, B)], ["1", "2"]),
    "as many as there are slots": Case({A: 2}, [run("1", A), run("2", A), run("3", A)], ["1", "2"]),
    "a limit of 0 admits none": Case({A: 0}, [run("1", A)], []),
    "what is held counts": Case({A: 2}, [run("2", A), run("3", A)], ["2"], {"1": (A,)}),
    "more are held than the bound says now": Case({A: 1}, [run("3", A)], [], {"1": (A,), "2": (A,)}),
    "the queue's priority is first": Case({A: 1}, [run("1", A, priority=1), run("2", A, queue=1)], ["2"]),
    "then that of the run, 1 first": Case({A: 1}, [run("1", A, priority=2), run("2", A, priority=1)], ["2"]),
    "then who was due first": Case({A: 1}, [run("1", A, due=2), run("2", A, due=1)], ["2"]),
    "then who was made first": Case({A: 1}, [run("1", A, created=2), run("2", A, created=1)], ["2"]),
    "then who was looked at first": Case({A: 1}, [run("1", A, first=2), run("2", A, first=1)], ["2"]),
    "then the uid": Case({A: 1}, [run("2", A), run("1", A)], ["1"]),
    "each of its limits needs room": Case({A: 1, B: 0}, [run("1", A, B)], []),
    "a blocked run does not close what has room for others": Case({A: 1, B: 0}, [run("1", A, B), run("2", A)], ["2"]),
    "nor for others of another line": Case({A: 1, B: 1}, [run("1", A, B), run("2", B)], ["2"], {"0": (A,)}),
    "who is first takes the last slot of both": Case({A: 1, B: 1}, [run("1", A, B), run("2", B), run("3", A)], ["1"]),
    "lines go on side by side": Case({A: 1, B: 1}, [run("1", A), run("2", A), run("3", B), run("4", B)], ["1", "3"]),
    "lines are merged by order": Case(
        {C: 3}, [run("1", A, C), run("4", A, C), run("2", B, C), run("3", B, C)], ["1", "2", "3"]
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_who_is_admitted(name: str) -> None:
    case, books = CASES[name], Books()
    for limit, size in case.bounds.items():
        books.bound(limit, size)
    for uid, line in (case.holds or {}).items():
        books.hold(uid, line)
    for each in case.waits:
        books.wait(each)
    assert passes(books) == case.admitted


def test_deciding_changes_nothing() -> None:
    books = Books()
    books.bound(A, 1)
    books.wait(run("1", A))
    books.wait(run("2", A))
    assert admit(books, 0.0) == admit(books, 0.0)
    assert books.waiting.keys() == {"1", "2"}


def test_a_freed_slot_starts_the_next_and_no_other() -> None:
    books = Books()
    books.bound(A, 1)
    for uid in "123":
        books.wait(run(uid, A))
    assert passes(books) == ["1"]
    assert passes(books) == []
    books.leave("1")
    assert passes(books) == ["2"]
    books.bound(A, 3)
    assert passes(books) == ["3"]


def test_a_lower_bound_takes_nothing_away_and_starts_nothing() -> None:
    books = Books()
    books.bound(A, 3)
    for uid in "1234":
        books.wait(run(uid, A))
    assert passes(books) == ["1", "2", "3"]
    books.bound(A, 1)
    for uid in "12":
        books.leave(uid)
        assert passes(books) == []
    books.leave("3")
    assert passes(books) == ["4"]


def test_whoever_waits_elsewhere_or_no_more_makes_way() -> None:
    books = Books()
    books.bound(A, 0)
    books.bound(B, 1)
    for uid in "12":
        books.wait(run(uid, A))
    assert passes(books) == []
    books.wait(run("1", B))
    assert passes(books) == ["1"]
    books.leave("2")
    books.bound(A, 1)
    assert passes(books) == []
    assert not books.waiting
    assert not books.lines
    assert not books.standing
    assert not books.queued


def test_a_run_that_is_passed_over_for_long_has_slots_kept() -> None:
    """Where limits are free by turns, runs that need one of them only would go before it for ever."""
    books = Books()
    books.bound(A, 1)
    books.bound(B, 1)
    books.hold("a0", (A,))
    books.wait(run("both", A, B, due=1))
    assert passes(books, 0.0) == []
    books.hold("b0", (B,))
    books.leave("a0")  # now A is free, and B is not: it was turned away by both
    books.wait(run("a1", A, due=2))
    assert passes(books, 1.0) == ["a1"], "a blocked run closes nothing yet"
    books.leave("a1")
    books.wait(run("a2", A, due=3))
    assert passes(books, PATIENCE) == [], "the slot of A is kept"
    books.wait(run("first", A, due=0))
    assert passes(books, PATIENCE) == ["first"], "from runs after it only"
    books.leave("first")
    books.leave("b0")
    assert passes(books, PATIENCE + 1) == ["both"]
    books.leave("both")
    assert passes(books, PATIENCE + 2) == ["a2"]


def test_nothing_is_kept_of_what_never_turned_the_run_away() -> None:
    """A run that waits for its own deployment only does not hold up its pool."""
    deployment, pool = B, C
    books = Books()
    books.bound(deployment, 1)
    books.bound(pool, 2)
    books.hold("1", (deployment, pool))
    books.wait(run("2", deployment, pool))
    assert passes(books, 0.0) == []
    books.wait(run("3", pool))
    assert passes(books, 10 * PATIENCE) == ["3"]


def test_nothing_is_kept_while_another_limit_is_closed() -> None:
    books = Books()
    books.bound(A, 1)
    books.bound(B, 1)
    books.hold("a0", (A,))
    books.hold("b0", (B,))
    books.wait(run("both", A, B))
    assert passes(books, 0.0) == []
    books.leave("a0")
    assert passes(books, 0.0) == []
    books.wait(run("a1", A, due=1))
    books.hold("x", (C,))
    assert passes(books, 0.0) == ["a1"]
    books.leave("a1")
    books.wait(run("a2", A, due=2))
    assert passes(books, PATIENCE) == [], "kept"
    books.bound(B, 0)
    assert passes(books, PATIENCE) == ["a2"]


# What holds for every history.

LIMITS = (A, B, C)
lines = st.lists(st.sampled_from(LIMITS), min_size=1, unique=True).map(lambda found: tuple(sorted(found)))
runs = st.tuples(lines, st.integers(1, 2), st.integers(1, 2), st.integers(0, 3))
steps = st.one_of(
    st.tuples(st.just("wait"), runs),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("withdraw"), st.integers(0, 30)),
    st.tuples(st.just("bound"), st.tuples(st.sampled_from(LIMITS), st.integers(0, 3) | st.none())),
    st.tuples(st.just("time"), st.sampled_from([1.0, 30.0, 61.0])),
)


def take(books: Books, step: tuple[str, object], number: int, now: float) -> float:
    """One step of a history; the time after it."""
    what, value = step
    if what == "wait":
        line, queue, priority, due = value  # type: ignore[misc]
        books.wait(Waiting(Order(queue, priority, due, number, 0.0, f"{number:03}"), line))
    elif what == "end" and books.holding:
        books.leave(sorted(books.holding)[int(value) % len(books.holding)])  # type: ignore[call-overload]
    elif what == "withdraw" and books.waiting:
        books.leave(sorted(books.waiting)[int(value) % len(books.waiting)])  # type: ignore[call-overload]
    elif what == "bound":
        limit, size = value  # type: ignore[misc]
        books.bound(limit, size)
    elif what == "time":
        return now + float(value)  # type: ignore[arg-type]
    return now


def held(books: Books) -> Counter[Limit]:
    return Counter(limit for line in books.holding.values() for limit in line)


def consistent(books: Books) -> None:
    """What is kept twice for the sake of speed is the same."""
    assert {limit: len(uids) for limit, uids in books.holders.items()} == dict(held(books))
    assert books.queued == Counter(limit for each in books.waiting.values() for limit in each.limits)
    assert {uid for line in books.lines.values() for *_, uid in line} == books.waiting.keys()
    assert all(line == sorted(line) for line in books.lines.values())
    standing = [(line, limit, order) for limit, there in books.standing.items() for order, line in there]
    assert {line: limit for line, limit, _ in standing} == {line: stop.limit for line, stop in books.stands.items()}
    assert len(standing) == len(books.lines), "each line stands somewhere"
    assert all(books.lines[line][0] == order for line, _, order in standing)
    kept = Counter(limit for stop in books.stands.values() for limit in stop.reserves)
    assert {limit: len(orders) for limit, orders in books.reserved.items()} == dict(kept)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=60))
def test_no_bound_is_passed_and_nobody_waits_who_could_start(history: list[tuple[str, object]]) -> None:
    """After each step: no more are admitted than there is room for, in order, and whoever waits has a reason to."""
    books, now = Books(), 0.0
    for number, step in enumerate(history):
        now = take(books, step, number, now)
        before = held(books)
        orders = {uid: each.order for uid, each in books.waiting.items()}
        limits = {uid: each.limits for uid, each in books.waiting.items()}
        admitted = passes(books, now)
        consistent(books)
        after = held(books)
        for limit, count in after.items():
            size = books.bounds.get(limit)
            assert size is None or count <= max(size, before[limit]), f"{limit} is passed"
        for uid in admitted:  # no run of the same line was before it
            assert not [w for w in books.waiting.values() if w.limits == limits[uid] and w.order < orders[uid]]
        free = {limit: size - after[limit] for limit, size in books.bounds.items()}
        for waiting in books.waiting.values():
            kept = Counter(
                limit
                for line, stop in books.stands.items()
                for limit in stop.reserves
                if books.lines[line][0] < waiting.order
            )
            assert any(free.get(limit, 1) <= kept[limit] for limit in waiting.limits), f"{waiting} could start"


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(steps, max_size=40))
def test_books_that_were_kept_decide_as_books_that_are_made_anew(history: list[tuple[str, object]]) -> None:
    """A restart forgets only for how long somebody has waited: with time standing still, it changes nothing."""
    books = Books()
    for number, step in enumerate(history):
        take(books, step, number, 0.0)
        fresh = Books()
        for limit, size in books.bounds.items():
            fresh.bound(limit, size)
        for uid, line in books.holding.items():
            fresh.hold(uid, line)
        for each in books.waiting.values():
            fresh.wait(each)
        assert set(passes(books)) == set(passes(fresh))
        assert books.holding == fresh.holding
        assert books.stands.keys() == fresh.stands.keys()
        for stop in books.stands.values():  # perhaps another of its limits that is full, too
            assert len(fresh.holders[stop.limit]) >= fresh.bounds[stop.limit]


def plainly(books: Books, now: float) -> tuple[list[str], dict[Line, Stop]]:
    """What `admit` decides, by looking through all lines for each head that is to be looked at."""
    waits = {line: list(orders) for line, orders in books.lines.items()}
    keeps = {line: (books.lines[line][0], stop.reserves) for line, stop in books.stands.items()}
    held = Counter({limit: len(uids) for limit, uids in books.holders.items()})
    concerned = {line for line, stop in books.stands.items() if stop.limit in books.woken} | books.stirring
    admitted: list[str] = []
    stops: dict[Line, Stop] = {}

    def room(limit: Limit, order: Order) -> bool:
        kept = sum(limit in reserves and head < order for head, reserves in keeps.values())
        return limit not in books.bounds or books.bounds[limit] - held[limit] > kept

    while concerned:
        line = min(concerned, key=lambda each: waits[each][0])
        order, stands = waits[line][0], books.stands.get(line)
        first = len(waits[line]) == len(books.lines[line])
        if first and line not in books.stirring and stands and not room(stands.limit, order):
            concerned.remove(line)
            continue
        keeps.pop(line, None)
        full = next((limit for limit in line if not room(limit, order)), None)
        if full is None:
            admitted.append(order.uid)
            held.update(line)
            del waits[line][0]
        else:
            known = books.patience.get(order.uid)
            closed = any(books.bounds.get(limit) == 0 for limit in line)
            passed_over = known is not None and now >= known.since + PATIENCE and not closed
            away = known.turned_away if known and passed_over else ()
            stops[line] = Stop(full, tuple(limit for limit in line[: line.index(full)] if limit in away))
            keeps[line] = order, stops[line].reserves
        if full is not None or not waits[line]:
            concerned.remove(line)
    return admitted, stops


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(steps, max_size=6), max_size=30))
def test_it_decides_as_one_does_who_looks_through_all_lines(history: list[list[tuple[str, object]]]) -> None:
    books, now, number = Books(), 0.0, 0
    for at_once in history:
        for step in at_once:
            number += 1
            now = take(books, step, number, now)
        for _ in range(100):
            books.ripen(now)
            verdict, wanted = admit(books, now), plainly(books, now)
            assert ([each.uid for each in verdict.admitted], dict(verdict.stops)) == wanted
            assert list(verdict.heads) == [_head(books, line, wanted[0]) for line in verdict.stops]
            books.apply(verdict, now)
            consistent(books)
            if not books.stirred:
                break


def _head(books: Books, line: Line, admitted: list[str]) -> Order:
    return next(order for order in books.lines[line] if order.uid not in admitted)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nobody_starves(data: st.DataObject) -> None:
    """Runs after it come again and again, and end in any order: a run of three limits is admitted nevertheless."""
    books, now, number = Books(), 0.0, 0
    for limit in LIMITS:
        books.bound(limit, 1)
        books.hold(f"{limit.name}-holds", (limit,))
    books.wait(run("wide", *LIMITS, due=1.0))
    for _ in range(100):
        for limit in LIMITS:
            number += 1
            if books.queued[limit] < 3:
                books.wait(run(f"n{number:03}", limit, due=2.0 + number))
        if books.holding:
            books.leave(data.draw(st.sampled_from(sorted(books.holding))))
        passes(books, now)
        if "wide" in books.holding:
            return
        now += 7.0
    raise AssertionError("it waits for ever")
