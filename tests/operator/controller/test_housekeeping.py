"""The housekeeping: each namespace has its turn, and one that fails stops no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta

from penstock_operator.cluster import Unavailable
from penstock_operator.controller.housekeeping import GATHER, Housekeeping
from penstock_operator.reconcile.sources import Requeue
from run_stage import Clock

Task = Callable[[str], Awaitable[Requeue | None]]


class House:
    """A housekeeping with one task."""

    def __init__(self, task: Task) -> None:
        self.clock = Clock()
        self.keeping = Housekeeping({"task": task}, self.clock)

    async def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.keeping.due.fire(self.clock())
        for _ in range(50):
            await asyncio.sleep(0)


def played(task: Task, scenario: Callable[[House], Awaitable[None]]) -> None:
    async def play() -> None:
        house = House(task)
        running = asyncio.create_task(house.keeping.run())
        await scenario(house)
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(play())


def test_changes_that_come_together_are_looked_at_once() -> None:
    looks: Counter[str] = Counter()

    async def task(namespace: str) -> None:
        looks[namespace] += 1

    async def scenario(house: House) -> None:
        for _ in range(10):
            house.keeping.soon("task", "a")
        house.keeping.soon("task", "b")
        await house.time_passes(0)
        assert not looks
        await house.time_passes(GATHER.total_seconds())
        assert looks == {"a": 1, "b": 1}
        await house.time_passes(3600)
        assert looks == {"a": 1, "b": 1}

    played(task, scenario)


def test_a_task_is_called_again_when_it_asks_for_it() -> None:
    looks: list[float] = []

    async def scenario(house: House) -> None:
        start = house.clock()

        async def task(_: str) -> Requeue:
            looks.append((house.clock() - start).total_seconds())
            return Requeue(house.clock() + timedelta(seconds=60))

        house.keeping._tasks = {"task": task}
        house.keeping.soon("task", "a")
        for _ in range(130):
            await house.time_passes(1)
        assert looks == [3, 63, 123]

    async def unused(_: str) -> None:
        return None

    played(unused, scenario)


def test_a_namespace_that_fails_comes_again_and_stops_no_other() -> None:
    looks: Counter[str] = Counter()

    async def task(namespace: str) -> None:
        looks[namespace] += 1
        if namespace == "busy" and looks["busy"] < 3:
            raise Unavailable(503, "Busy", "later")
        if namespace == "broken":
            raise ValueError("a bug")

    async def scenario(house: House) -> None:
        for namespace in ("busy", "broken", "fine"):
            house.keeping.soon("task", namespace)
        for _ in range(30):
            await house.time_passes(10)
        assert (looks["busy"], looks["fine"]) == (3, 1)
        assert looks["broken"] > 3

    played(task, scenario)
