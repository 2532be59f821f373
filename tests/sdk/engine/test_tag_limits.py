"""A limit named `tag:x` bounds the task runs that are tagged x."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from eventually import until
from penstock import flow, tags, task
from penstock.concurrency import ConcurrencySlotAcquisitionError, concurrency, declare_limit
from penstock.concurrency.claims import give_slots_from
from penstock.concurrency.local import LocalSlots
from penstock.context import FLOW
from penstock.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner


@pytest.fixture(autouse=True)
def slots() -> Iterator[LocalSlots]:
    giver = LocalSlots()
    before = give_slots_from(giver)
    yield giver
    give_slots_from(before)


def waiting(recorder: Any) -> set[str]:
    """Names of the task runs that have waited for a slot."""
    return {record.name for record in recorder.records if record.state_name == "AwaitingConcurrencySlot"}


def test_no_more_task_runs_than_slots_execute(recorder: Any, slots: LocalSlots) -> None:
    declare_limit("tag:gpu", 1)
    seen: list[float] = []

    @task(tags=["gpu", "other"])
    def use(_: int) -> None:
        seen.append(slots.taken("tag:gpu"))

    @task(tags=["gpu"])
    async def use_async(_: int) -> None:
        seen.append(slots.taken("tag:gpu"))
        await asyncio.sleep(0)

    @flow
    def f() -> None:
        for future in (*use.map(range(10)), *use_async.map(range(10))):
            future.result()
        use(0)

    recorder.run(f).result()
    assert seen == [1] * 21
    assert slots.taken("tag:gpu") == 0


def test_a_task_run_that_waits_says_what_for(recorder: Any) -> None:
    declare_limit("tag:gpu", 1)
    waiting = threading.Event()

    @task(tags=["gpu"])
    def use() -> None:
        pass

    changed = recorder.task_changed

    def note(record: Any) -> None:
        changed(record)
        if record.state_name == "AwaitingConcurrencySlot":
            waiting.set()

    recorder.task_changed = note

    @flow
    def f() -> None:
        with concurrency("tag:gpu"):
            future = use.submit()
            assert waiting.wait(60)
        future.result()

    recorder.run(f).result()
    assert recorder.states_of("use-0") == ["Pending", "AwaitingConcurrencySlot", "Running", "Completed"]
    (record,) = [r for r in recorder.records if r.state_name == "AwaitingConcurrencySlot"]
    assert record.message == "waits for a slot of tag:gpu"


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_who_waits_for_a_slot_takes_no_thread(recorder: Any, kind: str) -> None:
    """A map of ten thousand tasks is not ten thousand threads, which no pod may have."""
    declare_limit("tag:gpu", 1)
    before, threads, order = set(threading.enumerate()), set(), []

    def note(n: int) -> None:
        threads.update(t for t in set(threading.enumerate()) - before if t.name.startswith("penstock-ThreadPool"))
        order.append(n)
        time.sleep(0.002)

    async def note_async(n: int) -> None:
        note(n)

    use: Any = task(tags=["gpu"])(note if kind == "sync" else note_async)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=3))
    def f() -> None:
        with concurrency("tag:gpu"):
            futures = use.map(range(100))
            until(lambda: len(waiting(recorder)) == 100)
        futures.wait()

    recorder.run(f).result()
    assert sorted(order) == list(range(100))
    assert len(threads) <= 3


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_retry_that_waits_for_its_slot_goes_on_where_it_was(recorder: Any, kind: str) -> None:
    """What its first try has set stays set for the next, in whatever thread that is."""
    declare_limit("tag:gpu", 1)
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
    first, others = threading.Event(), threading.Event()
    seen: list[str] = []

    def body() -> None:
        seen.append(variable.get())
        variable.set("set by a try")
        if len(seen) == 1:
            first.set()
            assert others.wait(60)
            raise ValueError("once")

    async def body_async() -> None:
        body()

    use: Any = task(tags=["gpu"], retries=1)(body if kind == "sync" else body_async)

    @task(tags=["gpu"])
    def other() -> None:
        until(lambda: "use-0" in waiting(recorder))

    use = use.with_options(name="use")

    @flow
    def f() -> None:
        future = use.submit()
        assert first.wait(60)
        waits = other.submit()
        until(lambda: "other-0" in waiting(recorder))
        others.set()
        waits.result()
        future.result()

    recorder.run(f).result()
    assert seen == ["unset", "set by a try"]
    assert recorder.states_of("use-0")[-2:] == ["Retrying", "Completed"]


def test_who_waits_for_a_slot_when_its_flow_fails_does_not_wait_on(recorder: Any, slots: LocalSlots) -> None:
    declare_limit("tag:gpu", 1)
    ran: list[int] = []

    @task(tags=["gpu"])
    def use(n: int) -> None:
        ran.append(n)

    @flow
    def f() -> None:
        use.map(range(20))
        until(lambda: len(waiting(recorder)) == 20)
        raise ValueError("the flow")

    with concurrency("tag:gpu"):  # by somebody else, for hours
        state = recorder.run(f)
    assert state.is_failed()
    assert ran == []
    for n in range(20):
        assert recorder.states_of(f"use-{n}") == ["Pending", "AwaitingConcurrencySlot", "Cancelled"]
    assert slots.taken("tag:gpu") == 0


def test_who_was_granted_a_slot_as_its_flow_failed_does_not_begin(recorder: Any, slots: LocalSlots) -> None:
    """The only worker is busy meanwhile, so that grants and the flow's end are there before any of them goes on."""
    declare_limit("tag:gpu", 4)
    ran: list[int] = []
    waits, goes_on = threading.Event(), threading.Event()
    others = concurrency("tag:gpu", occupy=4)
    runners: list[Any] = []

    @task(tags=["gpu"])
    def use(n: int) -> None:
        ran.append(n)

    @task
    def busy() -> None:
        waits.set()
        assert goes_on.wait(60)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
    def f() -> None:
        use.map(range(8))
        until(lambda: len(waiting(recorder)) == 8)
        busy.submit()
        assert waits.wait(60)
        runners.append(FLOW.get().runner)
        others.__exit__(None, None, None)  # four are granted, and wait for the worker
        raise ValueError("the flow")

    def let_go() -> None:
        until(lambda: bool(runners) and runners[0].abandoned)
        goes_on.set()

    helper = threading.Thread(target=let_go)
    others.__enter__()
    helper.start()
    state = recorder.run(f)
    helper.join()
    assert state.is_failed()
    assert ran == []
    assert {recorder.states_of(f"use-{n}")[-1] for n in range(8)} == {"Cancelled"}
    assert slots.taken("tag:gpu") == 0


def test_a_retry_takes_its_slot_anew(slots: LocalSlots) -> None:
    declare_limit("tag:gpu", 1)
    between: list[float] = []

    def condition(*_: object) -> bool:
        between.append(slots.taken("tag:gpu"))
        return True

    @task(retries=1, retry_condition_fn=condition)
    def fails() -> None:
        raise ValueError(slots.taken("tag:gpu"))

    with tags("gpu"), pytest.raises(ValueError, match="1"):
        fails()
    assert between == [0]
    assert slots.taken("tag:gpu") == 0


def test_a_limit_of_zero_fails_the_task_run(recorder: Any) -> None:
    declare_limit("tag:gpu", 0)

    @task(tags=["gpu"])
    def never() -> None:
        raise AssertionError("it ran")

    @flow
    def f() -> Any:
        return never(return_state=True)

    state = recorder.run(f)
    assert state.is_failed()
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'tag:gpu' is 0"):
        state.result()
    assert recorder.states_of("never-0") == ["Failed"]


def test_an_interrupt_before_the_code_gives_the_slot_back(slots: LocalSlots) -> None:
    declare_limit("tag:gpu", 1)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    @task(tags=["gpu"], on_running=[interrupt])
    def use() -> None: ...

    with pytest.raises(KeyboardInterrupt):
        use()
    assert slots.taken("tag:gpu") == 0


def test_the_flow_takes_slots_for_tasks_in_other_processes(slots: LocalSlots) -> None:
    declare_limit("tag:gpu", 1)
    taken: list[float] = []

    @task(tags=["gpu"], on_completion=[lambda *_: taken.append(slots.taken("tag:gpu"))])
    def use(n: int) -> int:
        return n

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def f() -> list[int]:
        return use.map([1, 2]).result()

    assert f() == [1, 2]
    assert max(taken) <= 1
    assert slots.taken("tag:gpu") == 0


def test_tags_without_a_limit_are_no_limit() -> None:
    @task(tags=["free"])
    def use() -> int:
        return 1

    assert use() == 1
