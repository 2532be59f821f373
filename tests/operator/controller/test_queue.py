"""A key is in the queue once, is worked on by one task at a time, and never forgotten once it is named."""

from __future__ import annotations

import asyncio
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock_operator.controller.queue import FIRST_BACKOFF, MAX_BACKOFF, OVERDUE, SHARE, KeyQueue
from run_stage import at_once

KEYS = "abc"
PATIENCE = 20.0


def named(*keys: str) -> KeyQueue[str]:
    queue: KeyQueue[str] = KeyQueue()
    for key in keys:
        queue.add(key)
    return queue


def taken(queue: KeyQueue[str]) -> str:
    """The next key, which is there."""
    return at_once(queue.take())


def test_keys_come_in_the_order_in_which_they_were_named() -> None:
    queue = named("b", "a", "c")
    assert [taken(queue) for _ in range(3)] == ["b", "a", "c"]


def test_the_first_come_before_all_others_in_the_order_in_which_they_were_named() -> None:
    queue = named("a", "b")
    for key in ("c", "b", "c"):
        queue.add(key, first=True)
    queue.add("c")
    assert (len(queue), [*queue.keys()]) == (3, ["c", "b", "a"])
    assert [taken(queue) for _ in range(3)] == ["c", "b", "a"]
    queue.add("a")
    queue.add("b", first=True)
    for key in "abc":
        queue.done(key)
    assert [taken(queue), taken(queue)] == ["b", "a"]


def test_a_burst_for_one_key_is_one_pass() -> None:
    queue = named("a", "b", "a", "a")
    assert len(queue) == 2
    assert [taken(queue), taken(queue)] == ["a", "b"]


def test_a_key_that_is_named_while_it_is_worked_on_comes_once_more_afterwards() -> None:
    queue = named("a")
    taken(queue)
    queue.add("a")
    queue.add("a")
    assert (len(queue), queue.working) == (0, 1)
    queue.done("a")
    assert (len(queue), queue.working) == (1, 0)
    taken(queue)
    queue.done("a")
    assert (len(queue), queue.working) == (0, 0)


def test_what_is_read_for_a_key_is_to_be_newer_than_its_last_naming_before_the_work() -> None:
    begun = time.monotonic()
    queue = named("a", "b")
    first = time.monotonic()
    queue.add("a")
    taken(queue)
    assert queue.named("a") >= first
    taken(queue)
    assert begun <= queue.named("b") <= first
    working = time.monotonic()
    queue.add("a")
    assert queue.named("a") < working, "that naming is of the next work"
    queue.done("a")
    taken(queue)
    assert queue.named("a") >= working
    queue.done("a")
    queue.done("b")
    queue.add("c")
    queue.clear()
    assert not queue._named, "what is not queued takes no memory"


def test_it_comes_after_those_that_were_named_before() -> None:
    queue = named("a", "b")
    taken(queue)
    queue.add("a")
    queue.done("a")
    assert [taken(queue), taken(queue)] == ["b", "a"]


def test_a_key_that_is_not_named_again_is_done_with() -> None:
    queue = named("a")
    taken(queue)
    assert queue.done("a") is None
    assert len(queue) == 0


def test_a_failure_asks_for_a_later_time_and_does_not_queue_the_key_by_itself() -> None:
    queue = named("a")
    taken(queue)
    assert queue.done("a", failed=True) is not None
    assert len(queue) == 0


def test_a_failed_key_that_was_named_meanwhile_comes_at_once() -> None:
    queue = named("a")
    taken(queue)
    queue.add("a")
    queue.done("a", failed=True)
    assert taken(queue) == "a"


def fail(queue: KeyQueue[str], key: str = "a") -> float:
    queue.add(key)
    assert taken(queue) == key
    delay = queue.done(key, failed=True)
    assert delay is not None
    return delay


def test_delays_double_with_jitter_up_to_a_bound() -> None:
    queue = named()
    for number in range(12):
        longest = min(FIRST_BACKOFF * 2**number, MAX_BACKOFF)
        assert longest / 2 <= fail(queue) <= longest


def test_a_key_may_fail_for_ever() -> None:
    """An API server that is away over a weekend, or an object that nobody mends."""
    queue = named()
    delays = [fail(queue) for _ in range(5000)]
    assert max(delays) <= MAX_BACKOFF
    assert min(delays[20:]) >= MAX_BACKOFF / 2


def test_the_delays_of_many_keys_are_spread() -> None:
    queue: KeyQueue[str] = KeyQueue()
    assert len({fail(queue, str(number)) for number in range(20)}) > 1


def test_a_success_forgets_the_failures_of_its_key_alone() -> None:
    queue = named()
    for _ in range(6):
        fail(queue, "a")
        fail(queue, "b")
    queue.add("a")
    taken(queue)
    queue.done("a")
    assert fail(queue, "a") <= FIRST_BACKOFF
    assert fail(queue, "b") > FIRST_BACKOFF * 2


def test_whoever_waits_is_woken() -> None:
    async def waiting() -> list[str]:
        queue: KeyQueue[str] = KeyQueue()
        takers = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        for key in KEYS:
            queue.add(key)
        return await asyncio.wait_for(asyncio.gather(*takers), PATIENCE)

    assert sorted(asyncio.run(waiting())) == list(KEYS)


def test_one_key_wakes_one_and_the_others_wait_on() -> None:
    async def waiting() -> tuple[int, str]:
        queue: KeyQueue[str] = KeyQueue()
        takers = [asyncio.create_task(queue.take()) for _ in range(3)]
        await asyncio.sleep(0)
        queue.add("a")
        for _ in range(5):
            await asyncio.sleep(0)
        ended = sum(taker.done() for taker in takers)
        queue.add("b")
        queue.add("c")
        return ended, "".join(sorted(await asyncio.wait_for(asyncio.gather(*takers), PATIENCE)))

    assert asyncio.run(waiting()) == (1, "abc")


def test_a_taker_that_is_cancelled_takes_nothing_along() -> None:
    async def waiting() -> str:
        queue: KeyQueue[str] = KeyQueue()
        taker = asyncio.create_task(queue.take())
        await asyncio.sleep(0)
        queue.add("a")
        taker.cancel()
        await asyncio.gather(taker, return_exceptions=True)
        return await asyncio.wait_for(queue.take(), PATIENCE)

    assert asyncio.run(waiting()) == "a"


def test_the_age_is_that_of_the_key_that_waits_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    queue = named()
    assert queue.oldest_age() == 0.0
    queue.add("a")
    now = 103.0
    queue.add("b")
    queue.add("a")
    now = 110.0
    assert queue.oldest_age() == 10.0
    taken(queue)
    assert queue.oldest_age() == 7.0
    taken(queue)
    assert queue.oldest_age() == 0.0


class QueueModel(RuleBasedStateMachine):
    """Any order of names, takes and ends."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: KeyQueue[str] = KeyQueue()
        self.waiting: list[str] = []
        self.working: set[str] = set()
        self.again: set[str] = set()

    @rule(key=st.sampled_from(KEYS))
    def add(self, key: str) -> None:
        self.queue.add(key)
        if key in self.working:
            self.again.add(key)
        elif key not in self.waiting:
            self.waiting.append(key)

    @precondition(lambda self: self.waiting)
    @rule()
    def take(self) -> None:
        key = taken(self.queue)
        assert key == self.waiting.pop(0)
        assert key not in self.working
        self.working.add(key)

    @precondition(lambda self: self.working)
    @rule(data=st.data(), failed=st.booleans())
    def done(self, data: st.DataObject, failed: bool) -> None:
        key = data.draw(st.sampled_from(sorted(self.working)))
        assert (self.queue.done(key, failed=failed) is not None) == failed
        self.working.discard(key)
        if key in self.again:
            self.again.discard(key)
            self.waiting.append(key)

    @invariant()
    def counts(self) -> None:
        assert (len(self.queue), self.queue.working) == (len(self.waiting), len(self.working))


TestQueueModel = QueueModel.TestCase
TestQueueModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@given(st.integers(0, 2**32), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_workers_never_share_a_key_and_miss_no_name(seed: int, workers: int) -> None:
    """Whatever was true when a key was named is seen by a pass that begins afterwards."""
    chance = random.Random(seed)
    truth, seen = dict.fromkeys(KEYS, 0), dict.fromkeys(KEYS, 0)
    busy: set[str] = set()

    async def work(queue: KeyQueue[str]) -> None:
        while True:
            key = await queue.take()
            assert key not in busy
            busy.add(key)
            found = truth[key]
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            seen[key] = found
            busy.discard(key)
            queue.done(key)

    async def scenario() -> None:
        queue: KeyQueue[str] = KeyQueue()
        tasks = [asyncio.create_task(work(queue)) for _ in range(workers)]
        for _ in range(40):
            key = chance.choice(KEYS)
            truth[key] += 1
            queue.add(key)
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
        while len(queue) or queue.working:
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends

    asyncio.run(scenario())
    assert seen == truth


def test_a_queue_that_is_closed_gives_out_nothing_and_waits_for_what_is_worked_on() -> None:
    async def scenario() -> None:
        queue = named("a", "b")
        taken(queue)
        closing = asyncio.create_task(queue.close())
        next_one = asyncio.create_task(queue.take())
        await asyncio.sleep(0.01)
        assert (closing.done(), next_one.done()) == (False, False)
        queue.done("a")
        await asyncio.wait_for(closing, PATIENCE)
        queue.add("c")
        await asyncio.sleep(0.01)
        assert not next_one.done()
        assert list(queue.keys()) == ["b", "c"]
        next_one.cancel()

    asyncio.run(scenario())


def test_a_queue_that_is_cleared_knows_nothing_and_gives_out_keys_again() -> None:
    queue = named("a", "b")
    taken(queue)
    queue.add("a")
    at_once(asyncio.sleep(0))
    queue.clear()
    queue.done("a", failed=True)
    assert len(queue) == 0
    queue.add("b")
    assert taken(queue) == "b"


def test_a_closed_queue_is_open_again_once_it_is_cleared() -> None:
    queue = named("a")
    at_once(queue.close())
    queue.clear()
    queue.add("b")
    assert taken(queue) == "b"


def test_patient_keys_that_have_waited_for_long_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: now)
        queue: KeyQueue[str] = KeyQueue(lambda key: key.startswith("patient"))
        queue.add("patient-1")
        for number in range(4 * SHARE):
            queue.add(f"a-{number}")
        assert "patient-1" not in [await queue.take() for _ in range(2 * SHARE)]
        now = OVERDUE
        queue.add("first", first=True)
        assert await queue.take() == "first"
        taken = [await queue.take() for _ in range(SHARE)]
        assert taken.count("patient-1") == 1

    asyncio.run(scenario())


def test_patient_keys_come_when_there_is_no_other() -> None:
    async def scenario() -> None:
        queue: KeyQueue[str] = KeyQueue(lambda key: key.startswith("patient"))
        for key in ("patient-1", "a", "patient-2", "b"):
            queue.add(key)
        assert len(queue) == 4
        assert [await queue.take() for _ in range(4)] == ["a", "b", "patient-1", "patient-2"]
        queue.add("patient-3")
        queue.clear()
        assert len(queue) == 0

    asyncio.run(scenario())
