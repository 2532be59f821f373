"""What happens once is waited for by threads and coroutines."""

from __future__ import annotations

import asyncio
import threading

from penstock.waiting import Once


def test_it_happens_once_and_wakes_everybody() -> None:
    once, heard = Once(), []
    once.add_callback(lambda: heard.append("before"))
    waiters = [threading.Thread(target=lambda: heard.append(once.wait(60))) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    assert (once.happen(), once.happen()) == (True, False)
    for waiter in waiters:
        waiter.join(60)
    once.add_callback(lambda: heard.append("after"))
    assert sorted(map(str, heard)) == ["True", "True", "True", "after", "before"]
    assert once.wait() is True


def test_a_wait_may_be_bounded() -> None:
    once = Once()
    assert once.wait(0) is False
    assert once.wait(0.01) is False
    assert asyncio.run(once.wait_async(0.01)) is False
    assert once._callbacks == []  # those who gave up left nothing behind
    once.happen()
    assert once.wait(0) is True
    assert asyncio.run(once.wait_async(0)) is True


def test_coroutines_are_woken_from_another_thread() -> None:
    async def main() -> list[bool]:
        once = Once()
        threading.Timer(0.01, once.happen).start()
        return await asyncio.gather(once.wait_async(), once.wait_async(60))

    assert asyncio.run(main()) == [True, True]
