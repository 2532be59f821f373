"""The pool of threads under task runners."""

from __future__ import annotations

import threading
import time

import pytest

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


def test_a_job_that_goes_on_comes_before_those_that_have_not_begun() -> None:
    pool, order = Pool(1, "test"), []
    ready, done = threading.Event(), threading.Semaphore(0)

    def job(name: str) -> None:
        order.append(name)
        done.release()

    pool.submit(ready.wait)
    for name in ("new", "newer"):
        pool.submit(lambda name=name: job(name))
    for name in ("begun", "begun later"):
        pool.submit(lambda name=name: job(name), begun=True)
    ready.set()
    for _ in range(4):
        assert done.acquire(timeout=5)
    pool.close()
    assert order == ["begun", "begun later", "new", "newer"]


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


def test_where_no_more_threads_may_be_had_those_there_are_do_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, done = Pool(3, "test"), threading.Semaphore(0)
    first, goes_on = threading.Event(), threading.Event()

    def busy() -> None:
        first.set()
        assert goes_on.wait(5)
        done.release()

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool.submit(busy)
    assert first.wait(5)
    with monkeypatch.context() as there:
        there.setattr(threading.Thread, "start", refuse)
        for _ in range(3):
            pool.submit(done.release)
    goes_on.set()
    for _ in range(4):
        assert done.acquire(timeout=5)
    both = threading.Barrier(2, timeout=5)  # and more are begun again as soon as they may be
    for _ in range(2):
        pool.submit(lambda: (both.wait(), done.release()))
    for _ in range(2):
        assert done.acquire(timeout=5)
    pool.close()


def test_where_no_thread_at_all_may_be_had_submitting_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pool = Pool(3, "test")
    with monkeypatch.context() as there:
        there.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            pool.submit(lambda: None)
