"""The process in the pod: claim, load, run, report, in this order.

Exit codes: 0 when the run's end is written, or when the run was not this pod's to take; 1 when the end could not be
written because the attempt was fenced; 2 when the environment names no run; 143 after SIGTERM. On SIGTERM user code
is interrupted and what it did is reported, but no end is written: whether the run was cancelled, evicted or moved is
the operator's to say, once the pod is gone.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from ..api import labels, reasons
from ..api.states import StateType
from .assignment import Assignment, InvalidAssignment
from .children import Children
from .connection import Api
from .events import EmittedEvents
from .pages import Pages
from .reports import Reports
from .status import Fenced, RunStatus

FLUSH_AFTER_SIGTERM = 10.0


class Terminated(BaseException):
    """SIGTERM arrived."""


class _Interruption:
    """Turns the first SIGTERM into an exception in user code; later ones are ignored, for the end is under way."""

    def __init__(self) -> None:
        self.terminated = False
        self._armed = False
        signal.signal(signal.SIGTERM, self._on_signal)

    def arm(self, armed: bool) -> None:
        self._armed = armed

    def _on_signal(self, *_: object) -> None:
        first, self.terminated = not self.terminated, True
        if first and self._armed:
            raise Terminated


def _run_flow(assignment: Assignment, run: dict[str, Any], reports: Reports) -> Any:
    from ..engine.flow_runs import run_flow
    from ..engine.records import FlowRunInfo
    from ..states import State
    from .loading import LoadError, load

    spec, status = run["spec"], run["status"]
    try:
        flow = load(assignment.entrypoint, assignment.code)
    except LoadError as error:
        print(f"{error.reason}: {error}", file=sys.stderr, flush=True)
        return State(StateType.FAILED, message=str(error), reason=error.reason)
    parent = spec.get("parent") or {}
    info = FlowRunInfo(
        id=assignment.uid,
        name=assignment.name,
        namespace=assignment.namespace,
        deployment=assignment.deployment,
        deployment_id=((status.get("resolved") or {}).get("deployment") or {}).get("uid"),
        attempt=assignment.attempt,
        run_count=status.get("runCount") or 0,
        scheduled_start_time=_time(spec.get("scheduledTime")),
        tags=tuple(spec.get("tags") or ()),
        parent_id=parent.get("uid"),
        parent_name=parent.get("name"),
        root_id=(run["metadata"].get("annotations") or {}).get(labels.ROOT_UID) or assignment.uid,
        labels=run["metadata"].get("labels") or {},
        job_variables=spec.get("pod") or {},
    )
    return run_flow(flow, status.get("parameters") or spec.get("parameters") or {}, reporter=reports, info=info)


def _time(text: str | None) -> Any:
    if text is None:
        return None
    from datetime import datetime

    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def main() -> int:
    """Run the attempt this pod is for; the exit code."""
    interruption = _Interruption()
    try:
        assignment = Assignment()
        api = Api.from_environment()
    except (InvalidAssignment, KeyError) as error:
        print(f"penstock.runner: {error}", file=sys.stderr)
        return 2
    os.environ.setdefault("PENSTOCK_LOG_FORMAT", "json")
    os.environ.setdefault("PENSTOCK_RESULTS_FALLBACK", "/tmp/penstock-results")  # noqa: S108 - the pod's own
    status = RunStatus(api, assignment)
    try:
        run = status.claim()
    except Fenced as error:
        print(f"penstock.runner: {error}", file=sys.stderr)
        return 1
    if run is None:
        print(f"penstock.runner: attempt {assignment.attempt} of {assignment.name} is not this pod's", file=sys.stderr)
        return 0
    started = _time(run["status"].get("startTime"))
    pages = Pages(api, assignment)
    events = EmittedEvents(api, assignment)
    children = Children(api, assignment, pages, lambda: interruption.terminated)
    reports = Reports(status, pages, children, started.timestamp() if started else None, events)
    state = None
    try:
        interruption.arm(True)
        if not interruption.terminated:
            if "task" in run["spec"]:
                from .task_run import run_task

                state = run_task(assignment, run, reports, Terminated)
            else:
                state = _run_flow(assignment, run, reports)
        interruption.arm(False)
    except Terminated:
        interruption.arm(False)
    finally:
        sys.stdout.flush()
    reports.stop()
    artifacts = sys.modules.get("penstock.artifacts")
    if artifacts is not None:  # the flow made some: their last percentages are part of the run
        artifacts.flush(FLUSH_AFTER_SIGTERM)
    try:
        if interruption.terminated and (state is None or not state.type.terminal or state.type is StateType.CRASHED):
            reports.flush(FLUSH_AFTER_SIGTERM)
            return 143
        assert state is not None
        reports.finish(state)
    except Fenced as error:
        print(f"penstock.runner: {reasons.PROTOCOL_MISMATCH}: {error}", file=sys.stderr)
        return 1
    return 143 if interruption.terminated else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # threads that user code left behind must not hold the pod
