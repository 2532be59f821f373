"""What every lock manager keeps to. Subclasses give the fixtures `locks` and `others`, which meet in the same place."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from penstock.locking.protocol import LockManager

NOT = 0.05  # seconds to wait for what is not going to happen


class LockContract:
    """Tests for managers that know each other's locks."""

    def test_a_lock_is_held_by_one(self, locks: LockManager, others: LockManager) -> None:
        assert not locks.is_locked("k")
        assert locks.acquire_lock("k", "me")
        assert (locks.is_locked("k"), others.is_locked("k")) == (True, True)
        assert (locks.is_lock_holder("k", "me"), locks.is_lock_holder("k", "you")) == (True, False)
        assert not others.acquire_lock("k", "you", acquire_timeout=NOT)
        assert locks.acquire_lock("other", "you", acquire_timeout=NOT)
        locks.release_lock("k", "me")
        assert others.acquire_lock("k", "you", acquire_timeout=10)
        others.release_lock("k", "you")
        locks.release_lock("other", "you")
        assert not locks.is_locked("k")

    def test_the_same_holder_has_it_already(self, locks: LockManager) -> None:
        assert locks.acquire_lock("k", "me")
        assert locks.acquire_lock("k", "me", acquire_timeout=NOT)
        locks.release_lock("k", "me")
        assert not locks.is_locked("k")

    def test_only_its_holder_frees_it(self, locks: LockManager) -> None:
        locks.acquire_lock("k", "me")
        for holder, key in (("you", "k"), ("me", "free")):
            with pytest.raises(ValueError, match=f"'{key}' is not held by '{holder}'"):
                locks.release_lock(key, holder)
        assert locks.is_locked("k")
        locks.release_lock("k", "me")

    def test_who_waits_gets_it(self, locks: LockManager, others: LockManager) -> None:
        locks.acquire_lock("k", "me")
        with ThreadPoolExecutor(2) as pool:
            waiting = pool.submit(others.acquire_lock, "k", "you", 60)
            free = pool.submit(locks.wait_for_lock, "never locked", 60)
            assert free.result()
            assert not locks.wait_for_lock("k", NOT)
            assert not waiting.done()
            locks.release_lock("k", "me")
            assert waiting.result()
        assert others.is_lock_holder("k", "you")
        others.release_lock("k", "you")

    def test_a_lock_that_is_held_for_too_long_is_free(self, locks: LockManager, others: LockManager) -> None:
        assert locks.acquire_lock("k", "me", hold_timeout=0.05)
        assert others.acquire_lock("k", "you", acquire_timeout=60)
        assert not locks.is_lock_holder("k", "me")
        with pytest.raises(ValueError, match="held for too long"):
            locks.release_lock("k", "me")
        others.release_lock("k", "you")

    def test_nobody_is_inside_with_another(self, locks: LockManager, others: LockManager) -> None:
        inside: list[int] = []
        most: list[int] = []

        def work(number: int) -> None:
            manager = locks if number % 2 else others
            for _ in range(5):
                assert manager.acquire_lock("k", f"h{number}", acquire_timeout=120)
                inside.append(number)
                most.append(len(inside))
                inside.remove(number)
                manager.release_lock("k", f"h{number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most == [1] * 20

    def test_waiting_does_not_hold_the_loop_up(self, locks: LockManager, others: LockManager) -> None:
        async def main() -> list[str]:
            order: list[str] = []

            async def wait() -> None:
                assert await others.aacquire_lock("k", "you", 60)
                order.append("you")

            assert await locks.aacquire_lock("k", "me")
            waiting = asyncio.create_task(wait())
            await asyncio.sleep(0.02)
            order.append("me")
            locks.release_lock("k", "me")
            await waiting
            assert not await locks.aacquire_lock("k", "they", NOT)
            assert not await locks.await_for_lock("k", NOT)
            others.release_lock("k", "you")
            assert await locks.await_for_lock("k", 60)
            return order

        assert asyncio.run(main()) == ["me", "you"]
