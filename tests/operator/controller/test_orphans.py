"""Runs that are deleted in a warm worker hold what they held until their processes have ended, whoever leads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from builders import flow_run
from penstock.api import labels, names
from penstock.api.workers import RENEW_SECONDS, DeletedRun, deleted_runs_annotation
from penstock_operator.cluster import FLOW_RUNS, LEASES
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.orphans import FORGOTTEN, Orphans
from penstock_operator.core.orphans import PATIENCE, Orphan
from penstock_operator.core.views import RunView
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE, Clock, at_once
from warm_workers import WarmPool, played

Json = dict[str, Any]
LIMITED: Json = {"concurrencyLimit": 1}
KEY = Key(NAMESPACE, "run")


async def says(pool: WarmPool, uid: str, *, ended: bool, worker: str = "laptop") -> None:
    """An agent says of the process of a deleted run that it is there, or has ended."""
    run = DeletedRun(name="run", uid=uid, ended=ended, deployment=None if ended else "etl", admitted={})
    path = f"/metadata/annotations/{labels.DELETED_RUNS.replace('/', '~1')}"
    ops = [{"op": "add", "path": path, "value": deleted_runs_annotation([run])}]
    at_once(pool.cluster.patch(LEASES, NAMESPACE, names.worker_lease(worker), ops))
    await pool.renews(worker)


async def deleted(pool: WarmPool) -> str:
    """The run has a process in a worker, and somebody deletes it while another waits; its uid."""
    await pool.submitted()
    await pool.claims()
    await pool.submitted("next")
    assert not pool.worker("next")
    uid: str = (pool.stage.get("FlowRun", "run") or {})["metadata"]["uid"]
    pool.stage.remove("FlowRun", "run")
    await pool.quiet()
    return uid


async def time_passes(pool: WarmPool, seconds: float, *renewing: str) -> None:
    """Time in which these workers renew their Leases."""
    while seconds > 0:
        for name in renewing:
            await pool.renews(name)
        await pool.time_passes(min(seconds, RENEW_SECONDS))
        seconds -= RENEW_SECONDS


@pytest.mark.parametrize("workers", [("laptop",), ("laptop", "other")], ids=["its worker's place", "its pool's slot"])
def test_what_it_held_is_free_when_its_worker_says_that_its_process_has_ended(workers: tuple[str, ...]) -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        for name in workers[1:]:
            await pool.starts(name, slots=2)
        uid = await deleted(pool)
        at = pool.controller.cache.orphans.all()[0].worker
        assert not pool.worker("next")
        await says(pool, uid, ended=False, worker=at)
        await time_passes(pool, 15, *workers)
        assert not pool.worker("next")
        await says(pool, uid, ended=True, worker=at)
        assert pool.worker("next")
        assert pool.controller.cache.orphans.all() == []

    played(scenario, **(LIMITED if len(workers) > 1 else {}))


def test_a_worker_that_says_nothing_is_given_its_time() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await deleted(pool)
        await time_passes(pool, PATIENCE.total_seconds() - 1, "laptop")
        assert not pool.worker("next")
        await time_passes(pool, 1, "laptop")
        assert pool.worker("next")

    played(scenario)


def test_as_long_as_a_worker_says_that_it_is_there_it_is() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        uid = await deleted(pool)
        await says(pool, uid, ended=False)
        await time_passes(pool, 4 * PATIENCE.total_seconds(), "laptop")
        assert not pool.worker("next")
        await says(pool, uid, ended=True)
        assert pool.worker("next")

    played(scenario)


def test_a_worker_that_cannot_have_heard_is_waited_for_until_it_is_lost() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        await pool.comes_up(pod)
        await deleted(pool)
        await time_passes(pool, PATIENCE.total_seconds() + 5)
        assert len(pool.controller.cache.orphans.all()) == 1
        pool.stage.remove("Pod", pod)
        await pool.quiet()
        assert pool.controller.cache.orphans.all() == []
        pool.stage.remove("Lease", names.worker_lease(pod))  # its pod owned it
        (pod,) = pool.pods()
        await pool.comes_up(pod)
        assert pool.worker("next")["name"] == pod

    played(scenario, worker={"min": 1, "max": 1}, **LIMITED)


def test_a_worker_that_is_in_contact_again_is_given_its_time_from_then_on() -> None:
    async def scenario(pool: WarmPool) -> None:
        (pod,) = pool.pods()
        await pool.comes_up(pod)
        await deleted(pool)
        await time_passes(pool, PATIENCE.total_seconds() + 5)
        assert not pool.worker("next")
        await time_passes(pool, RENEW_SECONDS, pod)
        assert pool.worker("next")

    played(scenario, worker={"min": 1, "max": 1})


def test_what_it_held_is_free_when_its_worker_is_gone() -> None:
    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        await pool.starts("other", slots=3)
        await deleted(pool)
        (orphan,) = pool.controller.cache.orphans.all()
        pool.stage.remove("Lease", names.worker_lease(orphan.worker))
        await pool.quiet()
        assert pool.worker("next")["name"] != orphan.worker

    played(scenario, **LIMITED)


def test_a_namesake_does_not_have_it() -> None:
    """Its own end frees its own slots; what the one before it held is held until that has ended."""

    async def scenario(pool: WarmPool) -> None:
        await pool.starts("laptop")
        uid = await deleted(pool)
        await pool.submitted()
        assert not pool.worker()
        await says(pool, uid, ended=True)
        assert pool.worker("next")
        await pool.claims("next")
        await pool.ends("next")
        assert pool.worker()

    played(scenario)


@contextmanager
def deaf(pool: WarmPool) -> Iterator[None]:
    """The operator hears nothing of runs meanwhile, and then only by a list what there is."""
    (informer,) = [i for i in pool.controller.informers if i.selection.field_selector == "status.settled!=true"]
    ears = informer._changed, informer._deleted
    informer._changed, informer._deleted = (lambda *_: None), (lambda *_: None)
    yield
    informer._changed, informer._deleted = ears
    informer.relist()


async def running_with_another_behind(pool: WarmPool) -> str:
    await pool.starts("laptop")
    await pool.submitted()
    await pool.claims()
    await pool.submitted("next")
    return str((pool.stage.get("FlowRun", "run") or {})["metadata"]["uid"])


def test_a_deletion_that_only_a_list_shows_is_one() -> None:
    async def scenario(pool: WarmPool) -> None:
        uid = await running_with_another_behind(pool)
        with deaf(pool):
            pool.stage.remove("FlowRun", "run")
            await pool.quiet()
        await pool.until(lambda: pool.controller.cache.run(KEY) is None)
        await pool.quiet()
        assert [orphan.uid for orphan in pool.controller.cache.orphans.all()] == [uid]
        assert not pool.worker("next")
        await says(pool, uid, ended=True)
        assert pool.worker("next")

    played(scenario)


def test_a_run_that_another_operator_has_settled_meanwhile_has_left_nothing() -> None:
    async def scenario(pool: WarmPool) -> None:
        await running_with_another_behind(pool)
        with deaf(pool):
            pool.stage.enter("Completed", "Completed", "run", endTime=pool.stage.now())
            pool.cluster.set_status(FLOW_RUNS, NAMESPACE, "run", settled=True)
            await pool.quiet()
            assert not pool.worker("next")
        await pool.until(lambda: pool.worker("next"))
        assert pool.controller.cache.orphans.all() == []

    played(scenario)


def restarted(then: Callable[[WarmPool, str], Awaitable[None]], *, told: bool) -> None:
    """The run is deleted, and the only operator ends; another begins, which finds at most what the Lease tells."""

    async def whole() -> None:
        pool = WarmPool(**LIMITED)
        async with pool.running():
            await pool.starts("laptop", slots=2)
            uid = await deleted(pool)
            if told:
                await says(pool, uid, ended=False)
        async with pool.running():
            await then(pool, uid)

    asyncio.run(whole())


def test_a_new_operator_reads_from_the_lease_what_is_there_still() -> None:
    async def then(pool: WarmPool, uid: str) -> None:
        assert not pool.worker("next")
        await time_passes(pool, 30, "laptop")
        assert not pool.worker("next")
        await says(pool, uid, ended=True)
        assert pool.worker("next")

    restarted(then, told=True)


def test_what_a_worker_says_after_an_operator_began_counts_from_then_on() -> None:
    async def then(pool: WarmPool, uid: str) -> None:
        await pool.until(lambda: pool.worker("next"))
        await says(pool, uid, ended=False)
        await pool.ends("next")
        await pool.submitted("third")
        assert not pool.worker("third")
        await says(pool, uid, ended=True)
        assert pool.worker("third")

    restarted(then, told=False)


def orphan(uid: str, clock: Clock) -> Orphan:
    return Orphan(NAMESPACE, "run", uid, "w", "w-uid", (), None, clock() + PATIENCE)


def test_they_are_found_by_run_and_by_worker_and_each_change_is_told() -> None:
    clock, told = Clock(), list[str]()
    known = Orphans(clock, lambda one: told.append(one.uid))
    for uid in ("a", "b"):
        known.put(orphan(uid, clock))
    known.put(orphan("a", clock))
    assert {one.uid for one in known.of_worker("w-uid")} == {one.uid for one in known.of_run(KEY)} == {"a", "b"}
    for _ in range(2):
        known.forget(orphan("a", clock))
    known.forget(orphan("b", clock))
    assert told == ["a", "b", "a", "b"]
    assert known.of_worker("w-uid") == known.of_run(KEY) == known.all() == []


def test_a_term_that_begins_waits_for_each_anew() -> None:
    """It has yet to hear which workers are silent."""
    clock = Clock()
    known = Orphans(clock)
    known.put(orphan("a", clock))
    clock.advance(PATIENCE.total_seconds() * 2)
    known.renew()
    assert [one.until for one in known.all()] == [clock() + PATIENCE]


def test_one_that_nobody_asks_about_is_forgotten_in_the_end() -> None:
    clock = Clock()
    known = Orphans(clock)
    known.put(orphan("a", clock))
    clock.advance((PATIENCE + FORGOTTEN + timedelta(seconds=1)).total_seconds())
    body = {"metadata": {"name": "x", "namespace": NAMESPACE, "uid": "x"}, "spec": {}}
    known.left(RunView({**body, "status": {"worker": {"name": "w", "uid": "w-uid"}}}))
    assert [one.uid for one in known.all()] == ["x"]


def claiming(version: int, uid: str = "run-uid") -> Json:
    """A run in a worker that holds two slots of a limit in code."""
    claim = {"id": 1, "names": ["db"], "want": 2, "since": "2026-01-01T06:00:00Z"}
    body = flow_run(
        "Running",
        worker={"name": "w", "uid": "w-uid", "attempt": 1},
        pod={"name": "w", "uid": "w-uid"},
        claims={"attempt": 1, "number": 1, "claims": [claim]},
        grants={"attempt": 1, "number": 1, "grants": [{"id": 1, "granted": 2}]},
    )
    return {**body, "metadata": {**body["metadata"], "uid": uid, "resourceVersion": str(version)}}


@pytest.mark.parametrize("how", ["the watch tells of its deletion", "a namesake is there"])
def test_what_its_code_had_claimed_is_held_as_long(how: str) -> None:
    cache = ObjectCache()
    cache.put("FlowRun", claiming(7))
    if how == "a namesake is there":
        cache.put("FlowRun", {**flow_run(), "metadata": {**claiming(9, "other")["metadata"]}})
    else:
        cache.drop("FlowRun", ("team", "etl-1"), "8")
    (held,) = cache.claimants("team")
    assert (held.uid, [(claim.held, claim.ends) for claim in held.claims]) == ("run-uid", [(2, True)])
    (left,) = cache.orphans.all()
    cache.orphans.forget(left)
    assert cache.claimants("team") == []
