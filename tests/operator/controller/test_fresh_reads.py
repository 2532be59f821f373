"""A read is shared by those that were named before it began, and by nobody else, whatever becomes of it."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_operator.cluster import FLOWS, WORK_POOLS, ResourceType, Unavailable
from penstock_operator.controller.fresh_reads import KEPT, FreshReads, version
from penstock_operator.reconcile.sources import Key

Json = dict[str, Any]
POOL = (WORK_POOLS, "team", "default")


class Server:
    """Reads that answer when the test says so, with how often the object had been written when they began."""

    def __init__(self) -> None:
        self.now, self.written = 0.0, 0
        self.asked: list[tuple[ResourceType, str | None, str]] = []
        self.answers: list[asyncio.Future[None]] = []
        self.reads = FreshReads(self, clock=lambda: self.now)  # type: ignore[arg-type] # of a Cluster, only `get`

    async def get(self, resource: ResourceType, namespace: str | None, name: str) -> Json | None:
        self.asked.append((resource, namespace, name))
        found = self.body() if self.written else None
        self.answers.append(asyncio.get_running_loop().create_future())
        await self.answers[-1]
        return found

    def body(self) -> Json:
        """The pool as it is now."""
        return {"metadata": {"uid": "pool-1", "generation": self.written}, "written": self.written}

    def ask(self, since: float, *what: Any) -> asyncio.Task[Json | None]:
        return asyncio.create_task(self.reads.get(*(what or POOL), since=since))

    async def found_for(self, run: str, named: float) -> int | None:
        """The same for a run, which may have waited."""
        asking = asyncio.create_task(self.reads.of(Key("team", run), named)(*POOL))
        await turn()
        self.answer()
        return (await asking or {}).get("written")

    def answer(self, error: Exception | None = None) -> None:
        for waiting in self.answers:
            if not waiting.done():
                if error is None:
                    waiting.set_result(None)
                else:
                    waiting.set_exception(error)


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_burst_that_waited_shares_one_read() -> None:
    async def scenario() -> None:
        server = Server()
        server.now, server.written = 5.0, 1
        asking = [server.ask(since) for since in (1.0, 2.0, 4.9, 5.0)]
        await turn()
        server.answer()
        assert [await task for task in asking] == [server.body()] * 4
        assert await server.ask(4.0) == server.body(), "one that comes later and was named before"
        assert len(server.asked) == 1

    asyncio.run(scenario())


def test_one_that_was_named_after_a_read_began_has_a_read_of_its_own_at_once() -> None:
    async def scenario() -> None:
        server = Server()
        early = server.ask(0.0)
        await turn()
        server.now, server.written = 0.1, 1
        late = server.ask(0.05)
        await turn()
        assert len(server.asked) == 2, "it does not wait for the one that is too old for it"
        server.answer()
        assert [await early, await late] == [None, server.body()]

    asyncio.run(scenario())


def test_what_was_read_serves_for_some_seconds_only() -> None:
    async def scenario() -> None:
        server = Server()
        first = server.ask(0.0)
        await turn()
        server.answer()
        await first
        server.now = KEPT
        assert await server.ask(0.0) is None
        server.now, server.written = KEPT + 0.001, 1
        again = server.ask(0.0)
        await turn()
        server.answer()
        assert await again == server.body()

    asyncio.run(scenario())


def test_another_object_has_another_read() -> None:
    async def scenario() -> None:
        server = Server()
        others: tuple[tuple[Any, ...], ...] = (POOL, (FLOWS, "team", "default"), (WORK_POOLS, "other", "default"))
        asking = [server.ask(0.0, *what) for what in others]
        await turn()
        assert server.asked == [*others]
        server.answer()
        await asyncio.gather(*asking)

    asyncio.run(scenario())


def test_an_error_is_that_of_all_who_wait_for_it_and_of_nobody_later() -> None:
    async def scenario() -> None:
        server = Server()
        asking = [server.ask(0.0) for _ in range(3)]
        await turn()
        server.answer(Unavailable(503, "", "busy"))
        ends = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(end) for end in ends] == [Unavailable] * 3
        later = server.ask(0.0)
        await turn()
        server.answer()
        assert await later is None
        assert len(server.asked) == 2

    asyncio.run(scenario())


@pytest.mark.parametrize("whose", ["the reader's", "a waiter's"])
def test_an_end_takes_no_other_with_it(whose: str) -> None:
    async def scenario() -> None:
        server = Server()
        asking = [server.ask(0.0) for _ in range(3)]
        await turn()
        ended = asking.pop(0 if whose == "the reader's" else 1)
        ended.cancel()
        await turn()
        server.answer()
        assert await asyncio.gather(*asking) == [None, None]
        assert ended.cancelled()
        assert len(server.asked) == (2 if whose == "the reader's" else 1)

    asyncio.run(scenario())


def test_what_is_kept_is_bounded_by_that_time() -> None:
    async def scenario() -> None:
        server = Server()
        for number in range(20):
            server.now += KEPT / 4
            asking = server.ask(server.now, WORK_POOLS, "team", f"pool-{number}")
            await turn()
            server.answer()
            await asking
        assert len(server.reads._reads) <= 5

    asyncio.run(scenario())


def test_a_run_that_waited_is_served_by_what_was_read_since_it_came() -> None:
    """When it is admitted it is named anew, and what others have read meanwhile is as new as it needs."""

    async def scenario() -> None:
        server = Server()
        server.now, server.written = 1.0, 1
        assert await server.found_for("first", 1.0) == 1
        server.now = 2.0
        assert await server.found_for("second", 2.0) == 1
        assert len(server.asked) == 2, "it came after that read began"
        server.now = 3.0
        assert [await server.found_for(run, 3.0) for run in ("first", "second")] == [1, 1]
        assert len(server.asked) == 2
        server.reads.forget(Key("team", "first"))
        await server.found_for("first", 3.0)
        assert len(server.asked) == 3, "another of its name"

    asyncio.run(scenario())


HEARD = {
    "of another spec": "pool-1/2",
    "of another object": "pool-2/1",
    "that it is gone": None,
}


@pytest.mark.parametrize("said", HEARD.values(), ids=HEARD)
def test_what_was_heard_of_since_is_read_anew(said: str | None) -> None:
    async def scenario() -> None:
        server = Server()
        server.now, server.written = 1.0, 1
        assert await server.found_for("run", 1.0) == 1
        server.now = 1.1
        server.reads.heard("WorkPool", Key("team", "default"), version(server.body()))
        assert await server.found_for("run", 1.1) == 1
        assert len(server.asked) == 1, "a watch that tells of what is known, such as another count"
        server.written = 2
        server.reads.heard("WorkPool", Key("team", "default"), said)
        assert await server.found_for("run", 1.1) == 2

    asyncio.run(scenario())


def test_a_read_under_way_is_not_trusted_when_a_change_is_heard_of() -> None:
    async def scenario() -> None:
        server = Server()
        server.now, server.written = 1.0, 1
        asking = asyncio.create_task(server.reads.of(Key("team", "run"), 1.0)(*POOL))
        await turn()
        server.written = 2
        server.reads.heard("WorkPool", Key("team", "default"), version(server.body()))
        server.answer()
        await asking
        assert await server.found_for("run", 1.0) == 2

    asyncio.run(scenario())


def test_what_was_not_there_is_looked_for_again_by_whoever_is_named() -> None:
    """Nobody hears of an absence twice: a run that is looked at again, for whatever reason, looks for itself."""

    async def scenario() -> None:
        server = Server()
        server.now = 1.0
        assert await server.found_for("run", 1.0) is None
        server.now, server.written = 2.0, 1
        assert await server.found_for("run", 2.0) == 1

    asyncio.run(scenario())


@given(st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_nobody_is_told_of_a_time_before_it_was_named(seed: int) -> None:
    """Whatever was written when somebody was named shows in what is read for it; and readers are fewer than askers."""
    chance = random.Random(seed)

    async def scenario() -> None:
        server = Server()
        asking: list[tuple[int, asyncio.Task[Json | None]]] = []
        for _ in range(60):
            server.now += chance.choice((0.0001, 0.01, KEPT / 3))
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if chance.random() < 0.3:
                server.written += 1
                server.now += 0.0001
            elif chance.random() < 0.3:
                server.answer()
            else:
                asking.append((server.written, server.ask(server.now)))
        while not all(task.done() for _, task in asking):
            server.answer()
            await asyncio.sleep(0)
        for written, task in asking:
            found = await task
            assert (found or {"written": 0})["written"] >= written

    asyncio.run(scenario())
