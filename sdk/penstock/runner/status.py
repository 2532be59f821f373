"""Writes of this attempt to the run's status: fenced by attempt and seq, recognised again when an answer was lost.

Two rules make every write safe to repeat. Each state change tests the seq it follows, so a second application is
refused. And each history entry names its writer, so a writer who was refused reads the run and sees whether it was
itself who had already written.
"""

from __future__ import annotations

import random
import time
from typing import Any

from ..api.states import StateType
from .assignment import Assignment
from .connection import JSON_PATCH, Answer, Api, Unreachable

MAX_HISTORY = 64
MAX_MESSAGE, MAX_HISTORY_MESSAGE = 1024, 256
CUT = " … (see the run's logs)"
MAX_WAIT = 10.0

Ops = list[dict[str, Any]]


class Fenced(Exception):
    """This attempt is not the run's any more: nothing further may be written."""


def cut(text: str, limit: int) -> str:
    """`text` within `limit` characters."""
    return text if len(text) <= limit else text[: limit - len(CUT)] + CUT


def timestamp(seconds: float) -> str:
    """RFC 3339 with microseconds, UTC."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e6):06d}Z"


class RunStatus:
    """The run's status as this attempt knows it; one thread at a time."""

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api, self._at = api, assignment
        self.seq = assignment.seq
        self.uid = assignment.uid
        self._claimed = False

    def claim(self) -> dict[str, Any] | None:
        """Take the run: Pending becomes Running. The run's body, or None when it is not this pod's to take."""
        while True:
            now = time.time()
            entry = self._entry(StateType.RUNNING, "Running", "Started", "", now)
            ops = self._tests() + self._enter(entry, "")
            ops.append(
                {"op": "add", "path": "/status/pod", "value": {"name": self._at.pod_name, "uid": self._at.pod_uid}}
            )
            if self._at.attempt == 1:
                ops.append({"op": "add", "path": "/status/startTime", "value": entry["time"]})
            answer = self._patch(ops)
            if answer.status == 200:
                self._claimed = True
                self.seq += 1
                return answer.body
            if answer.status in (403, 404):
                return None
            run = self._get()
            if run is None or run["metadata"]["uid"] != self._at.uid:
                return None
            status = run.get("status") or {}
            if (status.get("pod") or {}).get("uid") == self._at.pod_uid:  # our own claim, whose answer was lost
                self._claimed = True
                self.seq = self._last_of_mine(status)
                return run
            state = status.get("state") or {}
            if status.get("attempt") != self._at.attempt or state.get("type") != "Pending" or status.get("pod"):
                return None
            if state["seq"] == self.seq:  # refused for another reason: say so instead of trying for ever
                raise Fenced(f"the claim was refused: {answer.body.get('message')}")
            self.seq = state["seq"]

    def enter(
        self, type_: StateType, name: str, reason: str, message: str, extra: Ops, optional: Ops | None = None
    ) -> None:
        """Change the state, with further operations in the same write. `optional` is left out when it is too much.

        Returns once it is written, however long the API server is away. Raises Fenced.
        """
        optional = optional or []
        replace: list[dict[str, Any]] | None = None
        while True:
            entry = self._entry(type_, name, reason, message, time.time())
            ops = self._tests() + self._enter(entry, message, replace) + extra + optional
            answer = self._patch(ops)
            if answer.status == 200:
                self.seq += 1
                return
            if answer.status == 403:
                raise Fenced(str(answer.body.get("message")))
            run = self._get()
            status = (run or {}).get("status") or {}
            if run is None or run["metadata"]["uid"] != self._at.uid:
                raise Fenced("the run was deleted")
            if (status.get("pod") or {}).get("uid") != self._at.pod_uid:
                raise Fenced("another attempt has the run")
            state = status["state"]
            if state["seq"] > self.seq:
                mine = [e for e in status.get("history") or [] if e["seq"] == self.seq + 1]
                if mine and mine[0]["writer"] == self._at.pod_uid:  # our own write, whose answer was lost
                    self.seq += 1
                    return
                if StateType(state["type"]).terminal or state["type"] == "Cancelling":
                    raise Fenced(f"the run is {state['type']}")
                self.seq = state["seq"]
                continue
            history = status.get("history") or []
            if replace is None and len(history) >= MAX_HISTORY:
                seen = status.get("observedSeq") or 0
                replace = [e for i, e in enumerate(history) if i > MAX_HISTORY // 4 or e["seq"] > seen]
                replace = replace[-(MAX_HISTORY - 1) :]
            elif optional:
                optional = []
            else:
                raise Fenced(f"the write was refused: {answer.body.get('message')}")

    def progress(self, ops: Ops) -> None:
        """Write what is no change of state. Tried once: newer figures follow. Raises Fenced."""
        tests = [
            {"op": "test", "path": "/status/attempt", "value": self._at.attempt},
            {"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid},
        ]
        try:
            answer = self._api.request("PATCH", f"{self._at.path}/status", tests + ops, JSON_PATCH)
        except Unreachable:
            return
        if answer.status == 403 and not answer.busy:
            raise Fenced(str(answer.body.get("message")))

    def _tests(self) -> Ops:
        tests: Ops = [
            {"op": "test", "path": "/metadata/uid", "value": self._at.uid},
            {"op": "test", "path": "/status/attempt", "value": self._at.attempt},
            {"op": "test", "path": "/status/state/seq", "value": self.seq},
        ]
        if self._claimed:
            tests.append({"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid})
        return tests

    def _entry(self, type_: StateType, name: str, reason: str, message: str, now: float) -> dict[str, Any]:
        return {
            "type": str(type_),
            "name": name[:64],
            "reason": reason[:128],
            "message": cut(message, MAX_MESSAGE),
            "time": timestamp(now),
            "seq": self.seq + 1,
        }

    def _enter(self, entry: dict[str, Any], message: str, replace: list[dict[str, Any]] | None = None) -> Ops:
        remembered = {
            **entry,
            "message": cut(message, MAX_HISTORY_MESSAGE),
            "attempt": self._at.attempt,
            "writer": self._at.pod_uid,
        }
        history: dict[str, Any] = {"op": "add", "path": "/status/history/-", "value": remembered}
        if replace is not None:
            history = {"op": "replace", "path": "/status/history", "value": [*replace, remembered]}
        return [{"op": "replace", "path": "/status/state", "value": entry}, history]

    def _last_of_mine(self, status: dict[str, Any]) -> int:
        return max(int(e["seq"]) for e in status["history"] if e["writer"] == self._at.pod_uid)

    def _patch(self, ops: Ops) -> Answer:
        return self._until_answered("PATCH", f"{self._at.path}/status", ops, JSON_PATCH)

    def _get(self) -> dict[str, Any] | None:
        answer = self._until_answered("GET", self._at.path)
        return answer.body if answer.status == 200 else None

    def _until_answered(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> Answer:
        """Ask until there is an answer that is not `later`. A repeated write is refused by its own test of seq."""
        wait = 0.1
        while True:
            try:
                answer = self._api.request(method, path, body, content_type)
                # 401: the token is being renewed, or the API server has just started.
                if not answer.busy and answer.status != 401:
                    return answer
                pause = answer.retry_after
            except Unreachable:
                pause = 0.0
            time.sleep(max(pause, wait * random.uniform(0.5, 1.0)))  # noqa: S311
            wait = min(wait * 2, MAX_WAIT)
