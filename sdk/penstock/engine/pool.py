"""A pool of threads whose bound counts what executes, not what waits. Used by the thread and process task runners.

A worker that waits for a future gives up its slot and takes one again before it goes on. So a task that submits to
its own pool and waits cannot deadlock it, and never do more than `size` tasks execute.
Threads are started one after the other while work is waiting: a burst of short tasks needs few, blocking ones get all.
"""

from __future__ import annotations

import threading
from _thread import LockType, allocate_lock
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Closable(Protocol):
    """What a worker thread may keep between jobs."""

    def close(self) -> None:
        """Called by the thread that made it, when it ends."""


class _Worker(threading.local):
    """The pool that the current thread works for, and what its jobs keep for the next one, closed when it ends."""

    pool: Pool | None = None
    resources: dict[str, Closable] | None = None
    waits = 0  # coroutines of the thread's loop that wait for others


_current = _Worker()


class Pool:
    """Threads that run jobs; a job never raises."""

    def __init__(self, size: int, name: str) -> None:
        self.size, self._name = size, name
        self._lock = allocate_lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._begun: deque[Callable[[], None]] = deque()  # jobs that go on: before all that have not begun
        self._idle: list[LockType] = []  # one per parked worker, held until it is woken
        self._resuming: deque[LockType] = deque()  # workers that waited and want to go on
        self._executing = 0
        self._coming = False  # a worker was woken or started and has not arrived yet
        self._started = 0
        self._closed = False

    def submit(self, job: Callable[[], None], *, begun: bool = False) -> None:
        """Run `job` in some thread, in order of submission; one that has begun before those that have not."""
        with self._lock:
            (self._begun if begun else self._jobs).append(job)
            start = self._assign()
        if start:
            self._start()

    def close(self) -> None:
        """Let the threads end as soon as they have nothing to do."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for wake in idle:
            wake.release()

    def _assign(self) -> bool:
        """Give free slots away; True where a thread has to be started for one. The lock is held."""
        while self._executing < self.size:
            if self._resuming:
                self._executing += 1
                self._resuming.popleft().release()
            elif not (self._begun or self._jobs) or self._coming:
                return False  # whoever is coming takes a job and assigns further
            else:
                self._coming = True
                if not self._idle:
                    self._started += 1
                    return True
                self._idle.pop().release()
        return False

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{self._started}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads may be had; those that there are come for the next job after theirs
            with self._lock:
                self._coming, self._started = False, self._started - 1
                if self._started:
                    return
            raise

    def _work(self) -> None:
        _current.pool = self
        _current.resources = {}
        try:
            self._serve()
        finally:
            for resource in _current.resources.values():
                resource.close()

    def _serve(self) -> None:
        arriving = True
        wake = allocate_lock()
        wake.acquire()
        while True:
            start = False
            with self._lock:
                if arriving:
                    self._coming = arriving = False
                job = None
                waiting = self._begun or self._jobs
                if self._executing < self.size and waiting and not self._resuming:
                    job = waiting.popleft()
                    self._executing += 1
                elif not self._closed:
                    self._idle.append(wake)
                ending = job is None and self._closed
                start = self._assign()
            if start:
                self._start()
            if ending:
                break
            if job is None:
                wake.acquire()
                arriving = True
                continue
            try:
                job()
            finally:
                with self._lock:
                    self._executing -= 1
                del job  # a parked worker must not keep a finished task's arguments alive

    def employs_this_thread(self) -> bool:
        """Whether the current thread is one of the pool's workers."""
        return _current.pool is self

    def release(self) -> None:
        """The current worker is about to wait: its slot is free."""
        with self._lock:
            self._executing -= 1
            start = self._assign()
        if start:
            self._start()

    def resume(self) -> None:
        """The current worker wants to go on: returns when it has a slot."""
        with self._lock:
            if self._executing < self.size:
                self._executing += 1
                return
            turn = allocate_lock()
            turn.acquire()
            self._resuming.append(turn)
        turn.acquire()


def worker_resources() -> dict[str, Any] | None:
    """Where the current worker thread keeps things for its next job; None in any other thread."""
    return _current.resources


@contextmanager
def blocked() -> Iterator[None]:
    """Around every wait: if this is a pool's worker, its slot is somebody else's meanwhile."""
    pool = _current.pool
    if pool is None:
        yield
        return
    pool.release()
    try:
        yield
    finally:
        pool.resume()


@contextmanager
def awaiting() -> Iterator[None]:
    """The same around a wait of a coroutine: from its loop's first wait to its last, the worker's slot is free."""
    pool = _current.pool
    if pool is None:
        yield
        return
    _current.waits += 1
    if _current.waits == 1:
        pool.release()
    try:
        yield
    finally:
        _current.waits -= 1
        if _current.waits == 0:
            pool.resume()
