"""Which worker a run is given to, and how many workers there are to be: tables, and laws that hold for any pool."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.views import PodView, format_time
from penstock_operator.core.workers import BACKOFF, KEPT_FAILURES, Member, Scaling, Worker, choose, fingerprint, room
from penstock_operator.core.workers import scale as scaled

Json = dict[str, Any]
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
NOW = "now"  # the fingerprint of the pool as it is


def worker(name: str = "w", slots: int = 1, held: int = 0, **more: Any) -> Worker:
    return Worker(name, f"{name}-uid", "default", slots, held, **{"used": SIX, **more})


def member(
    number: int = 0, held: int = 0, *, slots: int = 1, phase: str = "Running", print_: str = NOW, **more: Any
) -> Member:
    """A pod with a worker in it; `worker=None`: that has said nothing yet."""
    meta: Json = {"name": f"w{number}", "uid": f"w{number}-uid"}
    meta["creationTimestamp"] = format_time(SIX - timedelta(seconds=more.pop("age", 7)))
    if more.pop("deleting", False):
        meta["deletionTimestamp"] = format_time(SIX)
    pod = PodView({"metadata": meta, "status": {"phase": phase}})
    useless, idle = more.pop("useless", False), more.pop("idle", 0)
    facts = {"managed": True, "fingerprint": print_, "used": SIX - timedelta(seconds=idle), **more}
    there = None if facts.pop("worker", True) is None else worker(f"w{number}", slots, held, **facts)
    return Member(pod, number, print_, there, useless)


def scale(spec: Json | None, members: list[Member], queued: int = 0) -> Scaling:
    return scaled(spec, NOW, members, queued, SIX)


@pytest.mark.parametrize(
    ("workers", "wanted"),
    [
        pytest.param([], None, id="none is there"),
        pytest.param([worker(held=1)], None, id="all are busy"),
        pytest.param([worker("a", 4, 1), worker("b", 4, 3), worker("c", 4, 4)], "b", id="the fullest with room"),
        pytest.param(
            [worker("a", used=SIX), worker("b", used=SIX + timedelta(seconds=1))], "b", id="of equals the one used last"
        ),
        pytest.param([worker("b"), worker("a")], "a", id="else by name"),
        pytest.param([worker("a", drains=True), worker("b", silent=True)], None, id="none that drains or is silent"),
        pytest.param([worker("a", managed=True, fingerprint="old")], None, id="none of an earlier pool"),
        pytest.param([worker("a", managed=True, fingerprint=NOW)], "a", id="one that the operator made"),
        pytest.param([worker("a", managed=True, fingerprint=NOW, pod_ready=False)], None, id="none whose pod ends"),
    ],
)
def test_a_run_is_given_to_the_worker_that_is_needed_most(workers: list[Worker], wanted: str | None) -> None:
    found = choose(workers, NOW)
    assert (found.name if found else None) == wanted


def test_the_room_of_a_pool_is_what_may_run_in_it_at_once() -> None:
    assert room([worker("a", 4, 1), worker("b", 2, 2, drains=True), worker("c", 1, 3)], NOW) == 4 + 2 + 3


# The pool's `worker`, its pods, runs that wait -> what is done.
SCALING: dict[str, tuple[Json | None, list[Member], int, Scaling]] = {
    "a pool of the least has no pods while nobody waits": ({}, [], 0, Scaling()),
    "one is made for the first run": ({}, [], 1, Scaling(create=(0,))),
    "and no second one": ({}, [member(worker=None)], 5, Scaling()),
    "its least workers are always there": ({"min": 2, "max": 3}, [member(1)], 0, Scaling(create=(0,))),
    "as many as the queue needs": ({"max": 9, "concurrency": 4}, [], 9, Scaling(create=(0, 1, 2))),
    "no more than the most": ({"max": 2}, [member(held=1)], 9, Scaling(create=(1,))),
    "those that start count": ({"max": 9, "concurrency": 2}, [member(worker=None)], 3, Scaling(create=(1,))),
    "free places count": ({"max": 9}, [member(slots=3, held=1)], 2, Scaling()),
    "an idle one is drained and deleted in time": (
        {"idleSeconds": 60},
        [member(idle=60)],
        0,
        Scaling(drain=("w0",), delete=(member().pod,)),
    ),
    "and not before": ({"idleSeconds": 60}, [member(idle=20)], 0, Scaling(due=SIX + timedelta(seconds=40))),
    "not below the least": ({"min": 1, "idleSeconds": 60}, [member(idle=90)], 0, Scaling()),
    "not while somebody waits": ({"max": 2, "idleSeconds": 60}, [member(idle=90), member(1, held=1)], 1, Scaling()),
    "a busy one is not idle": ({"idleSeconds": 60}, [member(held=1, idle=90)], 0, Scaling()),
    "one that drains goes with its last run": ({}, [member(drains=True)], 0, Scaling(delete=(member().pod,))),
    "and not before that": ({}, [member(held=1, drains=True)], 0, Scaling()),
    "where the most was lowered, the emptiest drain": (
        {"max": 1, "concurrency": 2},
        [member(0, 2, slots=2), member(1, 1, slots=2)],
        0,
        Scaling(drain=("w1",)),
    ),
    "a changed pool replaces its workers": (
        {"min": 1},
        [member(held=1, print_="old")],
        0,
        Scaling(create=(1,), drain=("w0",)),
    ),
    "of a pool that is gone, or wants none, all go": (
        None,
        [member(held=1), member(1), member(2, worker=None)],
        3,
        Scaling(drain=("w1", "w0"), delete=(member(1).pod, member(2).pod)),
    ),
    "useless, it is deleted though it has runs": (
        {},
        [member(held=1, useless=True)],
        0,
        Scaling(delete=(member().pod,)),
    ),
    "and replaced": ({"min": 1}, [member(held=1, useless=True)], 0, Scaling(create=(1,), delete=(member().pod,))),
    "one that is being deleted is no worker any more": (
        {"min": 1},
        [member(deleting=True)],
        0,
        Scaling(create=(1,)),
    ),
}


@pytest.mark.parametrize(("spec", "members", "queued", "wanted"), SCALING.values(), ids=SCALING)
def test_workers_follow_the_queue(spec: Json | None, members: list[Member], queued: int, wanted: Scaling) -> None:
    found = scale(spec, members, queued)
    assert [pod.name for pod in found.delete] == [pod.name for pod in wanted.delete]
    assert replace(found, delete=()) == replace(wanted, delete=())


def test_pods_that_fail_by_themselves_are_followed_more_and_more_slowly() -> None:
    failed: list[Member] = []
    for number, seconds in enumerate((*BACKOFF, BACKOFF[-1])):
        failed.append(member(number, phase="Failed", age=0))
        found = scale({"min": 1}, failed)
        assert found.create == ()
        assert found.due == SIX + timedelta(seconds=seconds)
    assert len(scale({"min": 1}, failed).delete) == len(failed) - KEPT_FAILURES
    late = [member(number, phase="Failed", age=BACKOFF[-1]) for number in range(2)]
    assert scale({"min": 1}, late).create == (2,)


def test_what_failed_long_ago_is_forgotten() -> None:
    assert [pod.name for pod in scale({}, [member(phase="Failed", age=3600)]).delete] == ["w0"]


@pytest.mark.parametrize("field", ["image", "template", "results"])
def test_whatever_workers_are_made_of_makes_others(field: str) -> None:
    assert fingerprint({field: "x"}) != fingerprint({})


def test_limits_and_scaling_make_no_other_workers() -> None:
    assert fingerprint({"concurrencyLimit": 1, "worker": {"min": 1, "max": 7}}) == fingerprint({})
    assert fingerprint({"worker": {"concurrency": 2}}) != fingerprint({})


members = st.builds(
    lambda number, held, print_, phase, deleting, idle, there, drains, useless: member(
        number,
        held,
        slots=3,
        print_=print_,
        phase=phase,
        deleting=deleting,
        idle=idle,
        drains=drains,
        useless=useless,
        **({} if there or held else {"worker": None}),
    ),
    st.integers(0, 12),
    st.integers(0, 3),
    st.sampled_from([NOW, NOW, "old"]),
    st.sampled_from(["Pending", "Running", "Running", "Failed"]),
    st.sampled_from([False, False, True]),
    st.integers(0, 500),
    st.booleans(),
    st.booleans(),
    st.sampled_from([False, False, False, True]),
)
specs = st.none() | st.builds(
    lambda least, more, each: {"min": least, "max": least + more, "concurrency": each, "idleSeconds": 60},
    st.integers(0, 3),
    st.integers(0, 4),
    st.just(3),
)


@given(specs, st.lists(members, max_size=9, unique_by=lambda m: m.number), st.integers(0, 40))
def test_whatever_is_there_the_bounds_hold_and_no_run_is_ended(
    spec: Json | None, there: list[Member], queued: int
) -> None:
    found = scale(spec, there, queued)
    deleted, drained = {pod.uid for pod in found.delete}, set(found.drain)
    for m in there:
        if m.pod.uid in deleted and m.alive:
            assert not m.held or m.useless, "a pod with runs is not deleted"
        assert not m.pod.deleting or m.pod.uid not in deleted
    assert not {m.number for m in there} & set(found.create), "names that are taken are not taken again"
    staying = [m for m in there if m.alive and m.fingerprint == NOW and not m.drains and m.pod.uid not in deleted]
    staying = [m for m in staying if m.pod.name not in drained]
    most, least = (spec or {}).get("max", 0), (spec or {}).get("min", 0)
    assert len(staying) + len(found.create) <= max(most, 0)
    if not found.due and not found.create:
        assert len(staying) >= min(least, most), "the least are there, or will be"
    assert scale(spec, list(reversed(there)), queued) == found, "the order in which they are known does not matter"


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4), st.booleans()), max_size=6))
def test_a_run_is_given_to_nobody_without_room_and_to_somebody_where_there_is(
    there: list[tuple[int, int, bool]],
) -> None:
    workers = [worker(f"w{n}", slots, held, drains=drains) for n, (slots, held, drains) in enumerate(there)]
    found = choose(workers, NOW)
    able = [w for w in workers if w.free and not w.drains]
    assert (found is None) == (not able)
    if found:
        assert found.free == min(w.free for w in able)


def test_a_run_that_somebody_waits_for_gets_a_place_where_there_is_none() -> None:
    full = [worker("a", 2, 3), worker("b", 4, 4), worker("c", 2, 2, drains=True)]
    assert choose(full, NOW) is None
    found = choose(full, NOW, beyond=True)
    assert found is not None
    assert found.name == "b"
    assert choose([worker("a", silent=True)], NOW, beyond=True) is None
