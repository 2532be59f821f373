"""What of a namespace's settled runs is deleted, and when: tables, and what holds for any of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from penstock_operator.core import retention
from penstock_operator.core.retention import Cause, Ceiling, History, Plan, Settled, decide

NOW = 10_000.0
OPEN = Ceiling(None, None)


def run(name: str, finished: float, **more: Any) -> Settled:
    """A run that ended at a time, of deployment `etl`."""
    fields = {"deployment": "etl", "successful": True, "ttl": None, "parent": None, "awaited": False, **more}
    return Settled(namespace="team", name=name, uid=name, finished=finished, references=(), **fields)


def child(name: str, finished: float, parent: str, **more: Any) -> Settled:
    """A run that its parent owns."""
    return run(name, finished, parent=(parent, parent), awaited=True, deployment="", **more)


def gone(plan: Plan) -> list[str]:
    return [f"{run.name} {cause}" for run, cause in plan.delete]


THREE = [run("a", 1), run("b", 2), run("c", 3)]

TABLE: dict[str, tuple[list[Settled], Mapping[str, History], Ceiling, list[str], float | None]] = {
    "nothing is said, and nothing goes": (THREE, {}, OPEN, [], None),
    "its own time to live has passed": ([run("a", 9_000, ttl=1000)], {}, OPEN, ["a TTL"], None),
    "its own time to live will pass": ([run("a", 9_001, ttl=1000)], {}, OPEN, [], 10_001),
    "a time to live of nothing ends at once": ([run("a", NOW, ttl=0)], {}, OPEN, ["a TTL"], None),
    "its deployment's time to live holds where it has none": (
        [run("a", 9_000), run("b", 9_000, ttl=5000)],
        {"etl": History(ttl=10)},
        OPEN,
        ["a TTL"],
        14_000,
    ),
    "another deployment's time to live does not": ([run("a", 1)], {"other": History(ttl=10)}, OPEN, [], None),
    "a deployment keeps its newest": (
        THREE,
        {"etl": History(successful=1)},
        OPEN,
        ["a HistoryLimit", "b HistoryLimit"],
        None,
    ),
    "a deployment may keep none": (THREE[:1], {"etl": History(successful=0)}, OPEN, ["a HistoryLimit"], None),
    "failed runs are counted apart": (
        [*THREE, run("x", 1, successful=False), run("y", 2, successful=False)],
        {"etl": History(successful=5, failed=1)},
        OPEN,
        ["x HistoryLimit"],
        None,
    ),
    "one whose time has passed does not count": (
        [run("a", 1), run("b", 2, ttl=1)],
        {"etl": History(successful=1)},
        OPEN,
        ["b TTL"],
        None,
    ),
    "runs without a deployment know no history": (
        [run("a", 1, deployment=""), run("b", 2, deployment="")],
        {"etl": History(successful=1)},
        OPEN,
        [],
        None,
    ),
    "a namespace keeps its newest": (THREE, {}, Ceiling(2, None), ["a Ceiling"], None),
    "a namespace counts what its deployments leave": (
        THREE,
        {"etl": History(successful=2)},
        Ceiling(2, None),
        ["a HistoryLimit"],
        None,
    ),
    "a namespace keeps nothing for long": ([run("a", 1), run("b", 9_999)], {}, Ceiling(None, 100), ["a Age"], 10_099),
    "a longer time to live does not outlast it": ([run("a", 1, ttl=90_000)], {}, Ceiling(None, 100), ["a Age"], None),
    "of equal ends the uid decides": ([run("b", 1), run("a", 1)], {}, Ceiling(1, None), ["a Ceiling"], None),
}


@pytest.mark.parametrize("case", TABLE.values(), ids=TABLE.keys())
def test_what_goes_and_when_to_look_again(
    case: tuple[list[Settled], Mapping[str, History], Ceiling, list[str], float | None],
) -> None:
    runs, histories, ceiling, want, want_next = case
    plan = decide(runs, histories, ceiling, NOW)
    assert (gone(plan), plan.next) == (want, want_next)


def test_what_a_run_owns_goes_before_it() -> None:
    """Kubernetes would delete it with its owner: it is to be archived first."""
    family = [run("root", 5, ttl=0), child("kid", 4, "root"), child("grandkid", 3, "kid"), run("other", 1)]
    order = []
    while True:
        plan = decide(family, {}, OPEN, NOW)
        order += gone(plan)
        if not plan.more:
            break
        family = [run for run in family if run.uid not in {run.uid for run, _ in plan.delete}]
    assert order == ["grandkid Parent", "kid Parent", "root TTL"]


def test_a_run_that_nobody_waits_for_outlives_its_parent() -> None:
    plan = decide([run("root", 5, ttl=0), run("kid", 4, parent=("root", "root"))], {}, OPEN, NOW)
    assert gone(plan) == ["root TTL"]


def test_what_is_held_stays_and_so_does_whatever_owns_it() -> None:
    family = [run("root", 5, ttl=0), child("kid", 4, "root", ttl=0), run("other", 1, ttl=0)]
    plan = decide(family, {}, Ceiling(0, 0), NOW, frozenset({"kid"}))
    assert gone(plan) == ["other Age"]
    assert not plan.more


def test_the_newest_are_kept_however_many_older_ones_are_held() -> None:
    runs = [run("a", 1), run("b", 2), run("c", 3)]
    assert gone(decide(runs, {}, Ceiling(1, None), NOW, frozenset({"a"}))) == ["b Ceiling"]


def _of_an_older(run: Settled) -> Settled:
    """A parent is there before its children, so that none is its own ancestor."""
    older = run.parent is not None and int(run.parent[1]) < int(run.uid)
    return run if older else replace(run, parent=None, awaited=False)


names = st.integers(0, 30).map(str)
some_runs = st.lists(
    st.builds(
        run,
        names,
        st.integers(0, 200).map(float),
        deployment=st.sampled_from(["", "a", "b"]),
        successful=st.booleans(),
        ttl=st.none() | st.integers(0, 300),
        parent=st.none() | names.map(lambda name: (name, name)),
        awaited=st.booleans(),
    ).map(_of_an_older),
    max_size=20,
    unique_by=lambda run: run.uid,
)
limit = st.none() | st.integers(0, 5)
histories = st.dictionaries(st.sampled_from(["a", "b"]), st.builds(History, limit, limit, limit))
ceilings = st.builds(Ceiling, limit, st.none() | st.integers(0, 300))


def until_nothing_goes(
    runs: list[Settled], histories: Mapping[str, History], ceiling: Ceiling, now: float, held: frozenset[str]
) -> list[Settled]:
    """What is left when every plan is carried out."""
    for _ in range(len(runs) + 1):
        plan = decide(runs, histories, ceiling, now, held)
        if not plan.delete:
            assert not plan.more
            return runs
        dead = {run.uid for run, _ in plan.delete}
        assert not dead & held
        assert not any(run.awaited and run.parent and run.parent[1] in dead for run in runs)
        runs = [run for run in runs if run.uid not in dead]
    raise AssertionError("it does not come to an end")


@given(some_runs, histories, ceilings, st.integers(0, 400).map(float), st.frozensets(names, max_size=4))
def test_nothing_within_the_limits_goes_and_nothing_beyond_them_stays(
    runs: list[Settled], histories: Mapping[str, History], ceiling: Ceiling, now: float, held: frozenset[str]
) -> None:
    left = until_nothing_goes(runs, histories, ceiling, now, held)
    stay = retention._with_owners(runs, held)
    assert {run.uid for run in left} >= {run.uid for run in runs if run.uid in stay}
    free = [run for run in left if run.uid not in stay]
    for run_ in free:
        own = run_.ttl if run_.ttl is not None else histories.get(run_.deployment, History()).ttl
        assert own is None or run_.finished + own > now
        assert ceiling.seconds is None or run_.finished + ceiling.seconds > now
        newer = [other for other in left if (other.finished, other.uid) > (run_.finished, run_.uid)]
        assert ceiling.runs is None or len(newer) < ceiling.runs
        limits = histories.get(run_.deployment)
        most = None if limits is None else limits.successful if run_.successful else limits.failed
        alike = [r for r in newer if (r.deployment, r.successful) == (run_.deployment, run_.successful)]
        assert most is None or len(alike) < most


@given(some_runs, ceilings, st.integers(0, 400).map(float))
def test_who_goes_is_older_than_who_stays(runs: list[Settled], ceiling: Ceiling, now: float) -> None:
    """Where only the namespace has a say."""
    plain = [run(r.name, r.finished) for r in runs]
    plan = decide(plain, {}, ceiling, now)
    dead = [(run.finished, run.uid) for run, _ in plan.delete]
    assert dead == sorted(dead)
    left = [(r.finished, r.uid) for r in plain if (r.finished, r.uid) not in dead]
    assert not dead or not left or max(dead) < min(left)


@given(some_runs, histories, ceilings, st.integers(0, 400).map(float))
def test_nothing_happens_before_the_next_look(
    runs: list[Settled], histories: Mapping[str, History], ceiling: Ceiling, now: float
) -> None:
    left = until_nothing_goes(runs, histories, ceiling, now, frozenset())
    plan = decide(left, histories, ceiling, now)
    assert plan.next is None or plan.next > now
    before = now + 10_000 if plan.next is None else plan.next - 0.5
    assert decide(left, histories, ceiling, max(now, before)).delete == ()
    if plan.next is not None:
        assert decide(left, histories, ceiling, plan.next).delete


# What is remembered of a run.

SEVEN = datetime(2026, 1, 1, 7, tzinfo=UTC)


def ended(type_: str = "Completed", spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    body = builders.flow_run(type_, spec={"deploymentRef": {"name": "etl"}, **(spec or {})}, **status)
    body["metadata"]["namespace"] = "team"
    return body


def test_the_end_of_a_run_is_its_own_word_but_never_ahead() -> None:
    for told, taken in (
        ("2026-01-01T06:30:00Z", SEVEN - timedelta(minutes=30)),
        ("2999-01-01T00:00:00Z", SEVEN),
    ):
        assert retention.settled(ended(endTime=told), SEVEN).finished == taken.timestamp()
    state = ended()["status"]["state"]["time"]
    assert retention.settled(ended(), SEVEN).finished == datetime.fromisoformat(state).timestamp()


@pytest.mark.parametrize(
    ("spec", "owned"),
    [
        ({}, False),
        ({"parent": {"name": "p", "uid": "u"}}, False),
        ({"parent": {"name": "p", "uid": "u", "awaited": True}}, True),
        ({"parent": {"name": "p", "uid": "u"}, "infrastructure": "Parent"}, True),
        ({"parent": {"name": "p", "uid": "u"}, "task": {"entrypoint": "flow:work"}}, True),
    ],
    ids=["no parent", "a parent that goes on", "a parent that waits", "in its parent", "a task of its parent"],
)
def test_which_runs_their_parent_owns(spec: dict[str, Any], owned: bool) -> None:
    found = retention.settled(ended(spec=spec), SEVEN)
    assert (found.awaited, found.parent) == (owned, ("p", "u") if spec else None)


def test_a_run_refers_to_all_it_was_launched_from() -> None:
    reference = {"name": "x", "uid": "u", "generation": 1}
    resolved = {
        "deployment": {**reference, "revision": "d-1"},
        "pool": {**reference, "revision": "p-1"},
        "blocks": [{**reference, "revision": "b-1"}],
        "code": {"kind": "source", "configMap": "code-1"},
    }
    assert retention.settled(ended(resolved=resolved), SEVEN).references == ("d-1", "p-1", "b-1", "code-1")
    assert retention.settled(ended(resolved={}), SEVEN).references == ()


def test_only_completed_runs_are_successful() -> None:
    found = {
        word: retention.settled(ended(word), SEVEN).successful
        for word in ("Completed", "Failed", "Crashed", "Cancelled")
    }
    assert found == {"Completed": True, "Failed": False, "Crashed": False, "Cancelled": False}


def test_what_a_deployment_says() -> None:
    spec = {"historyLimits": {"successful": 3}, "ttlSecondsAfterFinished": 60}
    assert retention.history(spec) == History(3, None, 60)
    assert retention.history({}) == History()


def test_the_words_of_causes_are_those_of_the_metric() -> None:
    assert {str(cause) for cause in Cause} == {"TTL", "HistoryLimit", "Age", "Ceiling", "Parent"}
