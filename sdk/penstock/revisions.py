"""What was deployed before, and going back to it. Called by `penstock rollback` and `history`.

The operator keeps each generation of a deployment and of a flow as a ControllerRevision: the last ten at least that
differ in more than what is suspended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .api import labels
from .applying import ROLLBACK
from .errors import PenstockError
from .schedules.slots import present
from .schedules.suspension import as_deployed, unsuspended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .api.schema import Kind
    from .client import Client

Body = dict[str, Any]


class NoRevision(PenstockError):
    """There is nothing to go back to; the message says what there is."""

    reason = "NoRevision"


@dataclass(frozen=True, slots=True)
class Revision:
    """One generation of a deployment or a flow."""

    number: int
    """metadata.generation of that time."""
    spec: Body
    time: str
    """When it was kept."""
    body: Body
    """The ControllerRevision."""


def history(client: Client, kind: Kind, owner: Body) -> list[Revision]:
    """The revisions that are kept of an object, the oldest first."""
    meta = owner["metadata"]
    selector = f"{labels.OWNER_KIND}={kind.kind},{labels.OWNER_NAME}={meta['name'][:63]}"
    found = [
        Revision(body["revision"], body["data"], body["metadata"]["creationTimestamp"], body)
        for body in client.list("controllerrevisions", label_selector=selector)
        if (body["metadata"].get("annotations") or {}).get(labels.OWNER_UID) == meta["uid"]
    ]
    return sorted(found, key=lambda revision: revision.number)


def differences(before: Body | None, after: Body) -> list[str]:
    """The fields of the spec that differ."""
    old = before or {}
    return sorted(field for field in {*old, *after} if old.get(field) != after.get(field))


def restored(now: Body, then: Body) -> Body:
    """The spec of that time, as it would be now: what is suspended stays so, and what is not does too.

    So does a schedule that was not there at that time: who deploys it again finds it suspended.
    """
    spec = unsuspended(then)
    if "suspend" in now:
        spec["suspend"] = now["suspend"]
    held = {schedule["slug"]: schedule for schedule in now.get("schedules") or ()}
    back = [_restored_schedule(held.pop(each["slug"], None), each) for each in present(then)]
    kept = [{"slug": slug, "suspend": True} for slug, schedule in held.items() if schedule.get("suspend")]
    if kept or "schedules" in then:
        spec["schedules"] = [*back, *kept]
    return spec


def _restored_schedule(now: Body | None, then: Body) -> Body:
    if now is None:
        return then
    kept = unsuspended(then)
    return {**kept, "suspend": now["suspend"]} if "suspend" in now else kept


def chosen(revisions: Sequence[Revision], now: Body, number: int | None) -> Revision:
    """The revision of that number, else the newest that differs from what is deployed. Raises NoRevision."""
    known = ", ".join(str(revision.number) for revision in revisions)
    if number is not None:
        for revision in revisions:
            if revision.number == number:
                return revision
        raise NoRevision(f"there is no revision {number}; there are {known}" if known else "no revision is kept yet")
    same = as_deployed(now)
    for revision in reversed(revisions):
        if as_deployed(revision.spec) != same:
            return revision
    raise NoRevision("no other revision is kept" + (f" ({known} are the same)" if len(revisions) > 1 else ""))


def roll_back(client: Client, kind: Kind, owner: Body, revision: Revision, *, dry_run: bool = False) -> Body:
    """Make the spec that of the revision, if nobody has changed the object meanwhile (`Conflict`)."""
    meta = owner["metadata"]
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]},
        {"op": "replace", "path": "/spec", "value": restored(owner["spec"], revision.spec)},
    ]
    return client.patch(kind.plural, meta["name"], operations, manager=ROLLBACK, dry_run=dry_run)
