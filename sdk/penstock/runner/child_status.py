"""Writes to the status of a subflow's FlowRun, by its parent's pod: the protocol of `status`, tried once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..api.bounds import MAX_HISTORY, MAX_HISTORY_MESSAGE, cut
from ..api.states import StateType
from .assignment import Assignment
from .connection import JSON_PATCH, Answer, Api
from .status import Fenced, Ops, timestamp

OPTIONAL = ("result", "tasks")  # left out of a write that is refused with them


class Entry(NamedTuple):
    """A state that is entered."""

    type: StateType
    name: str
    reason: str
    message: str
    time: float


class ChildStatus:
    """The status of one child. Every write raises Unreachable where nothing is known of it, and may then be repeated.

    The operator ends it when the parent's attempt is over, and nobody else writes it.
    """

    def __init__(self, assignment: Assignment, name: str, uid: str, version: str) -> None:
        self._at, self.uid, self._version = assignment, uid, version
        self._path = f"{assignment.runs}/{name}"
        self._seq = 0
        self._history: list[dict[str, Any]] = []

    @property
    def begun(self) -> bool:
        """Whether there is a status."""
        return self._seq > 0

    def enter_all(self, api: Api, entries: Sequence[Entry], fields: Mapping[str, Any]) -> None:
        """Enter these states in order, with `fields`, in one write. Raises Fenced when another has ended the child."""
        left, more = list(entries), dict(fields)
        while left:
            added = [self._remembered(entry, self._seq + n) for n, entry in enumerate(left, 1)]
            state = {key: added[-1][key] for key in ("type", "name", "reason", "time", "seq")}
            state["message"] = cut(left[-1].message)
            history = [*self._history, *added][-MAX_HISTORY:]
            answer = self._patch(api, self._ops({"state": state, "history": history, **more}))
            written = len(left) if answer.status == 200 else self._arrived(api)
            self._seq, self._history = self._seq + written, [*self._history, *added[:written]][-MAX_HISTORY:]
            del left[:written]
            if not written:
                optional = next((name for name in OPTIONAL if name in more), None)
                if optional is None or answer.status == 403:
                    raise Fenced(str(answer.body.get("message")))
                del more[optional]

    def progress_on(self, api: Api, fields: Mapping[str, Any]) -> None:
        """Write what is no change of state. Raises Fenced."""
        answer = self._patch(api, self._ops(fields))
        if answer.status == 403:
            raise Fenced(str(answer.body.get("message")))

    def _ops(self, fields: Mapping[str, Any]) -> Ops:
        tests: Ops = [{"op": "test", "path": "/metadata/uid", "value": self.uid}]
        if not self._seq:  # the first write makes the status, and must find none
            pod = {"name": self._at.pod_name, "uid": self._at.pod_uid}
            value = {"attempt": self._at.attempt, "pod": pod, **fields}
            tests.append({"op": "test", "path": "/metadata/resourceVersion", "value": self._version})
            return [*tests, {"op": "add", "path": "/status", "value": value}]
        tests.append({"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid})
        tests.append({"op": "test", "path": "/status/state/seq", "value": self._seq})
        return [*tests, *({"op": "add", "path": f"/status/{name}", "value": value} for name, value in fields.items())]

    def _arrived(self, api: Api) -> int:
        """How many states an earlier try wrote, whose answer was lost. Raises Fenced where another has written."""
        answer = self._ask(api, "GET", self._path)
        if answer.status != 200 or answer.body["metadata"]["uid"] != self.uid:
            raise Fenced("it was deleted")
        self._version = answer.body["metadata"]["resourceVersion"]
        status = answer.body.get("status") or {}
        state, history = status.get("state") or {}, status.get("history") or []
        ahead = int(state.get("seq") or 0) - self._seq
        if ahead and not (history and history[-1]["writer"] == self._at.pod_uid and ahead > 0):
            raise Fenced(f"it is {state.get('type')} ({state.get('reason')})")
        return ahead

    def _remembered(self, entry: Entry, seq: int) -> dict[str, Any]:
        return {
            "type": str(entry.type),
            "name": entry.name[:64],
            "reason": entry.reason[:128],
            "message": cut(entry.message, MAX_HISTORY_MESSAGE),
            "time": timestamp(entry.time),
            "seq": seq,
            "attempt": self._at.attempt,
            "writer": self._at.pod_uid,
        }

    def _patch(self, api: Api, ops: Ops) -> Answer:
        return self._ask(api, "PATCH", f"{self._path}/status", ops, JSON_PATCH)

    def _ask(self, api: Api, method: str, path: str, body: Any = None, kind: str = "application/json") -> Answer:
        return api.request(method, path, body, kind).decided()
