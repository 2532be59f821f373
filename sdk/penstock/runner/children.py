"""Subflows of this run as FlowRuns of their own, that live in this process (architecture, section 4.7).

The engine opens a child before the subflow starts, in whatever thread calls it; what becomes of it is written by the
thread of `Reports`, or by the main thread at the end. A short subflow costs two writes: its creation, and its end with
all that was before. Task runs of subflows stand in the pages of the pod's run, and are counted in both.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..api import labels, names
from ..api.durations import shown
from ..api.states import StateType
from .assignment import Assignment
from .child_parameters import Parameters
from .child_status import ChildStatus, Entry
from .connection import Api, Unreachable
from .connections import Connections, pauses
from .pages import Counts, Pages
from .reports import result
from .status import Fenced, say, timestamp

if TYPE_CHECKING:
    from ..engine.records import FlowRunInfo, TaskRecord
    from ..engine.runs import FlowRun
    from ..states import State

MAX_CHILDREN = 100  # a run; further subflows stand in the task records only


def _nobody() -> None:
    """Nobody is to be told."""


class Calls:
    """How often one run has called each flow with equal parameters, since its code was last entered."""

    def __init__(self, lineage: str) -> None:
        self.lineage = lineage
        self._lock = threading.Lock()
        self._numbers: dict[str, int] = {}

    def number(self, flow: str, parameters: str) -> int:
        key = names.digest(flow, parameters, length=26)
        with self._lock:
            number = self._numbers.get(key, 0)
            self._numbers[key] = number + 1
        return number

    def restart(self) -> None:
        """The run's code is entered again, and makes the same calls."""
        with self._lock:
            self._numbers = {}


class Children:
    """All subflows of the pod's run."""

    def __init__(self, api: Api, assignment: Assignment, pages: Pages, terminated: Callable[[], bool]) -> None:
        self._api, self.at, self.pages, self.terminated = api, assignment, pages, terminated
        self.ended: Callable[[], None] = _nobody  # told when a child has ended, so that its end is written soon
        self.connections = Connections(api)
        self._lock = threading.Lock()  # of what is below
        self._count = 0
        self._known: dict[str, Child] = {}  # by name, opened by this process
        self._open: list[Child] = []
        self.calls = Calls(assignment.uid)
        self.entered = 0  # times the code of the pod's run was entered

    def child(self, info: FlowRunInfo) -> Child:
        """The reporter of a subflow that the pod's run calls."""
        return Child(self, self.calls, info, self.at.name)

    def restart(self) -> None:
        """The code of the pod's run is entered."""
        self.entered += 1
        self.calls.restart()

    @property
    def may_be_known(self) -> bool:
        """Whether a call may have been made before."""
        return self.at.attempt > 1 or self.entered > 1

    def admit(self) -> bool:
        """Whether one more may be a FlowRun."""
        with self._lock:
            self._count += 1
            return self._count <= MAX_CHILDREN

    def known(self, name: str) -> Child | None:
        """The child of that name, where this process has opened it."""
        with self._lock:
            return self._known.get(name)

    def add(self, child: Child) -> None:
        """A child was opened; its reports are delivered from now on."""
        with self._lock:
            self._known[child.name] = child
            self._open.append(child)

    @property
    def open(self) -> bool:
        """Whether there is a child of which something is to be written still."""
        return bool(self._open)

    def deliver(self, *, progress: bool) -> None:
        """Write what is new of every child, counts of task runs only with `progress`. Raises Unreachable."""
        with self._lock:
            due = list(self._open)
        for child in due:
            try:
                child.deliver(self._api, progress=progress)
            except Fenced as error:
                child.abandon(str(error))
            if child.over:
                with self._lock:
                    self._open.remove(child)


class Child:
    """One subflow: the engine's reporter for it."""

    def __init__(self, all_: Children, calls: Calls, info: FlowRunInfo, parent: str) -> None:
        self._all, self._calls, self._info, self._parent = all_, calls, info, parent
        self._own_calls = Calls("")
        self._lock = threading.Lock()
        self._pending: list[Entry] = []
        self._counts = Counts()
        self._told = 0  # changes of counts that were written
        self._changes = 0
        self._status: ChildStatus | None = None
        self._body: dict[str, Any] = {}
        self._runs = 0
        self._started: float | None = None
        self._ended = False
        self._result: dict[str, Any] | None = None  # of a child that Completed
        self._exact = True
        self.name = info.name
        self.over = False  # nothing of it is to be written any more

    # The engine's side.

    def child(self, info: FlowRunInfo) -> Child:
        """The reporter of a subflow that this one calls."""
        return Child(self._all, self._own_calls, info, self.name)

    def open(self, run: FlowRun) -> State[Any] | None:
        """Create the FlowRun; the state of an equal call that has Completed before, where there is one."""
        try:
            return self._opened(run)
        except Exception as error:  # a run goes on, whatever its reports do
            self._refuse(f"{type(error).__name__}: {error}")
            return None

    def _opened(self, run: FlowRun) -> State[Any] | None:
        parameters = Parameters(run.parameters)
        flow = run.flow_name
        lineage, number = self._calls.lineage, self._calls.number(flow, parameters.text)
        base = names.child_run(lineage, flow, parameters.text, number)
        self._own_calls.lineage = f"{lineage}/{base}"
        self._info = self._info._replace(labels={labels.CAUSE: self._own_calls.lineage})
        run.identify(self._info)
        if not self._all.admit():
            self.over = True
            return None
        self._exact = parameters.exact
        take = 0
        while True:
            self.name = names.another_take(base, take) if take else base
            before = self._all.known(self.name)
            if before is not None:
                if self._exact and before._result is not None and (state := recalled(before._result, before._info.id)):
                    self.over = True
                    run.identify(before._info)
                    return state
                take += 1
                continue
            self._body = self._manifest(run, parameters)
            found = self._create()
            if found is None or self._is_mine(found):
                break
            status = found.get("status") or {}
            ended = (status.get("state") or {}).get("type")
            if self._exact and ended == "Completed" and self._is_of_this_run(found):
                known = recalled(status.get("result"), found["metadata"]["uid"], status["state"])
                if known is not None:
                    self.over = True
                    run.identify(self._info._replace(id=found["metadata"]["uid"], name=self.name))
                    return known
            take += 1
        if not self.over:
            if self._status is not None:
                self._info = self._info._replace(id=self._status.uid, name=self.name)
                run.identify(self._info)
            self._all.add(self)
        return None

    def _create(self) -> dict[str, Any] | None:
        """Create it: None when it was, or cannot be now and will be later; else the object that has the name."""
        for pause in pauses():
            try:
                answer = self._all.connections.request("POST", self._all.at.runs, self._body)
                if answer.status == 409:
                    answer = self._all.connections.request("GET", f"{self._all.at.runs}/{self.name}")
                    if answer.status == 200:
                        return answer.body
                    if answer.status == 404:  # deleted meanwhile, or something else is in conflict for now
                        time.sleep(pause)
                        continue
                if answer.status >= 400:
                    self._refuse(str(answer.body.get("message")))
                    return None
                self._take(answer.body)
                return None
            except Unreachable:
                if not self._all.may_be_known:
                    return None  # user code does not wait for the API server
                time.sleep(pause)  # it might do again what has been done
        raise AssertionError("pauses do not end")

    def _take(self, body: dict[str, Any]) -> None:
        meta = body["metadata"]
        self._status = ChildStatus(self._all.at, self.name, meta["uid"], meta["resourceVersion"])

    def _is_of_this_run(self, body: dict[str, Any]) -> bool:
        return (body["spec"].get("parent") or {}).get("uid") == self._all.at.uid

    def _is_mine(self, body: dict[str, Any]) -> bool:
        """Whether this attempt made it, and only the answer was lost; then it is taken."""
        made_by = (body["metadata"].get("labels") or {}).get(labels.ATTEMPT)
        mine = self._is_of_this_run(body) and made_by == str(self._all.at.attempt) and not body.get("status")
        if mine:
            self._take(body)
        return mine

    def _manifest(self, run: FlowRun, parameters: Parameters) -> dict[str, Any]:
        at, flow = self._all.at, names.dns_label(run.flow_name) or "flow"
        owner = {
            "apiVersion": labels.API_VERSION,
            "kind": "FlowRun",
            "name": at.name,
            "uid": at.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }
        spec: dict[str, Any] = {
            "flowRef": {"name": flow},
            "parent": {"name": at.name, "uid": at.uid, "awaited": True},
            "infrastructure": "Parent",
        }
        if parameters.shown:
            spec["parameters"] = parameters.shown
        if run.tags:
            spec["tags"] = sorted(run.tags)
        return {
            "apiVersion": labels.API_VERSION,
            "kind": "FlowRun",
            "metadata": {
                "name": self.name,
                "labels": {labels.PARENT: self._parent, labels.ATTEMPT: str(at.attempt), labels.FLOW: flow},
                "ownerReferences": [owner],
            },
            "spec": spec,
        }

    def _refuse(self, why: str) -> None:
        say(f"subflow {self.name} stands in the task records only: {why}")
        self.over = True

    def task_changed(self, record: TaskRecord) -> None:
        """A task run of the subflow changed: it is the pod's run's as well."""
        with self._lock:
            self._counts.note(record, record.ended is not None or record.state_name == "NotReady")
            self._changes += 1
        self._all.pages.note(record)

    def flow_changed(self, state: State[Any]) -> None:
        """The subflow starts, is tried again, waits for it, or has ended."""
        running = state.type is StateType.RUNNING
        if running:
            self._runs += 1
            self._started = self._started or state.time
            self._own_calls.restart()
        if self.over or self._ended:
            return
        final = state.type.terminal
        if state.type is StateType.CRASHED and self._all.terminated():
            self.over = True  # what ended it ends the attempt: the operator says what that was
            return
        if not final and not running:  # waits for a retry: the process goes on
            entry = Entry(StateType.RUNNING, state.name, state.reason or "", state.message or "", state.time)
        else:
            reason = state.reason or ("Started" if running else str(state.type))
            entry = Entry(state.type, state.name, reason, state.message or "", state.time)
        with self._lock:
            if state.type is StateType.COMPLETED:
                self._result = _kept(state) if self._exact else result(state.data)
            if not final and state.type is StateType.PENDING:
                return
            self._ended = final
            self._pending.append(entry)
        if final:
            self._all.ended()

    # The delivering side: one thread at a time.

    def abandon(self, why: str) -> None:
        """Write nothing more: the operator, or whoever deleted it, has had the last word."""
        say(f"subflow {self.name} is not written any more: {why}")
        self.over = True

    def deliver(self, api: Api, *, progress: bool) -> None:
        """Write what is new. Raises Unreachable, and Fenced."""
        if self.over:
            return
        if self._status is None:
            self._create_late(api)
        assert self._status is not None
        with self._lock:
            pending, changes = list(self._pending), self._changes
            fields = self._fields(pending)
        if pending:
            self._status.enter_all(api, pending, fields)
        elif progress and changes != self._told and self._status.begun:
            self._status.progress_on(api, {"tasks": self._counts.status()})
        else:
            return
        self._told = changes
        with self._lock:
            del self._pending[: len(pending)]
            self.over = self._ended and not self._pending

    def _create_late(self, api: Api) -> None:
        answer = api.request("POST", self._all.at.runs, self._body)
        if answer.status == 409:
            answer = api.request("GET", f"{self._all.at.runs}/{self.name}")
        answer.decided()
        if answer.status >= 400 or not self._is_of_this_run(answer.body):
            raise Fenced(str(answer.body.get("message") or "its name is taken"))
        self._take(answer.body)

    def _fields(self, pending: list[Entry]) -> Mapping[str, Any]:
        """What goes with these changes, the most important first: the last ones are left out where it is too much."""
        if not pending:
            return {}
        fields: dict[str, Any] = {"runCount": max(self._runs, 1)}
        if self._started is not None:
            fields["startTime"] = timestamp(self._started)
        if pending[-1].type.terminal:
            ended = pending[-1].time
            fields["endTime"] = timestamp(ended)
            fields["duration"] = shown(ended - (self._started or ended))
        if self._counts.total:
            fields["tasks"] = self._counts.status()
        if pending[-1].type is StateType.COMPLETED:
            fields["result"] = self._result
        return fields


def _kept(state: State[Any]) -> dict[str, Any]:
    """A Completed state's value as `status.result`: inline only where reading it back gives the same value.

    Where the flow has it kept, with where it is in the store.
    """
    reference: dict[str, Any] = {} if state.stored is None else {"reference": state.stored.url}
    if state.is_stored_only:
        return reference
    shown = result(state.data)
    if "inline" in shown and json.loads(json.dumps(state.data)) != state.data:
        shown = {
            "omitted": f"a {type(state.data).__name__} that JSON cannot hold as it is; "
            "return plain JSON values, or have the flow's results kept (persist_result=True)"
        }
    if reference and "omitted" in shown:
        return reference
    return {**reference, **shown}


def recalled(recorded: Mapping[str, Any] | None, uid: str, state: Mapping[str, Any] | None = None) -> State[Any] | None:
    """The final state of a run that Completed with this `status.result`; None where its value is to be had no more.

    What is not inline is read from the result store, where a record that is missing or damaged counts as none.
    """
    if recorded is None or "omitted" in recorded:
        return None
    from ..states import State

    state, value, stored = state or {}, recorded.get("inline"), None
    if "reference" in recorded and "inline" not in recorded:
        from ..errors import PenstockError
        from ..results.store import StoredResult

        try:
            stored = StoredResult.from_url(recorded["reference"])
            value = stored.get()
        except PenstockError as error:
            say(f"the result of a subflow that has completed cannot be used, and it runs again: {error}")
            return None
    found: State[Any] = State(
        StateType.COMPLETED,
        state.get("name"),
        state.get("message") or None,
        value,
        reason=state.get("reason"),
        run_id=uid,
    )
    found.stored = stored
    return found
