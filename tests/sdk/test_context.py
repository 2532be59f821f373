"""Which run code belongs to: in threads, in coroutines, and after whatever a block does."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from penstock import flow, tags, task
from penstock.context import FLOW, TAGS, TASK, FlowRunContext, TaskRunContext, get_run_context
from penstock.errors import MissingContext
from penstock.runtime import flow_run, task_run


def test_outside_of_runs_there_is_no_context() -> None:
    assert FlowRunContext.get() is None
    assert TaskRunContext.get() is None
    with pytest.raises(MissingContext, match="works inside of a flow or task run"):
        get_run_context()


def test_the_run_context_is_that_of_the_innermost_run() -> None:
    @task
    def inner(n: int) -> Any:
        context = get_run_context()
        assert isinstance(context, TaskRunContext)
        return context.task_run.name, dict(context.parameters), below()

    @flow
    def below() -> Any:
        context = get_run_context()
        assert isinstance(context, FlowRunContext)
        return context.flow_run.flow_name

    @flow
    def outer(m: int) -> Any:
        context = get_run_context()
        assert isinstance(context, FlowRunContext)
        return context.flow_run.flow_name, dict(context.parameters), inner(2)

    assert outer(1) == ("outer", {"m": 1}, ("inner-0", {"n": 2}, "below"))


def test_inside_there_is_the_run(recorder: Any) -> None:
    seen: dict[str, Any] = {}

    @task
    def inner() -> None:
        context, outer = TaskRunContext.get(), FlowRunContext.get()
        assert context is not None
        assert outer is not None
        seen["task"] = (context.task.name, context.run.name, outer.run.name)

    @flow
    def outer(n: int) -> None:
        context = FlowRunContext.get()
        assert context is not None
        assert TaskRunContext.get() is None
        seen["flow"] = (context.flow.name, context.run.id, context.run.parameters)
        inner()

    recorder.run(outer, {"n": 1})
    assert seen == {"flow": ("outer", "run-uid", {"n": 1}), "task": ("inner", "inner-0", "run-1")}


@pytest.mark.parametrize("submitted", [False, True], ids=["called", "submitted"])
@pytest.mark.parametrize("fails", [False, True], ids=["completes", "fails"])
def test_nothing_of_a_run_is_left_behind(submitted: bool, fails: bool) -> None:
    @task
    def inner() -> None:
        if fails:
            raise ValueError

    @flow
    def outer() -> Any:
        state = inner.submit().wait() if submitted else inner(return_state=True)  # type: ignore[call-arg,func-returns-value]
        assert TASK.get() is None
        if fails:
            raise KeyError
        return state

    outer(return_state=True)  # type: ignore[call-arg]
    assert (FLOW.get(), TASK.get(), TAGS.get()) == (None, None, frozenset())


def test_a_thread_of_the_users_own_belongs_to_no_run() -> None:
    """Context variables are not inherited by plain threads; whoever wants that copies the context."""
    seen: list[Any] = []

    @flow
    def outer() -> None:
        thread = threading.Thread(target=lambda: seen.append(FlowRunContext.get()))
        thread.start()
        thread.join()

    outer()
    assert seen == [None]


def test_coroutines_side_by_side_keep_apart() -> None:
    @task
    async def name(n: int) -> Any:
        before = task_run.name
        await asyncio.sleep(0)
        return before, task_run.name

    @flow
    async def outer() -> Any:
        return await asyncio.gather(*(name(n) for n in range(3)))

    rows = asyncio.run(outer())  # type: ignore[arg-type]
    assert [before for before, _ in rows] == [after for _, after in rows]
    assert len({before for before, _ in rows}) == 3


class TestTags:
    """`with tags(...)`: for every run that starts inside of the block."""

    def test_blocks_add_to_each_other(self) -> None:
        with tags("a", "b") as outer, tags("b", "c") as inner:
            assert outer == {"a", "b"}
            assert inner == TAGS.get() == {"a", "b", "c"}
        assert TAGS.get() == frozenset()

    def test_an_error_ends_the_block_too(self) -> None:
        with pytest.raises(ValueError, match="x"), tags("a"):
            raise ValueError("x")
        assert TAGS.get() == frozenset()

    def test_tasks_that_are_submitted_inside_keep_them(self) -> None:
        @task(tags=["own"])
        def inner() -> Any:
            return sorted(task_run.tags)

        @flow
        def outer() -> Any:
            with tags("block"):
                future = inner.submit()
            return future.result(), inner.submit().result(), sorted(flow_run.tags)

        with tags("around"):
            assert outer() == (["around", "block", "own"], ["around", "own"], ["around"])
