"""Whether deployments can be used: the operator's word on what was applied. For `penstock deploy` and Python's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .api import reasons

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .applying import Applied, Body
    from .client import Client

READY_SECONDS = 5.0  # how long the operator is waited for
POLL_SECONDS = 0.1
# The deployment may be right, and wait for these.
COMING = frozenset({reasons.FLOW_NOT_FOUND, reasons.POOL_NOT_FOUND, reasons.QUEUE_NOT_FOUND})


@dataclass(frozen=True, slots=True)
class Readiness:
    """What the operator says of a FlowDeployment."""

    name: str
    ready: bool | None = None
    """None: it has not looked at it as it is now."""
    reason: str = ""
    message: str = ""

    @property
    def wrong(self) -> bool:
        """Whether the deployment must be mended, rather than something be applied beside it."""
        return self.ready is False and self.reason not in COMING

    def __str__(self) -> str:
        if self.ready is None:
            return f"The operator has not looked at {self.name} yet: is it running?"
        return f"{self.name} is ready" if self.ready else f"{self.name} is not ready: {self.reason}: {self.message}"


def said_of(body: Body) -> Readiness:
    """The word on this generation of a FlowDeployment."""
    meta = body["metadata"]
    conditions = (body.get("status") or {}).get("conditions") or ()
    ready = next((condition for condition in conditions if condition["type"] == reasons.READY), None)
    if ready is None or (ready.get("observedGeneration") or 0) < meta["generation"]:
        return Readiness(meta["name"])
    return Readiness(meta["name"], ready["status"] == "True", ready["reason"], ready["message"])


def await_readiness(client: Client, applied: Sequence[Applied]) -> list[Readiness]:
    """The word on each FlowDeployment among them, waited for a moment in all.

    A bad word on one that was not changed may be older than what was: it is looked at until the moment is over.
    """
    deadline = time.monotonic() + READY_SECONDS
    return [_awaited(client, each, deadline) for each in applied if each.after["kind"] == "FlowDeployment"]


def _awaited(client: Client, applied: Applied, deadline: float) -> Readiness:
    changed = applied.result != "unchanged"
    while True:
        found = said_of(client.get("flowdeployments", applied.after["metadata"]["name"]))
        if found.ready or (found.ready is False and changed) or time.monotonic() > deadline:
            return found
        time.sleep(POLL_SECONDS)
