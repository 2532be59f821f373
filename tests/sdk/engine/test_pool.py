"""The pool of threads under task runners."""

from __future__ import annotations

import threading
import time

from penstock.engine.pool import Pool, blocked, worker_resources


def test_at_most_its_size_execute_at_a_time() -> None:
    pool, most, now = Pool(3, "test"), [], []
    lock, done = threading.Lock(), threading.Semaphore(0)

    def job() -> None:
        with lock:
            now.append(1)
            most.append(len(now))
        time.sleep(0.005)
        with lock:
            now.pop()
        done.release()

    for _ in range(30):
        pool.submit(job)
    for _ in range(30):
        assert done.acquire(timeout=5)
    pool.close()
    assert max(most) == 3


def test_a_worker_that_waits_gives_its_slot_away_and_takes_one_back() -> None:
    pool, order = Pool(1, "test"), []
    inner, outer = threading.Event(), threading.Event()

    def second() -> None:
        order.append("second")
        inner.set()

    def first() -> None:
        pool.submit(second)
        with blocked():
            assert inner.wait(5)
        order.append("first")
        outer.set()

    pool.submit(first)
    assert outer.wait(5)
    pool.close()
    assert order == ["second", "first"]


def test_short_jobs_share_few_threads() -> None:
    pool, names = Pool(100, "test"), set()
    done = threading.Semaphore(0)

    def job() -> None:
        names.add(threading.current_thread().name)
        done.release()

    for _ in range(500):
        pool.submit(job)
    for _ in range(500):
        assert done.acquire(timeout=5)
    pool.close()
    assert len(names) < 60


def test_what_a_worker_keeps_is_closed_by_it() -> None:
    closed, used = threading.Event(), threading.Event()

    class Kept:
        def close(self) -> None:
            closed.set()

    def job() -> None:
        resources = worker_resources()
        assert resources is not None
        resources["kept"] = Kept()
        used.set()

    pool = Pool(1, "test")
    pool.submit(job)
    assert used.wait(5)
    pool.close()
    assert closed.wait(5)
    assert worker_resources() is None
