"""Whose a pod or a Job is: names are freed by deletion, uids are not."""

from __future__ import annotations

from penstock.api import labels

from .views import Body, RunView


def controller(body: Body) -> Body | None:
    """The owner that controls an object, None for none."""
    owners = body["metadata"].get("ownerReferences") or []
    return next((owner for owner in owners if owner.get("controller")), None)


def controller_uid(body: Body) -> str | None:
    """uid of the owner that controls an object, None for none."""
    owner = controller(body)
    return str(owner["uid"]) if owner else None


def run_uid(body: Body) -> str | None:
    """uid of the run that a pod or a Job was launched for: its owner's, or that which its Job's template says."""
    owner = controller(body)
    if owner is None:
        return None
    if owner["kind"] != "Job":
        return str(owner["uid"])
    environment = next((c.get("env") or [] for c in body["spec"]["containers"] if c["name"] == labels.CONTAINER), [])
    return next((str(e.get("value")) for e in environment if e["name"] == labels.ENV_RUN_UID), None)


def belongs(body: Body, run: RunView) -> bool:
    """Whether a pod or a Job is of this run, not of a namesake."""
    return run_uid(body) == run.uid
