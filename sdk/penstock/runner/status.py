"""Writes of this attempt to the run's status: fenced by attempt and seq, recognised again when an answer was lost.

Two rules make every write safe to repeat. Each state change tests the seq it follows, so a second application is
refused. And each history entry names its writer, so a writer who was refused reads the run and sees whether it was
itself who had already written.

A refusal alone fences nobody: an API server that has just started forbids everything for a moment. What the run says
decides, and only where it says nothing for `PATIENCE` the refusal is believed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from ..api.bounds import MAX_HISTORY, MAX_HISTORY_MESSAGE, cut
from ..api.states import StateType
from .assignment import Assignment
from .connection import JSON_PATCH, Answer, Api, Refused, Unreachable
from .connections import pauses

TYPE_CHECKING = False  # the claim does not wait for the import of typing
if TYPE_CHECKING:
    from typing import Any

MAX_WAIT, MAX_RETRY_AFTER = 10.0, 60.0
# Seconds that an API server which answers may refuse what should be taken; before the claim no work would be lost.
PATIENCE, PATIENCE_AT_CLAIM = 300.0, 30.0

ASKED_FOR = 2.0  # seconds of the pod's grace that the question may take why it shall end

Ops = list[dict[str, "Any"]]
_NOTHING_MORE: Sequence[Ops] = ([],)


class Fenced(Exception):
    """This attempt is not the run's any more: nothing further may be written."""


def timestamp(seconds: float) -> str:
    """RFC 3339 with microseconds, UTC."""
    whole = int(seconds)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1e6):06d}Z"


class RunStatus:
    """The run's status as this attempt knows it; one thread at a time."""

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api, self._at = api, assignment
        self.seq, self.uid = assignment.seq, assignment.uid
        self._claimed = False
        self._refused_since: float | None = None

    def claim(self) -> dict[str, Any] | None:
        """Take the run: Pending becomes Running. The run's body, or None when it is not this pod's to take.

        Raises Fenced where it is, and cannot be taken.
        """
        while True:
            entries = self._entries((StateType.RUNNING,), "Running", "Started", "", time.time())
            ops = self._tests() + self._enter(entries)
            ops.append(
                {"op": "add", "path": "/status/pod", "value": {"name": self._at.pod_name, "uid": self._at.pod_uid}}
            )
            if not self._at.started:
                ops.append({"op": "add", "path": "/status/startTime", "value": entries[0]["time"]})
            answer = self._patch(ops)
            if answer.status == 200:
                self._claimed = True
                self.seq += 1
                return answer.body
            run = self._get()
            if run is None:
                return None
            status = run.get("status") or {}
            state = status.get("state") or {}
            if (status.get("pod") or {}).get("uid") == self._at.pod_uid:  # our own claim, whose answer was lost
                if state["type"] != StateType.RUNNING:
                    raise Fenced(f"the run is {state['type']}")
                self._claimed = True
                self.seq = self._last_of_mine(status)
                return run
            if status.get("attempt") != self._at.attempt or state.get("type") != "Pending" or status.get("pod"):
                return None
            if state["seq"] == self.seq:
                self._bear(answer, "the claim was refused")
            self.seq = state["seq"]

    def enter(
        self,
        type_: StateType,
        name: str,
        reason: str,
        message: str,
        at: float,
        extra: Ops,
        options: Sequence[Ops] = _NOTHING_MORE,
    ) -> None:
        """Change the state, with further operations in the same write, and the first of `options` that is taken.

        Returns once it is written, however long the API server is away. Raises Fenced.
        """
        # A run that goes on is cancelled in two steps; whoever is told of the first would end it from outside.
        types = (StateType.CANCELLING, type_) if type_ is StateType.CANCELLED else (type_,)
        left = list(options)
        replace: list[dict[str, Any]] | None = None
        while True:
            entries = self._entries(types, name, reason, message, at)
            answer = self._patch([*self._tests(), *self._enter(entries, replace), *extra, *left[0]])
            if answer.status == 200:
                self.seq += len(types)
                return
            status = self._mine(self._get())
            state = status["state"]
            history = status.get("history") or []
            if state["seq"] > self.seq:
                if any(e["seq"] == self.seq + 1 and e["writer"] == self._at.pod_uid for e in history):
                    self.seq += len(types)  # our own write, whose answer was lost
                    return
                if StateType(state["type"]).terminal or state["type"] == StateType.CANCELLING:
                    raise Fenced(f"the run is {state['type']}")
                self.seq = state["seq"]
            elif answer.status == 403:
                self._bear(answer, "the write was refused")
            elif replace is None and len(history) + len(types) > MAX_HISTORY:
                seen = status.get("observedSeq") or 0
                kept = [e for i, e in enumerate(history) if i > MAX_HISTORY // 4 or e["seq"] > seen]
                replace = kept[-(MAX_HISTORY - len(types)) :]
            elif len(left) > 1:
                say(f"the {name} state is written with less beside it: {answer}")
                del left[0]
            else:
                raise Fenced(f"the write was refused: {answer}")

    def progress(self, ops: Ops) -> bool:
        """Write what is no change of state; whether it was taken. Tried once: newer figures follow. Raises Fenced."""
        tests = [
            {"op": "test", "path": "/status/attempt", "value": self._at.attempt},
            {"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid},
        ]
        try:
            answer = self._api.request("PATCH", f"{self._at.path}/status", tests + ops, JSON_PATCH)
            if answer.status in (403, 404, 422):
                self.verify()
        except Unreachable:
            return False
        return answer.status == 200

    def code_found(self, code: dict[str, Any]) -> None:
        """Write what the run's code turned out to be, once for all attempts. From any thread. Raises Fenced.

        Returns once it is written: code that runs and cannot be had again would be worse than code that waits.
        """
        other = RunStatus(self._api.another(None), self._at)
        other._claimed = True
        ops: Ops = [
            {"op": "test", "path": "/status/attempt", "value": self._at.attempt},
            {"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid},
            {"op": "add", "path": "/status/code", "value": code},
        ]
        try:
            while True:
                answer = other._patch(ops)
                if answer.status == 200:
                    return
                status = other._mine(other._get())
                if status.get("code") == code:  # our own write, whose answer was lost
                    return
                other._bear(answer, "the write of what the code is was refused")
        finally:
            other._api.close()

    def being_cancelled(self) -> bool:
        """Whether somebody asked for the run's end; False where that cannot be told soon. From any thread."""
        api = self._api.another(ASKED_FOR)
        try:
            answer = api.request("GET", self._at.path)
        except Unreachable:
            return False
        finally:
            api.close()
        run = answer.body if answer.status == 200 else {}
        state = (run.get("status") or {}).get("state") or {}
        return (run.get("spec") or {}).get("cancel") is True or state.get("type") == StateType.CANCELLING

    def verify(self) -> None:
        """Return where the run is this attempt's. Raises Fenced, and Unreachable where that cannot be told."""
        answer = self._api.request("GET", self._at.path)
        if answer.status == 200:
            self._mine(answer.body)
        elif _not_found(answer):
            self._mine(None)
        else:
            raise Refused(str(answer))

    def _mine(self, run: dict[str, Any] | None) -> dict[str, Any]:
        """The status of the run, as long as it is this pod's."""
        if run is None:
            raise Fenced("the run was deleted")
        status: dict[str, Any] = run.get("status") or {}
        pod = (status.get("pod") or {}).get("uid")
        if status.get("attempt") != self._at.attempt or pod != self._at.pod_uid:
            raise Fenced(f"attempt {status.get('attempt')} has the run, by pod {pod}")
        return status

    def _tests(self) -> Ops:
        tests: Ops = [
            {"op": "test", "path": "/metadata/uid", "value": self._at.uid},
            {"op": "test", "path": "/status/attempt", "value": self._at.attempt},
            {"op": "test", "path": "/status/state/seq", "value": self.seq},
        ]
        if self._claimed:
            tests.append({"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid})
        return tests

    def _entries(self, types: Sequence[StateType], name: str, reason: str, message: str, at: float) -> Ops:
        """The states that are entered, the last of them by `name`."""
        return [
            {
                "type": str(type_),
                "name": name[:64] if type_ is types[-1] else str(type_),
                "reason": reason[:128],
                "message": cut(message),
                "time": timestamp(at),
                "seq": self.seq + step,
            }
            for step, type_ in enumerate(types, 1)
        ]

    def _enter(self, entries: Ops, replace: Ops | None = None) -> Ops:
        remembered = [
            {
                **entry,
                "message": cut(entry["message"], MAX_HISTORY_MESSAGE),
                "attempt": self._at.attempt,
                "writer": self._at.pod_uid,
            }
            for entry in entries
        ]
        state: dict[str, Any] = {"op": "replace", "path": "/status/state", "value": entries[-1]}
        if replace is not None:
            return [state, {"op": "replace", "path": "/status/history", "value": [*replace, *remembered]}]
        return [state, *({"op": "add", "path": "/status/history/-", "value": entry} for entry in remembered)]

    def _last_of_mine(self, status: dict[str, Any]) -> int:
        return max(int(e["seq"]) for e in status["history"] if e["writer"] == self._at.pod_uid)

    def _patch(self, ops: Ops) -> Answer:
        """The answer to a write; a repeated one is refused by its own test of seq."""
        answer = self._until_answered("PATCH", f"{self._at.path}/status", ops, JSON_PATCH, later=(409,))
        if answer.status not in (401, 403):
            self._refused_since = None
        return answer

    def _get(self) -> dict[str, Any] | None:
        """The run, None where it was deleted."""
        while True:
            answer = self._until_answered("GET", self._at.path, later=())
            if answer.status == 200:
                return answer.body if answer.body["metadata"]["uid"] == self._at.uid else None
            if _not_found(answer):
                return None
            self._bear(answer, "the run cannot be read")

    def _bear(self, answer: Answer, what: str) -> None:
        """Wait, as long as a refusal may pass. Raises Fenced."""
        now, patience = time.monotonic(), PATIENCE if self._claimed else PATIENCE_AT_CLAIM
        if answer.status not in (401, 403, 404):
            raise Fenced(f"{what}: {answer}")
        if self._refused_since is None:
            say(f"{what}, which is tried for {patience:.0f} s: {answer}")
            self._refused_since = now
        if now - self._refused_since > patience:
            raise Fenced(f"{what}: {answer}")
        time.sleep(0.5)

    def _until_answered(
        self,
        method: str,
        path: str,
        body: Any = None,
        content_type: str = "application/json",
        *,
        later: Sequence[int],
    ) -> Answer:
        """Ask until there is an answer that says more than `later`."""
        waits, away = pauses(most=MAX_WAIT), 0
        while True:
            pause = 0.0
            try:
                answer = self._api.request(method, path, body, content_type)
                if not answer.busy and answer.status not in (401, *later):
                    if away > 1:
                        say("the API server answers again")
                    return answer
                if answer.status == 401:
                    self._bear(answer, "the token of this pod is refused")
                why, pause = str(answer), min(answer.retry_after, MAX_RETRY_AFTER)
            except Unreachable as error:
                why, self._refused_since = str(error), None
            away += 1
            if away == 2:
                say(f"the API server does not answer, which is tried until it does: {why}")
            time.sleep(max(pause, next(waits)))


def _not_found(answer: Answer) -> bool:
    """Whether it is this run that is not there, and not the whole kind."""
    return answer.status == 404 and answer.body.get("reason") == "NotFound"


def say(text: str) -> None:
    """Tell whoever reads the pod's log."""
    print(f"penstock.runner: {text}", file=sys.stderr, flush=True)
