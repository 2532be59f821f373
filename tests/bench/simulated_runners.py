"""Plays the runners of many pods in one event loop: the patches are those that the real runner's code makes.

`RunStatus` and `Pages` make them for a connection that takes down what it is asked for and says yes; what was taken
down is then sent. The end of a pod is said by a write of its status, as its kubelet's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from penstock.api import labels
from penstock.api.states import StateType
from penstock.engine.records import TaskRecord
from penstock.runner.assignment import Assignment
from penstock.runner.connection import Answer, Api
from penstock.runner.pages import Pages
from penstock.runner.status import RunStatus, timestamp
from penstock_operator.cluster import FLOW_RUNS, PODS, ApiCluster, ResourceType

Json = dict[str, Any]
PAGES = ResourceType(labels.GROUP, labels.VERSION, "taskrunpages", "TaskRunPage")
BARE = "bench.penstock.dev/bare"


class Notepad:
    """An `Api` that takes down every request and accepts it."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def request(self, method: str, path: str, body: Any = None, _: str = "") -> Answer:
        """As `connection.Api` does."""
        self.asked.append((method, body))
        return Answer(200 if method != "POST" else 201, {})


def writes(assignment: Assignment) -> Iterator[tuple[str, Any]]:
    """What the runner of a flow with one short task writes: its claim, a page, its end."""
    pad = Notepad()
    status, pages = RunStatus(cast(Api, pad), assignment), Pages(cast(Api, pad), assignment)
    status.claim()
    now = time.time()
    ended = ("Completed", "Completed", 1, now, now, now, (), None, None)
    pages.note(TaskRecord("t1", "square", "f.square-1a2b", "square-0", *ended))
    pages.write()
    extra = [
        {"op": "add", "path": "/status/endTime", "value": timestamp(now)},
        {"op": "add", "path": "/status/runCount", "value": 1},
        {"op": "add", "path": "/status/duration", "value": "0s"},
        {"op": "add", "path": "/status/tasks", "value": pages.status()},
        {"op": "add", "path": "/status/result", "value": {"inline": 30}},
    ]
    status.enter(StateType.COMPLETED, "Completed", "Completed", "", now, extra)
    yield from pad.asked


@dataclass
class SimulatedRunners:
    """Watches the pods of a namespace and plays what runs in them."""

    cluster: ApiCluster
    namespace: str
    hold: bool = False  # pods claim, and go on for ever
    seen: dict[str, float] = field(default_factory=dict)  # pod name -> when it was first heard of
    ended: dict[str, float] = field(default_factory=dict)  # pod name -> when its end was written
    _playing: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self) -> None:
        """Until cancelled."""
        version = ""
        async for page in self.cluster.list_pages(PODS, self.namespace):
            version = page.resource_version
        while True:
            watch = self.cluster.watch(PODS, self.namespace, resource_version=version, timeout_seconds=3000)
            async for event in watch:
                version = event.object["metadata"]["resourceVersion"]
                if event.type in ("ADDED", "MODIFIED"):
                    self._look(event.object)

    def _look(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        self.seen.setdefault(name, time.monotonic())
        if pod["status"].get("phase") == "Running" and name not in self._playing:
            self._playing.add(name)
            task = asyncio.create_task(self._play(pod))
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _play(self, pod: Json) -> None:
        meta = pod["metadata"]
        if BARE not in (meta.get("labels") or {}):
            container = next(c for c in pod["spec"]["containers"] if c["name"] == labels.CONTAINER)
            given = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
            given |= {labels.ENV_POD_NAME: meta["name"], labels.ENV_POD_UID: meta["uid"]}
            assignment = Assignment(given)
            for method, body in writes(assignment):
                if method == "PATCH":
                    path = (FLOW_RUNS, self.namespace, assignment.name)
                    await self.cluster.patch(*path, body, subresource="status")
                else:
                    await self.cluster.create(PAGES, self.namespace, body)
                if self.hold:
                    return
        ended = [
            {"op": "add", "path": "/status/phase", "value": "Succeeded"},
            {"op": "add", "path": "/status/containerStatuses", "value": _ended()},
        ]
        await self.cluster.patch(PODS, self.namespace, meta["name"], ended, subresource="status")
        self.ended[meta["name"]] = time.monotonic()


def _ended() -> list[Json]:
    now = timestamp(time.time())[:19] + "Z"
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}}
    told = {"name": labels.CONTAINER, "image": "none", "imageID": "none", "ready": False, "restartCount": 0}
    return [{**told, "state": state}]
