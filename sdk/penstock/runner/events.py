"""Events that user code emits, on their way to the API server as events.k8s.io/v1 Events about the run.

`put` comes from any thread and never waits; `write` from the thread that reports. What finds no room is counted.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from ..api import labels, names
from ..api.bounds import cut
from .assignment import Assignment
from .connection import Api

if TYPE_CHECKING:
    from ..events import Event

MAX_NOTE = 1024
CONTROLLER = f"{labels.GROUP}/run"


class EmittedEvents:
    """The queue of one attempt."""

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api, self._at = api, assignment
        self._lock = threading.Lock()
        self._waiting: deque[Event] = deque()
        self.dropped = 0
        self.refused = 0
        self._told = False

    def put(self, event: Event) -> bool:
        """Take an event, unless too many wait."""
        from ..settings import get_current_settings

        size = get_current_settings().events_queue_size
        with self._lock:
            if len(self._waiting) < size:
                self._waiting.append(event)
                return True
            self.dropped += 1
            first = self.dropped == 1
        if first:
            _warn(f"{size} events wait to be sent: more are dropped, and counted until the run ends")
        return False

    def write(self, *, final: bool = False) -> None:
        """Send what waits, in order. Raises Unreachable; what was not sent is kept."""
        for _ in range(len(self._waiting)):  # not what comes meanwhile: the task records have their turn too
            event = self._waiting[0]
            path = f"/apis/events.k8s.io/v1/namespaces/{self._at.namespace}/events"
            answer = self._api.request("POST", path, body(event, self._at)).decided()
            if answer.status not in (200, 201, 409):  # 409: sent before, by this attempt or an earlier one
                self.refused += 1
                if self.refused == 1:
                    _warn(f"event {event.event} was refused: {answer.body.get('message')}")
            with self._lock:
                self._waiting.popleft()
        lost = self.dropped + self.refused
        if final and lost and not self._told:
            self._told = True
            _warn(f"{lost} events of this run were not sent ({self.dropped} dropped, {self.refused} refused)")


def body(event: Event, at: Assignment) -> dict[str, Any]:
    """The Event; its name is made of the run and the event's id, so that sending twice makes one."""
    from datetime import UTC

    found = {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: at.name, labels.DEPLOYMENT: at.deployment}
    more: dict[str, Any] = {
        labels.EVENT_ID: event.id,
        labels.EVENT_RESOURCE: _json(event.resource),
        labels.EVENT_RELATED: _json(event.related) if event.related else None,
        labels.EVENT_PAYLOAD: _json(event.payload) if event.payload else None,
        labels.EVENT_FOLLOWS: event.follows,
    }
    regarding = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "name": at.name, "uid": at.uid}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": names.emitted_event(at.name, at.uid, event.id),
            "namespace": at.namespace,
            "labels": {key: value for key, value in found.items() if value},
            "annotations": {key: value for key, value in more.items() if value},
        },
        "eventTime": event.occurred.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Normal",
        "reason": event.event,
        "action": "Emitted",
        "note": cut(f"{event.event}: {event.resource['penstock.resource.id']}", MAX_NOTE),
        "reportingController": CONTROLLER,
        "reportingInstance": at.pod_name[:128],
        "regarding": {**regarding, "namespace": at.namespace},
    }


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def _warn(text: str) -> None:
    from ..logging import get_logger

    get_logger("events").warning(text)
