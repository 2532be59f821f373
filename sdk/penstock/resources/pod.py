"""Resources of a run, over the API server as the run's service account. Made by `resources.current()` in a pod.

It has a connection of its own: that of the reports belongs to their thread. While the API server is away, a call waits
for it, as the rest of a run does; what it refuses is an error at once.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from ..api import labels
from ..errors import InvalidResource, ResourceExists, ResourceNotFound, ResourceRefused
from ..runner.connection import JSON_PATCH, Answer, Api, Unreachable
from ..runner.connections import pauses
from . import KINDS, Body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..runner.assignment import Assignment

MAX_WAIT = 5.0


class PodResources:
    """The resources of the run's namespace."""

    update_interval = 1.0

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api = api
        self._lock = threading.Lock()
        self.run: Body | None = {"name": assignment.name, "uid": assignment.uid, "attempt": assignment.attempt}
        self.place = f"namespace {assignment.namespace}"
        self._root = f"/apis/{labels.API_VERSION}/namespaces/{assignment.namespace}"

    def close(self) -> None:
        """Let go of the connection."""
        self._api.close()

    def get(self, plural: str, name: str) -> Body | None:
        """The object, or None."""
        answer, _ = self._ask("GET", f"{plural}/{name}")
        return None if answer.status == 404 else self._accepted(answer, plural, name)

    def list(self, plural: str) -> list[Body]:
        """All of a kind."""
        found: list[Body] = []
        token = ""
        while True:
            answer, _ = self._ask("GET", f"{plural}?limit=500{token}")
            body = self._accepted(answer, plural, "")
            found += body.get("items") or []
            further = (body.get("metadata") or {}).get("continue")
            if not further:
                return found
            token = f"&continue={further}"

    def create(self, body: Body) -> Body:
        """Create an object. Raises ResourceExists; our own, whose answer was lost, is no such thing."""
        plural, name = KINDS[body["kind"]], body["metadata"]["name"]
        answer, repeated = self._ask("POST", plural, body)
        if answer.status == 409:
            there = self.get(plural, name) if repeated else None
            if there is not None and there["spec"] == body["spec"]:
                return there
            raise ResourceExists(f"{plural}/{name} exists in {self.place}")
        return self._accepted(answer, plural, name)

    def change(self, plural: str, name: str, fields: Mapping[str, Any]) -> Body:
        """Set fields by JSON pointer. Raises ResourceNotFound."""
        operations = [{"op": "add", "path": path, "value": value} for path, value in fields.items()]
        answer, _ = self._ask("PATCH", f"{plural}/{name}", operations, JSON_PATCH)
        if answer.status == 404:
            raise ResourceNotFound(f"{plural}/{name} is not in {self.place}")
        return self._accepted(answer, plural, name)

    def delete(self, plural: str, name: str) -> bool:
        """Delete an object; whether it was there."""
        answer, repeated = self._ask("DELETE", f"{plural}/{name}")
        if answer.status == 404:
            return repeated
        self._accepted(answer, plural, name)
        return True

    def _accepted(self, answer: Answer, plural: str, name: str) -> Body:
        if answer.status < 400:
            return answer.body
        message = answer.body.get("message") or f"HTTP {answer.status}"
        if answer.status == 403:
            raise ResourceRefused(f"{plural}/{name}: the API server does not let this run: {message}")
        raise InvalidResource(f"{plural}/{name}: {message}")

    def _ask(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[Answer, bool]:
        """Ask until there is an answer that is not `later`; and whether an earlier try may have arrived."""
        waits, repeated = pauses(most=MAX_WAIT), False
        while True:
            pause = 0.0
            try:
                answer = self._once(method, f"{self._root}/{path}", body, content_type)
                if not answer.later:
                    return answer, repeated
                pause = answer.retry_after
                repeated = repeated or answer.status >= 500
            except Unreachable:
                repeated = True
            time.sleep(max(pause, next(waits)))

    def _once(self, method: str, path: str, body: Any, content_type: str) -> Answer:
        with self._lock:
            try:
                return self._api.request(method, path, body, content_type)
            except BaseException:
                self._api.close()  # a timeout or a cancellation may have left an answer unread
                raise
