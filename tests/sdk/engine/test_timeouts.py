"""Deadlines of synchronous code."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from penstock.engine import timeouts
from penstock.engine.timeouts import within
from penstock.errors import FlowRunTimedOut, RunTimedOut, TaskRunTimedOut


def spin(seconds: float) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)
    return "done"


def here(call: Callable[[], Any]) -> Any:
    return call()


def in_thread(call: Callable[[], Any]) -> Any:
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


@pytest.mark.parametrize("place", [here, in_thread])
class TestEverywhere:
    """The main thread and other threads mean the same."""

    def test_what_ends_in_time_is_left_alone(self, place: Any) -> None:
        assert place(lambda: within(5, TaskRunTimedOut("late"), lambda: "value")) == "value"

    def test_what_does_not_is_interrupted(self, place: Any) -> None:
        began = time.monotonic()
        with pytest.raises(TaskRunTimedOut, match="late"):
            place(lambda: within(0.05, TaskRunTimedOut("late"), lambda: spin(120)))
        assert time.monotonic() - began < 60

    def test_code_that_swallows_the_interruption_is_late_all_the_same(self, place: Any) -> None:
        def stubborn() -> str:
            try:
                spin(5)
            except TimeoutError:
                return "what timeout?"
            return "never"

        with pytest.raises(TaskRunTimedOut):
            place(lambda: within(0.05, TaskRunTimedOut("late"), stubborn))

    def test_the_inner_of_two_deadlines_ends_the_inner_call_only(self, place: Any) -> None:
        def outer() -> str:
            with pytest.raises(TaskRunTimedOut, match="inner"):
                within(0.05, TaskRunTimedOut("inner"), lambda: spin(5))
            return spin(0.01)

        assert place(lambda: within(5, FlowRunTimedOut("outer"), outer)) == "done"

    def test_the_outer_of_two_deadlines_ends_both(self, place: Any) -> None:
        inner: list[RunTimedOut] = []

        def outer() -> None:
            try:
                within(5, TaskRunTimedOut("inner"), lambda: spin(5))
            except TaskRunTimedOut as error:
                inner.append(error)

        with pytest.raises(FlowRunTimedOut, match="outer"):
            place(lambda: within(0.05, FlowRunTimedOut("outer"), outer))
        assert inner == []

    def test_nothing_fires_later(self, place: Any) -> None:
        def both() -> str:
            for _ in range(20):
                with suppress(TaskRunTimedOut):  # of a machine that is slow
                    within(0.02, TaskRunTimedOut("late"), lambda: None)
            return spin(0.1)

        assert place(both) == "done"

    def test_nothing_is_left_of_a_deadline_that_passes_while_its_call_begins_or_ends(self, place: Any) -> None:
        def many() -> int:
            late = 0
            for number in range(3000):
                try:
                    within(
                        number % 60 * 1e-6, FlowRunTimedOut("outer"), lambda: within(9, TaskRunTimedOut("inner"), int)
                    )
                except FlowRunTimedOut:
                    late += 1
            assert timeouts._stack.deadlines == []
            return late

        before = signal.getsignal(signal.SIGALRM)
        gc.disable()  # Hypothesis has callbacks of it; where one of them met the exception, Python would only warn
        try:
            assert place(many)
        finally:
            gc.enable()
        assert signal.getsignal(signal.SIGALRM) is before


def test_a_blocking_call_of_the_main_thread_is_interrupted_and_the_handler_restored() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TaskRunTimedOut):
        within(0.05, TaskRunTimedOut("late"), lambda: time.sleep(5))
    assert signal.getsignal(signal.SIGALRM) is before


def functions_of(thread: int) -> list[str]:
    return [frame.f_code.co_name for frame, _ in traceback.walk_stack(sys._current_frames()[thread])]


@pytest.mark.parametrize("step", ["arm", "disarm"])
def test_a_deadline_that_passes_while_its_thread_waits_for_the_clock_keeps_it_from_nobody(step: str) -> None:
    """The exception is planted before the thread has the clock's lock, and met once it has."""
    watchdog, waits = timeouts._watchdog, threading.Event()
    outcome: list[Any] = []

    def outer() -> str:
        waits.set()
        while not held.is_set():
            pass
        return within(9, TaskRunTimedOut("inner"), lambda: "done") if step == "arm" else "done"

    def run() -> None:
        try:
            outcome.append(within(60, FlowRunTimedOut("outer"), outer))
        except FlowRunTimedOut as error:
            outcome.append(error)

    held, thread = threading.Event(), threading.Thread(target=run)
    thread.start()
    assert waits.wait(20)
    with watchdog._lock:
        held.set()
        assert thread.ident is not None
        while step not in functions_of(thread.ident):
            time.sleep(0.001)
        time.sleep(0.05)  # until it waits, which nothing shows; where it is slower it has only less to survive
        mine = [
            each for each in watchdog._heap if each.thread == thread.ident and each.kind.__name__ == "FlowRunTimedOut"
        ]
        deadline = max(mine, key=lambda each: each.at)  # others are of threads of that number before
        deadline.fired = True
        timeouts._plant(deadline.thread, deadline.kind)
    thread.join(20)
    assert str(outcome[0]) == "outer"
    assert watchdog._lock.acquire(timeout=20)
    watchdog._lock.release()
