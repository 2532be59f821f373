"""Flow runs that go on in the cluster, as SDK code sees them: a value made of the resource, and waiting for its end.

Called by `run_deployment` and `wait_for_flow_run`, inside and outside of pods. Imports the client only when used.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .api.states import StateType
from .states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .client import Client

Body = dict[str, Any]
WATCH_SECONDS = 300
SOON = 1.0  # seconds: a watch that ends earlier without an event is tried again after a pause


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A flow run in the cluster as it was when it was last seen."""

    id: str
    """Its uid."""
    name: str
    """Name of the FlowRun."""
    namespace: str
    """Where it is."""
    deployment: str | None
    """Name of its FlowDeployment."""
    state: State[Any] | None
    """Its state; None before anybody has looked at it. `state.result()` is its value or raises."""
    parameters: Mapping[str, Any]
    """What it was given."""
    tags: tuple[str, ...]
    """Its tags."""
    body: Body
    """The whole resource."""

    @classmethod
    def of(cls, body: Body) -> FlowRun:
        """The run that a resource says."""
        metadata, spec, status = body["metadata"], body["spec"], body.get("status") or {}
        return cls(
            metadata["uid"],
            metadata["name"],
            metadata["namespace"],
            (spec.get("deploymentRef") or {}).get("name"),
            state_of(body),
            status.get("parameters") or spec.get("parameters") or {},
            tuple(spec.get("tags") or ()),
            body,
        )


def state_of(body: Body) -> State[Any] | None:
    """The state of a FlowRun; a Completed one has its result, where that stands in the resource."""
    status = body.get("status") or {}
    held = status.get("state")
    if held is None:
        return None
    kind = StateType(held["type"])
    value = (status.get("result") or {}).get("inline") if kind is StateType.COMPLETED else None
    return State(
        kind,
        held["name"],
        held.get("message") or None,
        value,
        reason=held.get("reason") or None,
        run_id=body["metadata"]["uid"],
        at=datetime.fromisoformat(held["time"].replace("Z", "+00:00")).timestamp(),
    )


def connect(namespace: str | None = None) -> Client:
    """A client for `namespace`: in a pod the run's, else PENSTOCK_NAMESPACE, else the kubeconfig's."""
    from .client import Client
    from .kubeconfig import access

    return Client(access(), namespace)


def wait_for_end(body: Body, timeout: float | None, poll_interval: float, connect: Callable[[str], Client]) -> Body:
    """The run when it has ended, or as it is after `timeout` seconds. Raises NotFound where it was deleted.

    It is watched; where no watch comes about, it is looked at every `poll_interval` seconds. An API server that is
    away is waited for.
    """
    from .client import ApiError, NotFound
    from .kubeconfig import ClusterUnavailable

    end = None if timeout is None else time.monotonic() + timeout
    name, namespace, uid = (body["metadata"][key] for key in ("name", "namespace", "uid"))

    def left() -> float:
        return float(WATCH_SECONDS) if end is None else end - time.monotonic()

    while True:
        with connect(namespace) as client:  # afresh: the token of a pod is renewed meanwhile
            while not _ended(body) and left() > 0:
                began, seen = time.monotonic(), False
                seconds = max(1, min(WATCH_SECONDS, int(left())))
                for event in client.watch("flowruns", name, body["metadata"]["resourceVersion"], seconds):
                    seen = True
                    body = event["object"]
                    if event["type"] == "DELETED" or _ended(body) or left() <= 0:
                        break
                if _ended(body) or left() <= 0:
                    break
                if not seen and time.monotonic() - began < SOON:
                    time.sleep(max(0.0, min(poll_interval, left())))
                try:
                    body = client.get("flowruns", name)
                except (ClusterUnavailable, ApiError) as error:
                    if isinstance(error, ApiError) and error.status == 401:
                        break
                    if not passing(error):
                        raise
                    time.sleep(max(0.0, min(poll_interval, left())))
                if body["metadata"]["uid"] != uid:
                    raise NotFound(404, f"flow run {name} was deleted; another one has its name", "NotFound")
        if _ended(body) or left() <= 0:
            return body


def passing(error: Exception) -> bool:
    """Whether the same request may succeed later: the API server is away, or says that it is busy."""
    from .client import ApiError
    from .kubeconfig import ClusterUnavailable

    return isinstance(error, ClusterUnavailable) or (
        isinstance(error, ApiError) and (error.status == 429 or error.status >= 500)
    )


def _ended(body: Body) -> bool:
    state = (body.get("status") or {}).get("state")
    return state is not None and StateType(state["type"]).terminal
