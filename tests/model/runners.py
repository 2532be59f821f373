"""What runs in the pods: the real writes of the runner (`RunStatus`, `ChildStatus`, `Pauses`), upon the model's API."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

from pydantic import BaseModel

from penstock.api import labels, reasons
from penstock.api.states import StateName, StateType
from penstock.pauses import Answer as Resumed
from penstock.pauses import PauseRequest
from penstock.runner import status as module
from penstock.runner.child_status import ChildStatus, Entry
from penstock.runner.connection import Answer, Api, Unreachable
from penstock.runner.pauses import Pauses
from penstock.runner.status import Fenced, RunStatus
from penstock_operator.cluster import FLOW_RUNS, AlreadyExists, ApiError
from run_stage import NAMESPACE, at_once

from .operators import Fault
from .world import Process, World

Json = dict[str, Any]
S = StateType


class Killed(BaseException):
    """The process ended while it waited for the API server."""


class Approval(BaseModel):
    """What the pauses of the model ask for."""

    approved: bool


class Held(Pauses):
    """Without the thread that follows the run: the model says when it is looked at."""

    def _follow(self, *_: Any) -> None: ...


def nothing() -> None:
    """Nothing happens meanwhile."""


class ModelApi:
    """The API server as one process sees it. `meanwhile`: what happens while its next request is on its way."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process = world, process
        self.fault, self.meanwhile = Fault.NONE, nothing

    def request(self, method: str, path: str, body: Any = None, _: str = "") -> Answer:
        """As `connection.Api` does."""
        (fault, self.fault), (meanwhile, self.meanwhile) = (self.fault, Fault.NONE), (self.meanwhile, nothing)
        meanwhile()
        if not self.process.alive:
            raise Killed
        worker = self.process.worker
        if fault is Fault.REQUEST_LOST or (worker is not None and not worker.reaches):
            raise Unreachable(fault.value)
        answer = self._answer(method, urlsplit(path).path.split("/flowruns/")[1], body)
        if fault is Fault.ANSWER_LOST:
            raise Unreachable(fault.value)
        return answer

    def another(self) -> ModelApi:
        """One for another thread."""
        return self

    def shut(self) -> None:
        """Nothing is open."""

    def _answer(self, method: str, rest: str, body: Any) -> Answer:
        name, _, subresource = rest.partition("/")
        try:
            if method == "PATCH":
                patched = self.world.cluster.patch(FLOW_RUNS, NAMESPACE, name, body, subresource=subresource or None)
                return Answer(200, at_once(patched))
            found = at_once(self.world.cluster.get(FLOW_RUNS, NAMESPACE, name))
        except ApiError as error:
            return Answer(error.status, {"reason": error.reason, "message": error.message})
        return Answer(404, {"reason": "NotFound"}) if found is None else Answer(200, found)


class Runner:
    """The runner in one process."""

    def __init__(self, world: World, process: Process) -> None:
        self.world, self.process, self.api = world, process, ModelApi(world, process)
        self.status = RunStatus(cast(Api, self.api), process.assignment)
        self.subflows: list[ChildStatus] = []
        self.pauses: Held
        self.waits: tuple[PauseRequest, Resumed] | None = None
        self.pauses_made = 0

    def does(self, act: Callable[[], None], fault: Fault = Fault.NONE, meanwhile: Callable[[], None] = nothing) -> None:
        """One thing that a runner does, whose first request meets a fault, or something that happens first."""
        self.api.fault, self.api.meanwhile = fault, meanwhile
        clock = self.world.clock
        module.time = cast(
            Any,
            SimpleNamespace(  # the protocol waits; here it never does
                sleep=clock.advance,
                time=lambda: clock().timestamp(),
                monotonic=lambda: clock().timestamp(),
                strftime=time.strftime,
                gmtime=time.gmtime,
            ),
        )
        try:
            act()
        except Killed:
            pass
        except Fenced:
            self.process.die(1)
        finally:
            module.time = time

    def claim(self) -> None:
        """Take the run; user code starts where it was granted."""
        run = self.status.claim()
        if run is None:
            self.process.die(0)
        else:
            self.process.executing = True
            self.pauses = Held(cast(Api, self.api), self.process.assignment, run, nothing)

    def progress(self) -> None:
        """Report a figure."""
        self.status.progress([{"op": "add", "path": "/status/tasks", "value": {"total": 1}}])

    def finish(self, end: StateType) -> None:
        """User code is over: what is left to do is to say so."""
        self.process.executing = False
        self.process.done = True
        self.process.over = self.process.worker is not None
        now = self.world.clock().timestamp()
        extra = [{"op": "add", "path": "/status/endTime", "value": module.timestamp(now)}]
        self.status.enter(end, str(end), str(end), "", now, extra)

    def pause(self, seconds: int | None, *, suspends: bool) -> None:
        """User code asks somebody, and waits here or ends for it; what was answered before is not asked again."""
        self.pauses_made += 1
        at, now = self.process.assignment, self.world.clock().timestamp()
        deadline = None if seconds is None else now + seconds
        request = PauseRequest(f"ask-{self.pauses_made}", at.uid, at.name, None, Approval, deadline)
        if self.pauses.answered(request.id)[0]:
            return
        if suspends:
            self.process.executing, self.process.done = False, True
            self._change(S.PAUSED, StateName.SUSPENDED, "Suspended", self.pauses.entered(request))
        else:
            self.waits = request, self.pauses.open(request)
            self._change(S.PAUSED, str(S.PAUSED), "Paused", self.pauses.entered())

    def look(self) -> None:
        """It waits: whoever watches the run for its answer sees it as it is now."""
        assert self.waits is not None
        request, answer = self.waits
        try:
            found = self.api.request("GET", self.process.assignment.path)
        except Unreachable:
            return
        if found.status == 200:
            self.pauses._look(request, answer, found.body)
        late = request.deadline is not None and self.world.clock().timestamp() >= request.deadline
        if not answer.happened() and not late:
            if ops := self.pauses.to_tell():
                self.status.progress(ops)
            return
        self.waits = None
        reason = reasons.RESUMED if answer.happened() else reasons.PAUSE_TIMED_OUT
        self._change(S.RUNNING, str(S.RUNNING), reason, self.pauses.left())

    def _change(self, type_: StateType, name: str, reason: str, extra: list[Json]) -> None:
        self.status.enter(type_, name, reason, "", self.world.clock().timestamp(), extra)

    def begin_subflow(self) -> None:
        """A subflow in this process, with a FlowRun of its own."""
        at, number = self.process.assignment, self.process.subflows
        self.process.subflows += 1
        parent = {"name": at.name, "uid": at.uid}
        owner = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "controller": True, **parent}
        meta = {"labels": {labels.ATTEMPT: str(at.attempt)}, "ownerReferences": [owner]}
        spec = {"flowRef": {"name": "etl"}, "parent": parent, "infrastructure": "Parent"}
        name = f"{at.name}-sub-{at.attempt}-{number}"
        try:
            body = self.world.apply(FLOW_RUNS, name, spec, **meta)
        except AlreadyExists:
            return
        child = ChildStatus(at, name, body["metadata"]["uid"], body["metadata"]["resourceVersion"])
        self.subflows.append(child)
        self._enter(child, S.RUNNING)

    def end_subflow(self) -> None:
        """The subflow that was begun last returns."""
        self._enter(self.subflows.pop(), S.COMPLETED)

    def _enter(self, child: ChildStatus, state: StateType) -> None:
        entry = Entry(state, str(state), str(state), "", self.world.clock().timestamp())
        try:
            child.enter_all(cast(Api, self.api), [entry], {})
        except Unreachable:
            self.subflows = [kept for kept in self.subflows if kept is not child]  # its end is the operator's to say
        except Fenced:
            self.subflows = [kept for kept in self.subflows if kept is not child]

    def begin_child(self) -> None:
        """A run of its own that this one waits for, as `run_deployment` makes it."""
        at = self.process.assignment
        parent = {"name": at.name, "uid": at.uid, "awaited": True}
        try:
            self.world.submit(f"{at.name}-child", parent=parent)
        except AlreadyExists:
            return
