"""The loop on the Lease: taken, renewed, lost, released, and what it lets through meanwhile, on a cluster in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import prometheus_client
import pytest

from memory_cluster import MemoryCluster, Write
from penstock_operator.cluster import LEASES, NotLeading, Unavailable
from penstock_operator.controller import leadership as module
from penstock_operator.controller.leadership import Leadership
from penstock_operator.core.leadership import DURATION, GIVE_UP, RENEW, Lease

Json = dict[str, Any]
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)


class Hall:
    """One Lease, and processes that a test moves on step by step; they share a clock that it sets."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(lambda: SIX)
        self.time = 1000.0

    def process(self, name: str = "me") -> Leadership:
        return Leadership(
            self.cluster, "system", "operator", name, now=lambda: datetime.fromtimestamp(self.time, UTC),
            clock=lambda: self.time,
        )  # fmt: skip

    async def step(self, *processes: Leadership, seconds: float = 0.0) -> None:
        self.time += seconds
        for each in processes:
            await each._once()

    @property
    def lease(self) -> Json:
        found = self.cluster.objects.get(("leases", "system", "operator"))
        assert found is not None
        spec: Json = found["spec"]
        return spec

    def away(self, write: Write) -> None:
        raise Unavailable(503, "", "the API server is away")


def played(scenario: Callable[[Hall], Awaitable[None]]) -> None:
    asyncio.run(scenario(Hall()))


def counted(name: str, **labels: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


def test_the_first_to_come_leads_and_the_next_stands_by() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await hall.step(one, two)
        assert (one.leads, two.leads) == (True, False)
        assert (hall.lease["holderIdentity"], hall.lease["leaseTransitions"]) == ("one", 0)
        assert hall.lease["leaseDurationSeconds"] == DURATION
        for _ in range(40):
            await hall.step(one, two, seconds=1)
        assert (one.leads, two.leads) == (True, False)

    played(scenario)


def test_a_leader_renews_now_and_then() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        await hall.step(one)
        for _ in range(30):
            await hall.step(one, seconds=1)
        renewals = [write for write in hall.cluster.writes if write.verb == "patch"]
        assert len(renewals) == 30 / RENEW
        assert hall.lease["renewTime"] > hall.lease["acquireTime"]

    played(scenario)


def test_a_standby_takes_over_once_the_lease_has_not_changed_for_its_duration() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await hall.step(one)
        await hall.step(two, seconds=2)
        for _ in range(int(DURATION) - 1):
            await hall.step(two, seconds=1)
            assert not two.leads
        await hall.step(two, seconds=1)
        assert two.leads
        assert (hall.lease["holderIdentity"], hall.lease["leaseTransitions"]) == ("two", 1)

    played(scenario)


def test_a_leader_without_an_answer_stops_before_anybody_may_take_over() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        await hall.step(one)
        hall.cluster.before = hall.away
        await hall.step(one, seconds=GIVE_UP - 0.1)
        assert one.leads
        one.permit("PATCH", "flowruns")
        hall.time += 0.1
        assert not one.leads  # at once, whatever its loop is doing
        await hall.step(one)
        await asyncio.wait_for(one.lost(), 5)
        hall.cluster.before = lambda _: None
        await hall.step(one, seconds=1)
        assert one.leads  # nobody else was there
        await asyncio.wait_for(one.gained(), 5)

    played(scenario)


def test_a_leader_that_hangs_on_an_answer_is_told_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.rules, "GIVE_UP", 0.2)

    async def scenario() -> None:
        cluster = MemoryCluster()
        one = Leadership(cluster, "system", "operator", "me", now=lambda: SIX)
        await one._once()

        async def hangs(*_: object, **__: object) -> Json:
            await asyncio.Event().wait()
            return {}

        cluster.patch = hangs  # type: ignore[method-assign]
        monkeypatch.setattr(module.rules, "RENEW", 0.0)
        await asyncio.wait_for(one._once(), 5)
        assert not one.leads
        await asyncio.wait_for(one.lost(), 5)

    asyncio.run(scenario())


def test_a_leader_that_finds_another_in_its_place_stops() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await hall.step(one)
        ops = [{"op": "replace", "path": "/spec/holderIdentity", "value": "somebody"}]
        await hall.cluster.patch(LEASES, "system", "operator", ops)
        await hall.step(one, two, seconds=RENEW)
        assert (one.leads, two.leads) == (False, False)
        assert hall.lease["holderIdentity"] == "somebody"

    played(scenario)


def test_a_leader_whose_answer_was_lost_finds_its_own_name_and_leads() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        hall.cluster.after = hall.away
        await hall.step(one)
        assert not one.leads
        hall.cluster.after = lambda _: None
        await hall.step(one, seconds=1)
        assert one.leads
        assert hall.lease["leaseTransitions"] == 0

    played(scenario)


def test_a_lease_that_is_deleted_goes_to_its_holder_again() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await hall.step(one, two)
        hall.cluster.remove(LEASES, "system", "operator")
        await hall.step(two, one, seconds=RENEW)
        await hall.step(two, one, seconds=1)
        assert (one.leads, two.leads) == (True, False)
        assert hall.lease["holderIdentity"] == "one"

    played(scenario)


def test_of_two_that_find_no_lease_one_makes_it() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await asyncio.gather(one._once(), two._once())
        assert sorted((one.leads, two.leads)) == [False, True]

    played(scenario)


def test_what_is_released_is_taken_at_once() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await hall.step(one, two)
        await one.release()
        assert not one.leads
        assert hall.lease["holderIdentity"] == ""
        await hall.step(two, seconds=1)
        assert two.leads
        await one.release()  # which it does not hold any more
        assert hall.lease["holderIdentity"] == "two"

    played(scenario)


def test_who_takes_over_knows_until_when_another_led() -> None:
    async def scenario(hall: Hall) -> None:
        one, two = hall.process("one"), hall.process("two")
        await hall.step(one)
        assert one.led_until is None
        await hall.step(one, seconds=RENEW)
        last = datetime.fromtimestamp(hall.time, UTC)
        await hall.step(two)
        await hall.step(two, seconds=DURATION)
        assert (two.leads, two.led_until) == (True, last)

    played(scenario)


@pytest.mark.parametrize("said", ["", "yesterday", "2026-01-01T06:00:00"])
def test_a_lease_may_say_of_its_renewal_what_it_likes(said: str) -> None:
    assert Lease("one", said, 0, DURATION).renewed_at() is None


def test_a_release_that_fails_ends_the_process_nevertheless() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        await hall.step(one)
        hall.cluster.before = hall.away
        await one.release()
        assert not one.leads

    played(scenario)


def test_only_writes_need_the_lease_and_those_that_are_kept_are_counted() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        one.permit("GET", "flowruns")
        before = counted("penstock_writes_refused_total", verb="POST", resource="events")
        with pytest.raises(NotLeading, match="me does not hold the lease"):
            one.permit("POST", "events")
        assert counted("penstock_writes_refused_total", verb="POST", resource="events") == before + 1
        await hall.step(one)
        one.permit("POST", "events")

    played(scenario)


def test_a_write_that_is_done_after_the_lease_was_lost_is_counted() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        await hall.step(one)
        before = counted("penstock_writes_late_total", verb="PATCH", resource="flowruns")
        one.observe("PATCH", "flowruns", 200)
        hall.time += GIVE_UP
        one.observe("PATCH", "flowruns", 422)
        one.observe("GET", "flowruns", 200)
        assert counted("penstock_writes_late_total", verb="PATCH", resource="flowruns") == before
        one.observe("PATCH", "flowruns", 200)
        assert counted("penstock_writes_late_total", verb="PATCH", resource="flowruns") == before + 1

    played(scenario)


def test_the_loop_takes_part_until_it_is_cancelled() -> None:
    async def scenario(hall: Hall) -> None:
        one = hall.process()
        task = asyncio.create_task(one.run())
        await asyncio.wait_for(one.looked.wait(), 5)
        assert one.leads
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    played(scenario)


def test_an_api_server_that_is_away_at_the_start_keeps_nobody_from_starting() -> None:
    async def scenario(hall: Hall) -> None:
        hall.cluster.before = hall.away
        one = hall.process()
        task = asyncio.create_task(one.run())
        await asyncio.wait_for(one.looked.wait(), 5)
        assert not one.leads
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    played(scenario)


def test_the_clock_goes_on_and_never_back() -> None:
    first = module.monotonic()
    assert module.monotonic() >= first > 0
