"""Every key comes when it is due and not before, at the earliest of the times it was given, whatever clocks do."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock_operator.controller.due import DueTimes
from run_stage import Clock

START = datetime(2026, 1, 1, 6, tzinfo=UTC)
PATIENCE = 20.0


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Timers:
    """Due times under a clock that the test sets, and the keys that came, in order."""

    def __init__(self, granularity: float = 30.0) -> None:
        self.clock = Clock()
        self.came: list[str] = []
        self.due: DueTimes[str] = DueTimes(self.clock, self.came.append, granularity)

    def at(self, seconds: float) -> list[str]:
        """The keys that come by that time."""
        self.came.clear()
        self.due.fire(later(seconds))
        return list(self.came)


def test_a_key_comes_when_it_is_due_and_once() -> None:
    timers = Timers()
    timers.due.at("a", later(10))
    assert timers.at(9.999) == []
    assert timers.at(10) == ["a"]
    assert timers.at(1000) == []


def test_keys_come_in_the_order_of_their_times_and_of_asking() -> None:
    timers = Timers()
    for key, seconds in (("late", 30), ("second", 20), ("third", 20), ("first", 10)):
        timers.due.at(key, later(seconds))
    assert timers.at(60) == ["first", "second", "third", "late"]


def test_the_earliest_of_the_times_counts_whichever_was_given_first() -> None:
    timers = Timers()
    timers.due.at("a", later(10))
    timers.due.at("a", later(5))
    timers.due.at("a", later(20))
    assert len(timers.due) == 1
    assert timers.at(5) == ["a"]
    assert timers.at(60) == []


def test_asking_again_for_the_same_time_costs_no_memory() -> None:
    """A run asks for its deadline in every pass."""
    timers = Timers()
    for _ in range(100):
        timers.due.at("a", later(5))
    assert len(timers.due._heap) == 1
    assert timers.at(5) == ["a"]


def test_a_key_that_came_can_be_due_again() -> None:
    timers = Timers()
    timers.due.at("a", later(5))
    timers.at(5)
    timers.due.at("a", later(20))
    assert timers.at(19) == []
    assert timers.at(20) == ["a"]


def test_a_key_that_is_dropped_does_not_come() -> None:
    timers = Timers()
    timers.due.at("a", later(5))
    timers.due.drop("a")
    timers.due.drop("unknown")
    assert len(timers.due) == 0
    assert timers.at(60) == []


def test_a_key_that_was_dropped_may_be_due_later_than_before() -> None:
    timers = Timers()
    timers.due.at("a", later(5))
    timers.due.drop("a")
    timers.due.at("a", later(20))
    assert timers.at(10) == []
    assert timers.at(20) == ["a"]


def test_a_key_may_ask_for_another_time_as_it_comes() -> None:
    came: list[str] = []

    def callback(key: str) -> None:
        came.append(key)
        if len(came) < 3:
            due.at(key, later(len(came)))

    due: DueTimes[str] = DueTimes(Clock(), callback)
    due.at("a", later(0))
    due.fire(later(1))
    assert came == ["a", "a"]
    due.fire(later(2))
    assert came == ["a", "a", "a"]


class Running(Timers):
    """Due times that run, and what the test waits for."""

    async def __aenter__(self) -> Running:
        self.task = asyncio.create_task(self.due.run())
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    async def come(self, *keys: str) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.came != list(keys):
                await asyncio.sleep(0.001)


def test_a_time_that_has_come_wakes_the_sleeper() -> None:
    async def scenario() -> None:
        async with Running(granularity=3600) as timers:
            timers.due.at("a", later(3600))
            await timers.settle()
            timers.due.at("b", later(0))
            await timers.come("b")

    asyncio.run(scenario())


def test_the_sleeper_wakes_by_itself_when_a_time_comes() -> None:
    """On the real clock, for a time a moment away."""

    async def scenario() -> list[str]:
        came: list[str] = []
        due: DueTimes[str] = DueTimes(lambda: datetime.now(UTC), came.append, 3600)
        due.at("a", datetime.now(UTC) + timedelta(milliseconds=20))
        task = asyncio.create_task(due.run())
        async with asyncio.timeout(PATIENCE):
            while not came:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return came

    assert asyncio.run(scenario()) == ["a"]


def test_nobody_looks_at_the_clock_while_nothing_is_due() -> None:
    async def scenario() -> None:
        looks: list[datetime] = []

        def clock() -> datetime:
            looks.append(START)
            return START

        due: DueTimes[str] = DueTimes(clock, lambda _: None, 3600)
        due.at("a", later(1800))
        task = asyncio.create_task(due.run())
        for _ in range(50):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert len(looks) <= 2  # the second for the key that was there before it began

    asyncio.run(scenario())


def test_a_clock_that_steps_forward_is_noticed() -> None:
    """The machine slept, or the clock was set: what is due by the new time comes, though no timer was to ring yet."""

    async def scenario() -> None:
        async with Running(granularity=0.001) as timers:
            timers.due.at("a", later(3600))
            timers.due.at("b", later(7200))
            await timers.settle()
            assert timers.came == []
            timers.clock.advance(3601)
            await timers.come("a")

    asyncio.run(scenario())


def test_a_clock_that_steps_back_makes_nothing_come_too_early() -> None:
    async def scenario() -> None:
        async with Running(granularity=0.001) as timers:
            timers.due.at("a", later(10))
            timers.clock.advance(-3600)
            await timers.settle()
            timers.clock.advance(3600 + 9)
            await timers.settle()
            assert timers.came == []
            timers.clock.advance(1)
            await timers.come("a")

    asyncio.run(scenario())


def test_a_stop_at_the_moment_of_waking_is_heard() -> None:
    """Or the process would never end."""

    async def scenario() -> None:
        async with Running(granularity=3600) as timers:
            timers.due.at("a", later(0))
            timers.task.cancel()
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(timers.task, return_exceptions=True)
            assert timers.task.cancelled()

    asyncio.run(scenario())


class DueModel(RuleBasedStateMachine):
    """Any order of times, drops and clocks."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = Timers()
        self.times: dict[str, int] = {}

    @rule(key=st.sampled_from("abcd"), seconds=st.integers(0, 20))
    def at(self, key: str, seconds: int) -> None:
        self.timers.due.at(key, later(seconds))
        self.times[key] = min(seconds, self.times.get(key, seconds))

    @rule(key=st.sampled_from("abcd"))
    def drop(self, key: str) -> None:
        self.timers.due.drop(key)
        self.times.pop(key, None)

    @rule(seconds=st.integers(-5, 25))
    def fire(self, seconds: int) -> None:
        """The clock says anything, also less than before."""
        came = self.timers.at(seconds)
        wanted = {key: time for key, time in self.times.items() if time <= seconds}
        assert sorted(came) == sorted(wanted)
        assert [wanted[key] for key in came] == sorted(wanted.values())
        for key in came:
            del self.times[key]

    @invariant()
    def each_key_has_one_time(self) -> None:
        assert len(self.timers.due) == len(self.times)


TestDueModel = DueModel.TestCase
TestDueModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
