"""Functions on flow runs: pause and suspend the current one, resume one that waits, wait for one in the cluster."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from .api import reasons
from .api.states import StateName, StateType
from .cluster_runs import FlowRun, connect, wait_for_end
from .context import FLOW, TASK, FlowRunContext
from .dispatch import both_ways
from .errors import (
    FlowPauseTimeout,
    FlowRunWaitTimeout,
    InvalidRunInput,
    MissingContext,
    NotPausedError,
    Pause,
    UnsupportedHere,
)
from .pauses import LOCAL, Answer, PauseReporter, PauseRequest
from .states import State

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "apause_flow_run",
    "aresume_flow_run",
    "aretry_flow_run",
    "asuspend_flow_run",
    "await_for_flow_run",
    "pause_flow_run",
    "resume_flow_run",
    "retry_flow_run",
    "suspend_flow_run",
    "wait_for_flow_run",
]

_NOT_IN_SUBFLOWS = (
    "{} works in the flow that a pod is for, and not in its subflows: one pause of a run is answered at a time"
)


def _pause_flow_run(
    wait_for_input: type[Any] | None = None,
    timeout: float | None = 3600,
    poll_interval: float = 10,  # noqa: ARG001 - nothing polls: an answer arrives at once
    key: str | None = None,
) -> Any:
    """Wait, in the process, until somebody resumes the current flow run; gives the input that was waited for.

    `wait_for_input` is a type (a `RunInput`, a pydantic model, `int`, …) that the answer must fit. Nobody's answer
    within `timeout` seconds raises `FlowPauseTimeout`, which ends the run Failed. A `key` pauses a run only once.
    """
    context = _context("pause_flow_run")
    known, value, request, model = _request(context, wait_for_input, timeout, key)
    if known:
        return _plain(value, model)
    reporter = context.reporter
    if isinstance(reporter, PauseReporter):
        answer = reporter.pause_requested(request)
    elif context.run.info.namespace is not None:
        raise UnsupportedHere(_NOT_IN_SUBFLOWS.format("pause_flow_run"))
    else:
        answer = LOCAL.pause(request)
    _enter(context, State(StateType.PAUSED, None, _waits(request), reason=reasons.PAUSED, run_id=context.run.id))
    try:
        _wait(request, answer, timeout)
    except Exception as error:  # the flow may go on all the same
        reason = getattr(error, "reason", type(error).__name__)
        _enter(context, State(StateType.RUNNING, None, str(error), reason=reason, run_id=context.run.id))
        raise
    finally:
        LOCAL.close(request)
    _enter(context, State(StateType.RUNNING, None, None, reason=reasons.RESUMED, run_id=context.run.id))
    return _plain(answer.value, model)


def _suspend_flow_run(
    wait_for_input: type[Any] | None = None,
    flow_run_id: str | None = None,
    timeout: float | None = 3600,
    key: str | None = None,
) -> Any:
    """End the current flow run's process until somebody resumes the run, which then starts again from its top.

    What was kept is not done again: tasks with persisted results, and pauses that were answered. With `flow_run_id`,
    the name of another run in the cluster, that run is asked to stop (`spec.suspend`). Raises `NotSuspendable` where
    the run's next pod could not reach its results, and `UnsupportedHere` on a machine, where nothing starts it again.
    """
    if flow_run_id is not None and not _current_is(flow_run_id):
        from .cluster_pauses import suspend

        with connect() as client:
            suspend(client, client.get("flowruns", flow_run_id))
        return None
    context = _context("suspend_flow_run")
    if not isinstance(context.reporter, PauseReporter):
        if context.run.info.namespace is not None:
            raise UnsupportedHere(_NOT_IN_SUBFLOWS.format("suspend_flow_run"))
        raise UnsupportedHere(
            "suspend_flow_run does not work on a machine: nothing starts the run again; use pause_flow_run, "
            "which keeps the process"
        )
    known, value, request, model = _request(context, wait_for_input, timeout, key)
    if known:
        return _plain(value, model)
    context.reporter.suspend_requested(request)
    raise Pause(state=State(StateType.PAUSED, StateName.SUSPENDED, _waits(request), reason=reasons.SUSPENDED))


def _resume_flow_run(
    flow_run_id: str, run_input: Mapping[str, Any] | None = None, *, namespace: str | None = None
) -> None:
    """Resume a run that waits, with the input that it waits for: one of this process by id or name, else one of the
    cluster by name.

    Raises `NotPausedError` where no such run waits, and `InvalidRunInput` where the input does not fit.
    """
    try:
        LOCAL.resume(str(flow_run_id), run_input)
        return
    except NotPausedError as error:
        not_here = error
    from .client import NotFound
    from .cluster_pauses import resume
    from .kubeconfig import ClusterUnavailable

    given: Any = run_input
    if hasattr(given, "model_dump"):
        given = given.model_dump(mode="json")
    elif given is not None and not isinstance(given, dict):
        given = {"value": given}  # for a pause that waits for a plain type
    try:
        with connect(namespace) as client:
            resume(client, client.get("flowruns", str(flow_run_id)), given)
    except (ClusterUnavailable, NotFound) as error:
        raise NotPausedError(f"{not_here}, nor in the cluster: {error}") from error


def _wait_for_flow_run(
    flow_run_id: str | FlowRun, timeout: float | None = 10800, poll_interval: float = 5, *, namespace: str | None = None
) -> FlowRun:
    """The flow run in the cluster, by name, when it has ended. Raises `FlowRunWaitTimeout` after `timeout` seconds."""
    if isinstance(flow_run_id, FlowRun):
        namespace, flow_run_id = flow_run_id.namespace, flow_run_id.name
    with connect(namespace) as client:
        body = client.get("flowruns", flow_run_id)
    run = FlowRun.of(wait_for_end(body, timeout, poll_interval, connect))
    if run.state is None or not run.state.is_final():
        now = "not looked at" if run.state is None else run.state.name
        raise FlowRunWaitTimeout(f"flow run {run.name} is {now} after {timeout} s; it goes on")
    return run


def _retry_flow_run(
    flow_run_id: FlowRun | str,
    timeout: float | None = None,
    poll_interval: float = 5.0,
    *,
    name: str | None = None,
    namespace: str | None = None,
) -> FlowRun:
    """Make a run that retries one that has ended, by its name, and give it as it is when it has ended.

    Same code and parameters; tasks that kept their results where pods share them are not run again. `name` is
    the new run's. After `timeout` seconds it is given as it is then and goes on; 0 does not wait. Raises NotRetryable.
    """
    from .run_retries import retry

    if isinstance(flow_run_id, FlowRun):
        namespace, flow_run_id = flow_run_id.namespace, flow_run_id.name
    with connect(namespace) as client:
        body, warned = retry(client, client.get("flowruns", flow_run_id), name)
    if warned:
        from .logging import get_logger

        get_logger("flow_runs").warning("Retry of %s: %s", flow_run_id, warned)
    return FlowRun.of(body if timeout == 0 else wait_for_end(body, timeout, poll_interval, connect))


def _context(what: str) -> FlowRunContext:
    context = FLOW.get()
    if context is None:
        raise MissingContext(f"{what} works inside of a flow run")
    if TASK.get() is not None or os.environ.get("PENSTOCK_TASK_PROCESS"):
        raise UnsupportedHere(f"{what} works in the flow's own code, not in a task: task runs do not wait for people")
    return context


def _current_is(run: str) -> bool:
    context = FLOW.get()
    return context is not None and run in (context.run.id, context.run.name)


def _request(
    context: FlowRunContext, wanted: type[Any] | None, timeout: float | None, key: str | None
) -> tuple[bool, Any, PauseRequest, type[Any] | None]:
    """Whether the next pause was answered before, and with what; the pause, and the model that its input fits."""
    from .api.names import digest

    model: type[Any] | None = None
    if wanted is not None:
        from .input.run_input import run_input_of

        model = run_input_of(wanted)
    run, deadline = context.run, None if timeout is None else time.time() + timeout
    what = key if key is not None else "" if model is None else json.dumps(model.model_json_schema(), sort_keys=True)
    cause = digest(run.flow_name, "key" if key is not None else "input", what)
    counted = f"pause {cause}"
    number = 1 if key is not None else context.calls.get(counted, 0) + 1
    while True:
        request = PauseRequest(f"{cause}-{number}", run.id, run.name, key, model, deadline)
        if isinstance(context.reporter, PauseReporter):
            known, value = context.reporter.answered(request.id)
        else:
            known, value = LOCAL.answered(run.id, request.id)
        try:
            value = request.validated(value) if known else None
            break
        except InvalidRunInput:  # it fitted the schema, and not the model's own validators: it is asked for again
            number += 1
    if key is None:
        context.calls[counted] = number
    return known, value, request, model


def _plain(value: Any, model: type[Any] | None) -> Any:
    """The value of the type that was asked for, where that was no model."""
    return value.value if model is not None and getattr(model, "wraps_value", False) else value


def _enter(context: FlowRunContext, state: State[Any]) -> None:
    context.run.enter(state)
    context.reporter.flow_changed(state)


def _waits(request: PauseRequest) -> str:
    what = "" if request.model is None else f" with {request.model.__name__}"
    return f"waits to be resumed{what}"


def _wait(request: PauseRequest, answer: Answer, timeout: float | None) -> None:
    if not answer.wait(timeout):
        key = f" (key {request.key})" if request.key else ""
        raise FlowPauseTimeout(f"flow run {request.run_name} was paused{key} and nobody resumed it within {timeout} s")


pause_flow_run, apause_flow_run = both_ways(_pause_flow_run)
suspend_flow_run, asuspend_flow_run = both_ways(_suspend_flow_run)
resume_flow_run, aresume_flow_run = both_ways(_resume_flow_run)
wait_for_flow_run, await_for_flow_run = both_ways(_wait_for_flow_run)
retry_flow_run, aretry_flow_run = both_ways(_retry_flow_run)
