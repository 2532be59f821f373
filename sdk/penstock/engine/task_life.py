"""The life of a task run, from its inputs to its final state, as one generator of effects.

Driven by `task_runs`; it neither blocks nor awaits, and does not know in which thread, loop or process its code runs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..api.states import StateName, StateType
from ..context import TASK, TRANSACTION, TaskRunContext
from ..errors import TaskRunTimedOut, UpstreamNotReady
from ..futures import PenstockFuture
from ..settings import get_current_settings
from ..states import State, exception_to_state
from .calls import is_generator, iterating, log_failure, run_hooks, without_engine_frames
from .effects import Blocking, Call, Callback, Effect, Sleep, Wait
from .inputs import PLAIN, blocks, data_of, find, identity, resolve_all, to_states
from .names import render
from .outcome import state_of_value
from .retries import interrupted, seconds_before
from .runs import ABANDONED

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..concurrency.claims import Claim
    from ..context import FlowRunContext
    from ..tasks import Task
    from .keeping import Keeping
    from .reporting import Reporter
    from .runs import TaskRun


def task_life(
    task: Task[Any, Any],
    run: TaskRun,
    reporter: Reporter,
    *,
    log_prints: bool,
    flow: FlowRunContext | None = None,
    wait_for: Any = None,
    collect: bool = False,
    remote: bool = False,
) -> Generator[Effect, Any, State[Any]]:
    """Live one task run; `collect` makes a list of what a generator task yields, `remote` has that done by the call."""
    outside = TASK.get()
    if wait_for is not None or not PLAIN.issuperset(map(type, run.parameters.values())):
        try:
            yield from _take_inputs(run, reporter, wait_for)
        except UpstreamNotReady as error:
            state: State[Any] = State(
                StateType.PENDING, StateName.NOT_READY, str(error), reason=error.reason, run_id=run.id
            )
            _change(run, reporter, state)
            return state
        except Exception as error:  # a stored input that cannot be read, a result that fits no place
            return (yield from _end(task, run, reporter, exception_to_state(error, run_id=run.id)))
    if task.task_run_name is not None:
        TASK.set(TaskRunContext(task, run, log_prints))  # a function that makes the name may ask penstock.runtime
        try:
            run.name = render(task.task_run_name, run.parameters, "task_run_name")
        except Exception as error:
            return (yield from _end(task, run, reporter, exception_to_state(error, run_id=run.id)))
        finally:
            TASK.set(outside)
    args, kwargs = task.signature.arguments(run.parameters)
    context = TaskRunContext(task, run, log_prints)
    if log_prints:
        from ..logging.prints import install

        install()
    keeping: Keeping | None = None
    if (
        task.keeps
        or TRANSACTION.get() is not None
        or (
            task.persist_result is None
            and (flow.results.persist if flow is not None else get_current_settings().results_persist_by_default)
        )
    ):
        from .keeping import Keeping

        keeping = Keeping(context, outside, flow, collect=collect)
    name: str | None = None
    retry = 0
    slots: Claim | None = None
    while True:
        if keeping is not None:
            kept = yield from keeping.begin()
            if kept is not None:
                return (yield from _end(task, run, reporter, kept))
        if run.tags:
            from .tag_limits import take_slots

            taken = yield from take_slots(run, reporter)
            if isinstance(taken, State):
                state = taken
                if keeping is not None:
                    state = yield from keeping.end(reporter, state)
                return (yield from _end(task, run, reporter, state))
            slots = taken
        now = time.time()
        run.run_count += 1
        if run.started is None:
            run.started = now
        state = State(StateType.RUNNING, name, at=now, run_id=run.id)
        _change(run, reporter, state)
        if task.on_running_hooks:
            from .tag_limits import released_on_error

            yield from released_on_error(slots, run_hooks(task.on_running_hooks, task, run, state))
        TASK.set(context)
        error_at_deadline = _timed_out(task, run) if task.timeout_seconds else None
        timeout = task.timeout_seconds or None
        try:
            if task.isgenerator and not remote:
                value = task.fn(*args, **kwargs)
            else:
                value = yield Call(task.fn, args, kwargs, timeout, error_at_deadline)
            if type(value) not in PLAIN:
                if is_generator(value):
                    value = yield from iterating(
                        value,
                        collect=collect or not task.isgenerator,
                        timeout=timeout,
                        error=error_at_deadline,
                        variable=TASK,
                        outside=outside,
                    )
                value = yield from _futures_to_states(value)
            state = state_of_value(value, run.id)
        except BaseException as error:
            without_engine_frames(error)
            state = exception_to_state(error, run_id=run.id)
        finally:
            TASK.set(outside)
            if slots is not None:
                slots.release()
        if state.type is StateType.FAILED and retry < task.retries and (yield from _may_retry(task, run, state, flow)):
            delay = seconds_before(retry, task.delays, task.retry_jitter_factor)
            retry += 1
            name = StateName.RETRYING
            log_failure(run, state, delay)
            if context.transaction is not None:
                from .keeping import again

                yield from again(context)
            if delay > 0:
                due = time.time() + delay
                waiting: State[Any] = State(
                    StateType.SCHEDULED, StateName.AWAITING_RETRY, state.message, scheduled=due, run_id=run.id
                )
                _change(run, reporter, waiting)
                yield Sleep(delay)
            continue
        if keeping is not None:
            state = yield from keeping.end(reporter, state)
        elif context.transaction is not None:
            from .keeping import ended

            state = yield from ended(context, state)
        return (yield from _end(task, run, reporter, state))


def _take_inputs(run: TaskRun, reporter: Reporter, wait_for: Any) -> Generator[Effect, Any, None]:
    """Wait for what the run is given, and put the results in place; raises `UpstreamNotReady`."""
    by_name = {name: found for name, value in run.parameters.items() if (found := find(value))}
    inputs = [held for found in by_name.values() for held in found]
    waited = find(wait_for) if wait_for is not None else []
    if inputs or waited:
        every = [held for held, _ in (*inputs, *waited)]
        run.upstream = tuple(dict.fromkeys(i for held in every if (i := identity(held)) is not None))
        run.inputs = {name: tuple(identity(held) for held, _ in found) for name, found in by_name.items()}
        if waited:
            run.inputs["wait_for"] = tuple(identity(held) for held, _ in waited)
        pending = [held for held in every if isinstance(held, PenstockFuture) and not held.done()]
        if pending:
            reporter.task_changed(run.record())
            yield Wait(pending)
        for held, tolerant in waited:
            data_of(held, tolerant)
    if any(blocks(held) for held, _ in inputs):
        run.parameters = yield Blocking(resolve_all, (run.parameters,))
    else:
        run.parameters = resolve_all(run.parameters)


def _futures_to_states(value: Any) -> Generator[Effect, Any, Any]:
    """A returned future, or a collection of nothing but futures, as states. Other results are not looked into."""
    futures = (value,) if isinstance(value, PenstockFuture) else value
    if not isinstance(futures, list | tuple | set | frozenset) or not futures:
        return value
    if not all(isinstance(item, PenstockFuture | State) for item in futures):
        return value
    yield Wait([item for item in futures if isinstance(item, PenstockFuture)])
    return to_states(value)


def _may_retry(
    task: Task[Any, Any], run: TaskRun, state: State[Any], flow: FlowRunContext | None
) -> Generator[Effect, Any, bool]:
    if interrupted(state.data, flow):
        return False
    condition = task.retry_condition_fn
    if condition is None:
        return True
    try:
        return bool((yield Callback(condition, (task, run, state))))
    except Exception:
        from ..logging import run_logger

        run_logger(run).exception("retry_condition_fn raised; the task is not retried")
        return False


def _end(
    task: Task[Any, Any], run: TaskRun, reporter: Reporter, state: State[Any]
) -> Generator[Effect, Any, State[Any]]:
    run.ended = time.time()
    _change(run, reporter, state)
    if state.type is StateType.COMPLETED:
        if task.on_completion_hooks:
            yield from run_hooks(task.on_completion_hooks, task, run, state)
    elif state.reason != ABANDONED:  # of which the flow's own end says enough
        log_failure(run, state, None)
        if state.type is StateType.FAILED and task.on_failure_hooks:
            yield from run_hooks(task.on_failure_hooks, task, run, state)
    return state


def _change(run: TaskRun, reporter: Reporter, state: State[Any]) -> None:
    before = run.state
    if before.type is StateType.RUNNING:
        run.ran += max(state.time - before.time, 0.0)
    run.state = state
    reporter.task_changed(run.record())


def _timed_out(task: Task[Any, Any], run: TaskRun) -> TaskRunTimedOut:
    return TaskRunTimedOut(f"task run {run.name} did not end within {task.timeout_seconds} s")
