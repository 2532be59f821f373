"""A limit named `tag:x` bounds the task runs that are tagged x."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from penstock import flow, tags, task
from penstock.concurrency import ConcurrencySlotAcquisitionError, concurrency, declare_limit
from penstock.concurrency.claims import give_slots_from
from penstock.concurrency.local import LocalSlots
from penstock.task_runners import ProcessPoolTaskRunner


@pytest.fixture(autouse=True)
def slots() -> Iterator[LocalSlots]:
    giver = LocalSlots()
    before = give_slots_from(giver)
    yield giver
    give_slots_from(before)


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
