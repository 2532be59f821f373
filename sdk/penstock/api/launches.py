"""What the process of an attempt is told: its environment, made of the run alone; and whether it takes a place.

Called by the operator for the pods it makes, and by the agents of warm workers for their processes. Where the code
lies and who the pod is, they add; what flow, pool and deployment say of the environment is not here.
"""

from __future__ import annotations

from typing import Any

from . import labels

Body = dict[str, Any]


def environment(run: Body) -> dict[str, str]:
    """The variables by which the runner finds its run and what fences it. Pure; `run` is launched."""
    meta, status = run["metadata"], run["status"]
    values = {
        labels.ENV_NAMESPACE: meta["namespace"],
        labels.ENV_RUN: meta["name"],
        labels.ENV_RUN_UID: meta["uid"],
        labels.ENV_ATTEMPT: str(status["attempt"]),
        labels.ENV_SEQ: str(status["state"]["seq"]),
        labels.ENV_ENTRYPOINT: status["resolved"]["entrypoint"],
    }
    if "startTime" in status:
        values[labels.ENV_STARTED] = "true"
    if "deployment" in status["resolved"]:
        values[labels.ENV_DEPLOYMENT] = status["resolved"]["deployment"]["name"]
    return values


def is_awaited(spec: Body) -> bool:
    """Whether a run is a task that its parent waits for: the parent's slots are enough for both."""
    return "task" in spec and bool((spec.get("parent") or {}).get("awaited"))
