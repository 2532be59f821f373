"""`concurrency` and `rate_limit` as user code has them, blocking and awaiting."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock.concurrency import arate_limit, concurrency, declare_limit, rate_limit, sync
from penstock.concurrency import asyncio as awaiting
from penstock.concurrency.claims import give_slots_from
from penstock.concurrency.claims import slots as current
from penstock.concurrency.local import LocalSlots
from penstock.errors import (
    AcquireConcurrencySlotTimeoutError,
    ConcurrencySlotAcquisitionError,
    InvalidSettings,
)
from penstock.slot_source import give_slots_by


class Most:
    """How many were inside at the same time, at most."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


def test_threads_and_coroutines_share_a_limit(slots: LocalSlots) -> None:
    declare_limit("db", 2)
    inside = Most()

    def blocking() -> None:
        for _ in range(20):
            with sync.concurrency("db"), inside:
                pass

    async def waiting() -> None:
        async def one() -> None:
            for _ in range(20):
                async with awaiting.concurrency(["db", "db"]):
                    with inside:
                        await asyncio.sleep(0)

        await asyncio.gather(*(one() for _ in range(5)))

    threads = [threading.Thread(target=blocking) for _ in range(4)]
    for thread in threads:
        thread.start()
    asyncio.run(waiting())
    for thread in threads:
        thread.join(60)
    assert inside.most <= 2
    assert slots.taken("db") == 0


def test_one_object_may_be_used_again_and_inside_of_itself(slots: LocalSlots) -> None:
    declare_limit("db", 2)
    both = concurrency("db")
    with both, both:
        assert slots.taken("db") == 2
    with both:
        assert slots.taken("db") == 1
    assert slots.taken("db") == 0


def test_slots_come_back_when_the_block_raises(slots: LocalSlots) -> None:
    declare_limit("db", 1)
    with pytest.raises(ValueError, match="mine"), concurrency("db"):
        raise ValueError("mine")
    assert slots.taken("db") == 0


@pytest.mark.parametrize("bound", [{"timeout_seconds": 0.01}, {"max_retries": 0}], ids=["timeout", "no retries"])
def test_a_wait_may_be_bounded(bound: dict[str, Any], slots: LocalSlots) -> None:
    declare_limit("db", 1)

    async def await_it() -> None:
        async with concurrency("db", **bound):
            pass

    with concurrency("db"):
        with pytest.raises(AcquireConcurrencySlotTimeoutError), concurrency("db", **bound):
            pass
        with pytest.raises(TimeoutError):
            asyncio.run(await_it())
    with concurrency("db", **bound):
        pass


def test_a_cancelled_coroutine_leaves_the_queue(slots: LocalSlots) -> None:
    declare_limit("db", 1)

    async def main() -> None:
        async def hold() -> None:
            async with concurrency("db"):
                pass

        async with concurrency("db"):
            waiting = asyncio.create_task(hold())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await asyncio.wait_for(hold(), 60)

    asyncio.run(main())
    assert slots.taken("db") == 0


def test_a_rate_lets_through_what_it_allows(slots: LocalSlots) -> None:
    declare_limit("api", 2, slot_decay_per_second=0.001)
    rate_limit("api")
    asyncio.run(arate_limit("api"))
    with pytest.raises(AcquireConcurrencySlotTimeoutError):
        rate_limit("api", timeout_seconds=0.01)
    with pytest.raises(AcquireConcurrencySlotTimeoutError):
        asyncio.run(awaiting.rate_limit("api", timeout_seconds=0.01))


def test_strict_and_what_is_no_rate_are_errors(slots: LocalSlots) -> None:
    declare_limit("db", 1)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="there is no concurrency limit x"):
        rate_limit("x", strict=True)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'db' is no rate"):
        rate_limit("db")
    with pytest.raises(InvalidSettings, match="slots"):
        declare_limit("db", -1)


def test_where_others_give_slots_limits_are_still_declared_for_the_process(slots: LocalSlots) -> None:
    class Giver:
        local = slots

    give_slots_from(Giver())  # type: ignore[arg-type]
    declare_limit("db", 1)
    assert slots.limits()["db"].slots == 1


def test_the_giver_is_made_when_slots_are_first_asked_for(slots: LocalSlots) -> None:
    made = []

    def make() -> LocalSlots:
        made.append(slots)
        return slots

    give_slots_from(None)
    give_slots_by(make)
    try:
        assert (current(), current(), made) == (slots, slots, [slots])
    finally:
        give_slots_by(None)
