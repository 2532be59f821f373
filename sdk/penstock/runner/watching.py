"""A watch of the API server on a connection of its own: events as they come, until the server or the caller ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .connection import TIMEOUT, Api, Unreachable

WATCH_SECONDS = 300


class Watch:
    """Follows one collection. `events` and `close` may be called by different threads, `events` by one at a time."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.closed = False

    def close(self) -> None:
        """Let `events` end."""
        self.closed = True
        self._api.shut()

    def list(self, path: str, selector: str) -> tuple[list[dict[str, Any]], str]:
        """What is there, and the version to watch from. Raises Unreachable."""
        answer = self._api.request("GET", f"{path}?labelSelector={selector}")
        if answer.status != 200:
            raise Unreachable(f"{answer.status} {answer.body.get('message')}")
        return answer.body["items"], answer.body["metadata"]["resourceVersion"]

    def events(
        self, path: str, selector: str, version: str, *, by: str = "labelSelector"
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """(type, object) of each change after `version`. Ends when the server ends it. Raises Unreachable."""
        query = f"{by}={selector}&resourceVersion={version}&watch=1&timeoutSeconds={WATCH_SECONDS}"
        for line in self._api.lines(f"{path}?{query}", WATCH_SECONDS + TIMEOUT):
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise Unreachable(str(event["object"].get("message")))
            yield event["type"], event["object"]
