"""Tasks of this run as runs of their own, each in a pod that the operator launches. Used by `KubernetesTaskRunner`.

Any thread may `run` one and waits in it; one more thread watches for their ends. The names are derived from the calls,
so that a restarted run finds those that have ended, and those that still go on.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from ..api import labels, names
from ..errors import CancellationRequested, TaskPodRefused
from .assignment import Assignment
from .children import Calls
from .connection import Answer, Api, Unreachable
from .connections import Connections, pauses
from .watching import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

WAIT = 1.0  # seconds before what is watched is listed anew
TERMINAL = frozenset({"Completed", "Failed", "Crashed", "Cancelled"})

Body = dict[str, Any]


class TaskPods:
    """The runs of tasks of one flow run."""

    def __init__(self, api: Api, assignment: Assignment, lineage: str) -> None:
        self._api, self._at = api, assignment
        self._request = Connections(api).request
        self._changed = threading.Condition()
        self._seen: dict[str, Body | None] = {}  # by uid, of those that somebody waits for; None: it was deleted
        self._watch: Watch | None = None
        self._closed = False
        self.calls = Calls(f"{lineage}/tasks")
        self.parent = self._ask("GET", assignment.path).body

    def names_of(self, task: str, arguments: str) -> Callable[[int], str]:
        """The names of one more call of `task`, for each time that it has to be made."""
        base = names.child_run(self.calls.lineage, task, arguments, self.calls.number(task, arguments))
        return lambda take: names.another_take(base, take) if take else base

    def manifest(self, name: str, task: str, spec: Body) -> Body:
        """The run of a task, with what every one of them has."""
        at = self._at
        identity = {"name": at.name, "uid": at.uid}
        owner = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", **identity}
        return {
            "apiVersion": labels.API_VERSION,
            "kind": "FlowRun",
            "metadata": {
                "name": name,
                "labels": {labels.PARENT: at.name, labels.TASK: names.dns_label(task) or "task"},
                "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}],
            },
            "spec": {
                "flowRef": {"name": self.parent["status"]["resolved"]["flow"]["name"]},
                "parent": {**identity, "awaited": True},
                **spec,
            },
        }

    def run(self, body: Body) -> tuple[Body, bool]:
        """Create it, or find it where it is there already; whether it was created. Raises TaskPodRefused."""
        for pause in pauses():
            answer = self._ask("POST", self._at.runs, body)
            if answer.status in (200, 201):
                return answer.body, True
            if answer.status != 409:
                raise TaskPodRefused(f"run {body['metadata']['name']} cannot be made: {answer.body.get('message')}")
            answer = self._ask("GET", f"{self._at.runs}/{body['metadata']['name']}")
            if answer.status == 200:
                return answer.body, False
            time.sleep(pause)
        raise AssertionError("pauses do not end")

    def wait(self, body: Body) -> Body | None:
        """The run once it has ended; None where it was deleted. Raises CancellationRequested after `abandon`."""
        uid = body["metadata"]["uid"]
        if ended(body):
            return body
        with self._changed:
            self._seen[uid] = body
            watched = self._watch is not None
            if not watched and not self._closed:
                self._watch = Watch(self._api.another())
                threading.Thread(target=self._follow, args=(self._watch,), name="penstock-pods", daemon=True).start()
        if watched:  # its end may have been told before anybody waited for it
            answer = self._ask("GET", f"{self._at.runs}/{body['metadata']['name']}")
            self._saw(uid, answer.body if answer.status == 200 and answer.body["metadata"]["uid"] == uid else None)
        with self._changed:
            self._changed.wait_for(lambda: self._closed or ended(self._seen[uid]))
            found = self._seen.pop(uid)
            if not ended(found):
                raise CancellationRequested("its flow ended before it did")
            return found

    def abandon(self) -> None:
        """Wait for none of them any more; the operator ends them with their parent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._watch is not None:
                self._watch.close()

    def _follow(self, watch: Watch) -> None:
        """Watch until `abandon`; after any failure everything is listed anew."""
        selector = f"{labels.PARENT}%3D{self._at.name},{labels.TASK}"
        while not watch.closed:
            try:
                found, version = watch.list(self._at.runs, selector)
                self._listed({body["metadata"]["uid"]: body for body in found})
                for kind, body in watch.events(self._at.runs, selector, version):
                    self._saw(body["metadata"]["uid"], None if kind == "DELETED" else body)
            except Unreachable:
                if not watch.closed:
                    time.sleep(WAIT)

    def _listed(self, found: dict[str, Body]) -> None:
        with self._changed:
            wanted = list(self._seen)
        for uid in wanted:
            self._saw(uid, found.get(uid))

    def _saw(self, uid: str, body: Body | None) -> None:
        with self._changed:
            if uid in self._seen and not ended(self._seen[uid]):
                self._seen[uid] = body
                if ended(body):
                    self._changed.notify_all()

    def _ask(self, method: str, path: str, body: Any = None) -> Answer:
        """The answer, however long the API server is away: what is asked here may be asked again."""
        for pause in pauses():
            try:
                return self._request(method, path, body)
            except Unreachable:
                time.sleep(pause)
        raise AssertionError("pauses do not end")


def ended(body: Body | None) -> bool:
    """Whether nothing follows: it has a terminal state, or is no more."""
    return body is None or ((body.get("status") or {}).get("state") or {}).get("type") in TERMINAL
