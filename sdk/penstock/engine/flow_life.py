"""The life of a flow run, from its parameters to its final state, as one generator of effects.

Driven by `flow_runs`; it neither blocks nor awaits, and does not know whether it runs in a pod or a terminal.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..api.states import StateName, StateType
from ..context import FLOW, TAGS, TASK, FlowRunContext
from ..errors import CancellationRequested, FlowRunTimedOut, UpstreamNotReady
from ..futures import PenstockFuture
from ..states import State, exception_to_state
from .calls import is_generator, iterating, log_failure, run_hooks, without_engine_frames
from .effects import Blocking, Call, Drain, Effect, Wait
from .effects import Sleep as SleepFor
from .inputs import PLAIN, blocks, data_of, find, resolve_all, to_states
from .names import render
from .outcome import state_of_value
from .reporting import Cancellable, Opening
from .retries import interrupted, seconds_before

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from ..flows import Flow

GRACE = 2.0  # seconds that tasks under way get to notice that their flow was timed out, interrupted or cancelled


def flow_life(
    flow: Flow[Any, Any],
    context: FlowRunContext,
    parameters: Mapping[str, Any],
    *,
    complete: bool = True,
    wait_for: Any = None,
    collect: bool = False,
) -> Generator[Effect, Any, State[Any]]:
    """Live one flow run. `complete` is false where `parameters` may lack defaults, as those of a manifest do."""
    run, reporter = context.run, context.reporter
    run.started = time.time()
    try:
        if not complete:
            parameters = flow.signature.with_defaults(parameters)
        if wait_for is not None or not PLAIN.issuperset(map(type, parameters.values())):
            parameters = yield from _take_inputs(parameters, wait_for)
        if flow.validate_parameters and flow.annotated:
            from ..parameters import validate

            parameters = validate(flow.signature, parameters)
        run.parameters = parameters
        if flow.flow_run_name is not None:
            outer = FLOW.get()
            FLOW.set(context)  # a function that makes the name may ask penstock.runtime
            try:
                run.name = render(flow.flow_run_name, parameters, "flow_run_name")
            finally:
                FLOW.set(outer)
    except UpstreamNotReady as error:
        run.state = State(StateType.PENDING, StateName.NOT_READY, str(error), reason=error.reason, run_id=run.id)
        return run.state
    except Exception as error:
        return (yield from _end(flow, context, exception_to_state(error, run_id=run.id)))
    if isinstance(reporter, Opening):
        known = yield Blocking(reporter.open, (run,))
        if known is not None:
            run.ended, run.state = time.time(), known
            return run.state
    if context.key is not None:
        from .keeping import restored

        try:
            found = yield from restored(context, context.key)
        except Exception as error:
            found = exception_to_state(error, run_id=run.id)
        if found is not None:
            return (yield from _end(flow, context, found))
    args, kwargs = flow.signature.arguments(parameters)
    if context.log_prints:
        from ..logging.prints import install

        install()
    name: str | None = None
    retry = 0
    while True:
        run.run_count += 1
        context.calls = {}
        state: State[Any] = State(StateType.RUNNING, name, run_id=run.id)
        run.enter(state)
        reporter.flow_changed(state)
        if flow.on_running_hooks:
            yield from run_hooks(flow.on_running_hooks, flow, run, state)
        state = yield from _attempt(flow, context, args, kwargs, collect)
        if state.type is StateType.FAILED and retry < flow.retries and not interrupted(state.data, context):
            delay = seconds_before(retry, flow.delays, None)
            retry += 1
            name = StateName.RETRYING
            log_failure(run, state, delay)
            if delay > 0:
                due = time.time() + delay
                waiting: State[Any] = State(
                    StateType.SCHEDULED,
                    StateName.AWAITING_RETRY,
                    state.message,
                    reason=state.reason,
                    scheduled=due,
                    run_id=run.id,
                )
                run.enter(waiting)
                reporter.flow_changed(run.state)
                try:
                    yield SleepFor(delay)
                except (Exception, GeneratorExit):
                    raise
                except BaseException as error:  # the process is to end
                    return (yield from _end(flow, context, exception_to_state(error, run_id=run.id)))
            continue
        if context.results.persist and state.type is StateType.COMPLETED:
            from .keeping import keep

            state = yield from keep(flow, context, context.key or run.id, state)
        return (yield from _end(flow, context, state))


def _attempt(
    flow: Flow[Any, Any], context: FlowRunContext, args: Any, kwargs: Any, collect: bool
) -> Generator[Effect, Any, State[Any]]:
    """Run the flow's function once, and every task it submitted to its end."""
    run = context.run
    outside = (FLOW.get(), TASK.get(), TAGS.get())
    timeout = flow.timeout_seconds or None
    error_at_deadline = _timed_out(flow, context) if timeout else None
    FLOW.set(context)
    TASK.set(None)
    TAGS.set(run.tags)
    try:
        if flow.isgenerator:
            value = flow.fn(*args, **kwargs)
        else:
            value = yield Call(flow.fn, args, kwargs, timeout, error_at_deadline)
        if type(value) not in PLAIN:
            if is_generator(value):
                value = yield from iterating(
                    value,
                    collect=collect or not flow.isgenerator,
                    timeout=timeout,
                    error=error_at_deadline,
                    variable=FLOW,
                    outside=outside[0],
                )
            yield Wait([held for held, _ in find(value) if isinstance(held, PenstockFuture)])
            value = to_states(value)
        state = state_of_value(value, run.id)
    except BaseException as error:
        without_engine_frames(error)
        if context.interruption is not None and not isinstance(error, Exception):
            error = context.interruption
        state = exception_to_state(error, run_id=run.id)
    finally:
        FLOW.set(outside[0])
        TASK.set(outside[1])
        TAGS.set(outside[2])
    if context.runner is not None:
        runner, context.runner = context.runner, None
        broken = isinstance(state.data, BaseException)
        hasty = state.type in (StateType.CRASHED, StateType.CANCELLED) or state.name == StateName.TIMED_OUT
        yield Drain(runner, abandon=broken, grace=GRACE if broken and hasty else None)
        runner.__exit__(None, None, None)
    return state


def _take_inputs(parameters: Mapping[str, Any], wait_for: Any) -> Generator[Effect, Any, dict[str, Any]]:
    """The parameters with results in place of futures and states; raises `UpstreamNotReady`."""
    waited = find(wait_for) if wait_for is not None else []
    inputs = find(dict(parameters))
    every = [held for held, _ in (*inputs, *waited)]
    pending = [held for held in every if isinstance(held, PenstockFuture) and not held.done()]
    if pending:
        yield Wait(pending)
    for held, tolerant in waited:
        data_of(held, tolerant)
    if any(blocks(held) for held, _ in inputs):
        return (yield Blocking(resolve_all, (parameters,)))  # type: ignore[no-any-return]
    return resolve_all(parameters)


def _end(flow: Flow[Any, Any], context: FlowRunContext, state: State[Any]) -> Generator[Effect, Any, State[Any]]:
    run = context.run
    run.enter(state)
    if state.type is StateType.PAUSED and not isinstance(state.data, list | tuple | set | frozenset):
        return state  # suspended: it is no end
    run.ended = time.time()
    hooks = {
        StateType.COMPLETED: flow.on_completion_hooks,
        StateType.FAILED: flow.on_failure_hooks,
        StateType.CRASHED: flow.on_crashed_hooks,
    }.get(state.type, ())
    if isinstance(state.data, CancellationRequested):
        hooks = flow.on_cancellation_hooks
    if state.type is not StateType.COMPLETED:
        log_failure(run, state, None)
    told = state
    if state.type is StateType.CRASHED and (hooks or flow.on_cancellation_hooks):
        reporter = context.reporter
        if isinstance(reporter, Cancellable) and (yield Blocking(reporter.being_cancelled)):
            hooks = flow.on_cancellation_hooks
            told = run.state = State(StateType.CANCELLING, None, state.message, state.data, run_id=run.id)
    if hooks:
        yield from run_hooks(hooks, flow, run, told)
    return state


def _timed_out(flow: Flow[Any, Any], context: FlowRunContext) -> FlowRunTimedOut:
    return FlowRunTimedOut(f"flow run {context.run.name} did not end within {flow.timeout_seconds} s")
