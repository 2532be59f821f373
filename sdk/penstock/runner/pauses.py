"""The pauses of a run in its pod: what it waits for, told in its status, and the answer in `spec.resume`.

`Reports` holds one and writes what it says; a thread of its own, only while the run waits, watches the run for its
answer. Which answers were given before stands in the run: an attempt that starts from the top asks nobody twice.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..api import conditions, labels, reasons
from ..api.bounds import MAX_ANSWERS, MAX_INPUT, MAX_PAUSE_SCHEMA, cut
from ..api.sharing import shared
from ..api.states import StateType
from ..errors import InvalidRunInput, NotSuspendable, UnsupportedHere
from ..pauses import Answer
from .assignment import Assignment
from .connection import Api, Unreachable
from .connections import pauses
from .status import Fenced, Ops, timestamp
from .watching import Watch

if TYPE_CHECKING:
    from ..pauses import PauseRequest

NO_STORE = (
    "suspend_flow_run needs a result store that the run's next pod can reach, or what the run has done would be lost: "
    "set spec.results.url of the WorkPool to a bucket, or to a folder that all its pods mount, with "
    "spec.results.shared: true; or use pause_flow_run, which keeps the process"
)


class Pauses:
    """What was answered before, and the pause that is open. `wake` is called when there is something to write."""

    def __init__(self, api: Api, assignment: Assignment, run: dict[str, Any], wake: Callable[[], object]) -> None:
        self._api, self._at, self._wake = api, assignment, wake
        self._answers: list[dict[str, Any]] = list(run["status"].get("answers") or [])
        self._open: tuple[PauseRequest, Answer, Watch] | None = None
        self._taken: dict[str, Any] | None = None  # the answer to the open pause
        self._seen: Any = None  # the resume that was looked at last
        self._status: dict[str, Any] | None = None  # of the run as it was seen last
        self._problem: tuple[str, str] | None = None  # reason and message that are to stand in a condition
        self._lost: str | None = None  # why nobody will answer here any more
        self.suspending: PauseRequest | None = None

    def answered(self, pause: str) -> tuple[bool, Any]:
        """Whether this pause was answered, now or in an earlier attempt, and with what input."""
        found = next((answer for answer in self._answers if answer["pause"] == pause), None)
        return found is not None, None if found is None else found.get("input")

    def open(self, request: PauseRequest) -> Answer:
        """Wait for the answer to a pause. Raises UnsupportedHere."""
        if self._open is not None:
            raise UnsupportedHere("this run waits for somebody already: one pause of a run is answered at a time")
        self._check(request)
        answer, watch = Answer(), Watch(self._api.another())
        self._open, self._taken, self._seen = (request, answer, watch), None, None
        follower = threading.Thread(target=self._follow, args=(request, answer, watch), daemon=True)
        follower.name = "penstock-pause"
        follower.start()
        return answer

    def close(self) -> None:
        """Nobody waits any more."""
        if self._open is not None:
            self._open[2].close()
        self._open = self._problem = None

    def suspend(self, request: PauseRequest) -> None:
        """The run is about to end here, until the pause is answered. Raises NotSuspendable and UnsupportedHere."""
        if not shared(os.environ.get(labels.ENV_RESULTS), os.environ.get(labels.ENV_RESULTS_SHARED) == "true"):
            raise NotSuspendable(NO_STORE)
        self._check(request)
        self.suspending = request

    def entered(self, request: PauseRequest | None = None) -> Ops:
        """What goes into the status with the state Paused."""
        request = request or (self._open[0] if self._open else None)
        if request is None:
            return []
        pause: dict[str, Any] = {"id": request.id}
        if request.key is not None:
            pause["key"] = request.key
        if request.json_schema is not None:
            pause["schema"] = request.json_schema
        if request.deadline is not None:
            pause["deadline"] = timestamp(request.deadline)
        return [{"op": "add", "path": "/status/pause", "value": pause}]

    def left(self) -> Ops:
        """What goes into the status when the run goes on, which closes the pause."""
        taken, self._taken = self._taken, None
        self.close()
        ops: Ops = [{"op": "remove", "path": "/status/pause"}]
        if taken is not None:
            self._answers.append(taken)
            ops.append({"op": "add", "path": "/status/answers", "value": list(self._answers)})
        return ops

    def to_tell(self) -> Ops:
        """The condition that says what is wrong with an answer, where that does not stand in the run yet.

        Raises Fenced where the run was seen to be this pod's no more: a process that waits writes nothing that is
        refused, and might wait for ever.
        """
        if self._lost is not None:
            raise Fenced(self._lost)
        if self._problem is None or self._status is None:
            return []
        reason, message = self._problem
        new = {
            "type": reasons.ANSWERED,
            "status": "False",
            "reason": reason,
            "message": cut(message),
            "lastTransitionTime": timestamp(time.time()),
        }
        known: list[dict[str, Any]] | None = self._status.get("conditions")
        old = next((c for c in known or () if c["type"] == reasons.ANSWERED), None)
        if old is not None and (old["status"], old.get("message")) == ("False", new["message"]):
            return []
        return conditions.patch(known, [new])

    def told(self) -> None:
        """What `to_tell` says was written."""
        self._problem = None

    def _check(self, request: PauseRequest) -> None:
        if len(self._answers) >= MAX_ANSWERS:
            raise UnsupportedHere(
                f"a run in a pod pauses at most {MAX_ANSWERS} times, for its answers stand in its status: "
                "let a run of its own do each part (run_deployment)"
            )
        size = len(json.dumps(request.json_schema or {}))
        if size > MAX_PAUSE_SCHEMA:
            raise UnsupportedHere(
                f"the JSON Schema of the input has {size} bytes, and at most {MAX_PAUSE_SCHEMA} stand in a run: "
                "ask for less at once"
            )

    def _follow(self, request: PauseRequest, answer: Answer, watch: Watch) -> None:
        """Look at the run whenever it changes, however long the API server is away."""

        def over() -> bool:
            return watch.closed or answer.happened()

        api = self._api.another()
        selector = f"metadata.name={self._at.name}"
        for wait in pauses():
            with suppress(Unreachable):
                found = api.request("GET", self._at.path)
                if found.status == 200:
                    self._look(request, answer, found.body)
                    version = found.body["metadata"].get("resourceVersion", "")
                    if not over():
                        for kind, run in watch.events(self._at.runs, selector, version, by="fieldSelector"):
                            if kind != "DELETED":
                                self._look(request, answer, run)
                            if over():
                                break
            if over():
                break
            time.sleep(wait)
        api.close()

    def _look(self, request: PauseRequest, answer: Answer, run: dict[str, Any]) -> None:
        status = run.get("status") or {}
        if self._open is not None and self._open[0] is request and (lost := self._taken_away(run)):
            self._lost = lost
            self._wake()
            return
        self._status = status
        resume = run["spec"].get("resume")
        if not resume or resume == self._seen or answer.happened():
            return
        self._seen = resume
        if resume["pause"] != request.id:
            if not self.answered(resume["pause"])[0]:
                message = f"spec.resume answers pause {resume['pause']}; the run waits in {request.id}"
                self._refuse(reasons.STALE_ANSWER, message)
            return
        given = resume.get("input")
        size = len(json.dumps(given))
        try:
            if size > MAX_INPUT:
                raise InvalidRunInput(f"input: {size} bytes of JSON, at most {MAX_INPUT}")
            answer.value = request.validated(given)
        except InvalidRunInput as error:
            self._refuse(reasons.INVALID_INPUT, str(error))
            return
        self._taken = {"pause": request.id, "time": timestamp(time.time())}
        if request.model is not None:
            self._taken["input"] = given or {}
        self._problem = None
        answer.happen()

    def _taken_away(self, run: dict[str, Any]) -> str | None:
        if run["metadata"]["uid"] != self._at.uid:
            return "the run was deleted, and another one has its name"
        status = run["status"]
        state, pod = status["state"], (status.get("pod") or {}).get("uid")
        if StateType(state["type"]).terminal:
            return f"the run is {state['type']}"
        if status.get("attempt") != self._at.attempt or pod != self._at.pod_uid:
            return f"attempt {status.get('attempt')} has the run, by pod {pod}"
        return None

    def _refuse(self, reason: str, message: str) -> None:
        self._problem = (reason, message)
        self._wake()
