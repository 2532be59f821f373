"""The process of an attempt: claim, load, run, report, in this order. Called where it begins, in a pod or a worker.

Exit codes: 0 when the run's end is written, or that it is suspended, or when the run was not this pod's to take; 1 when
the attempt was fenced or refused, so that no end could be written; 2 when the environment names no run; 143 after
SIGTERM. On SIGTERM user code is interrupted and what it did is reported, but no end is written: whether the run was
cancelled, suspended, evicted or moved is the operator's to say, once the pod is gone.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from contextlib import suppress

from ..api import labels, reasons
from ..api.states import StateType
from ..slot_source import give_slots_by
from .assignment import Assignment, InvalidAssignment
from .connection import Api, NotInPod
from .status import Fenced, RunStatus, say

TYPE_CHECKING = False  # the claim does not wait for the import of typing
if TYPE_CHECKING:
    from typing import Any, Self

    from ..states import State
    from .reports import Reports

REPORTS_AFTER_SIGTERM = 10.0
# What is needed between the claim and user code. It is imported while the API server is asked.
AHEAD = (
    "penstock.runner.children",
    "penstock.runner.events",
    "penstock.runner.pages",
    "penstock.runner.pauses",
    "penstock.runner.reports",
    "penstock.runner.slots_when_asked",
    "penstock.engine.flow_runs",
    "penstock.engine.records",
    "penstock.states",
    "penstock.runner.delivery",
    "penstock.runner.loading",
)


class Terminated(BaseException):
    """SIGTERM arrived."""


class Interruption:
    """Turns the first SIGTERM into an exception within its `with` blocks; later ones are ignored, for the end is
    under way."""

    def __init__(self) -> None:
        self.terminated = False
        self._armed = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def __enter__(self) -> Self:
        self._armed = True
        if self.terminated:
            self._armed = False
            raise Terminated
        return self

    def __exit__(self, *_: object) -> None:
        self._armed = False

    def _on_signal(self, *_: object) -> None:
        first, self.terminated = not self.terminated, True
        if first and self._armed:
            raise Terminated

    @staticmethod
    def interrupt() -> None:
        """As SIGTERM does, from another thread."""
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)


def _run(assignment: Assignment, run: dict[str, Any], reports: Reports) -> State[Any]:
    """The state in which the run ends: of a flow, or of the one task that it is of."""
    if "task" not in run["spec"]:
        return _run_flow(assignment, run, reports)
    from .task_run import run_task

    return run_task(assignment, run, reports, Terminated)


def _run_flow(assignment: Assignment, run: dict[str, Any], reports: Reports) -> State[Any]:
    from ..engine.flow_runs import run_flow
    from ..engine.records import FlowRunInfo
    from ..errors import PenstockError
    from ..states import State
    from .delivery import deliver
    from .loading import LoadError, load

    spec, status = run["spec"], run["status"]
    try:
        flow = load(assignment.entrypoint, deliver(assignment, run, reports.code_found))
    except (LoadError, PenstockError) as error:
        _explain(error)
        return State(StateType.FAILED, message=str(error), reason=error.reason)
    parent, resolved = spec.get("parent") or {}, status.get("resolved") or {}
    info = FlowRunInfo(
        id=assignment.uid,
        name=assignment.name,
        namespace=assignment.namespace,
        deployment=assignment.deployment,
        deployment_id=(resolved.get("deployment") or {}).get("uid"),
        flow_id=(resolved.get("flow") or {}).get("uid"),
        work_pool=(resolved.get("pool") or {}).get("name"),
        attempt=assignment.attempt,
        run_count=status.get("runCount") or 0,
        scheduled_start_time=_time(spec.get("scheduledTime")),
        tags=tuple(spec.get("tags") or ()),
        parent_id=parent.get("uid"),
        parent_name=parent.get("name"),
        results_id=resolved.get("resultsOf"),
        root_id=(run["metadata"].get("annotations") or {}).get(labels.ROOT_UID) or assignment.uid,
        labels=run["metadata"].get("labels") or {},
        job_variables=spec.get("pod") or {},
    )
    return run_flow(flow, status.get("parameters") or spec.get("parameters") or {}, reporter=reports, info=info)


def _explain(error: Exception) -> None:
    """What user code raised, with its traceback, and what is made of it."""
    if error.__cause__ is not None:
        from traceback import print_exception

        print_exception(error.__cause__)
    say(str(error))


def _time(text: str | None) -> Any:
    if text is None:
        return None
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _interrupted(state: State[Any] | None) -> bool:
    """Whether the signal is what ended user code: by itself, or by what went wrong on the way out."""
    if state is None or state.type is StateType.CRASHED:
        return True
    error = state.data if isinstance(state.data, BaseException) else None
    while error is not None:
        if not isinstance(error, Exception):
            return True
        error = error.__cause__ or error.__context__
    return False


def _import_ahead() -> None:
    """Import what comes next."""
    from importlib import import_module

    with suppress(Exception):  # whoever needs it fails by it
        for name in AHEAD:
            import_module(name)


def main(api: Api | None = None) -> int:
    """Run the attempt this pod is for, by a connection that may be open; the exit code."""
    interruption = Interruption()
    try:
        assignment = Assignment()
        api = api or Api.from_environment()
    except (InvalidAssignment, NotInPod) as error:
        return _exit(2, str(error))
    os.environ.setdefault("PENSTOCK_LOG_FORMAT", "json")
    os.environ.setdefault("PENSTOCK_RESULTS_FALLBACK", "/tmp/penstock-results")  # noqa: S108 - the pod's own
    status = RunStatus(api, assignment)
    api.meanwhile = _import_ahead
    try:
        with interruption:
            run = status.claim()
    except Terminated:
        return _exit(143, "SIGTERM before the run was started")
    except Fenced as error:
        return _exit(1, str(error))
    if run is None:
        return _exit(0, f"attempt {assignment.attempt} of {assignment.name} is not this pod's")
    if not gc.isenabled():
        gc.freeze()  # what was imported stays
        gc.enable()
    return _attempt(interruption, api, assignment, status, run)


def _attempt(
    interruption: Interruption, api: Api, assignment: Assignment, status: RunStatus, run: dict[str, Any]
) -> int:
    """Run what was claimed."""
    from .children import Children
    from .events import EmittedEvents
    from .pages import Pages
    from .pauses import Pauses
    from .reports import Reports
    from .slots_when_asked import SlotsWhenAsked

    started = _time(run["status"].get("startTime"))
    pages, slots = Pages(api, assignment), SlotsWhenAsked(api, assignment)
    give_slots_by(slots)
    reports = Reports(
        status,
        pages,
        Children(api, assignment, pages, lambda: interruption.terminated),
        EmittedEvents(api, assignment),
        lambda wake: Pauses(api, assignment, run, wake),
        slots,
        started=started.timestamp() if started else None,
        entered=run["status"].get("runCount") or 0,
        fenced=interruption.interrupt,
    )
    state: State[Any] | None = None
    try:
        with interruption:
            state = _run(assignment, run, reports)
    except Terminated:
        pass
    except BaseException as error:  # what user code can do outside of its flow, such as a property that exits
        from ..states import exception_to_state

        state = exception_to_state(error)
    sys.stdout.flush()
    artifacts = sys.modules.get("penstock.artifacts")
    if artifacts is not None:  # the flow made some: their last percentages are part of the run
        artifacts.flush(REPORTS_AFTER_SIGTERM)
    if interruption.terminated and not reports.fenced and _interrupted(state):
        reports.abandon(REPORTS_AFTER_SIGTERM)
        return 143
    try:
        if reports.fenced:
            raise reports.fenced
        assert state is not None
        if reports.suspended(state):
            reports.suspend(state)
        else:
            reports.finish(state)
    except Fenced as error:
        return _exit(1, f"{reasons.PROTOCOL_MISMATCH}: {error}")
    return 0


def _exit(code: int, text: str) -> int:
    say(text)
    return code
