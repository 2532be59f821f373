"""Processes of runs that were deleted while a warm worker had them: until they end they hold what their runs held.

`controller.orphans` keeps them, `reconcile.orphans` asks whether they are over. Of a pod its object would tell that,
which outlives its run; of a process there is what the worker says on its Lease, and else how long it may take at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from penstock.api import workers

from . import places
from .admission import Line
from .views import LeaseView, RunView

MARGIN = timedelta(seconds=25)
"""In which a worker that renews its Lease has heard of a deletion, and after SIGKILL nothing is left."""

PATIENCE = timedelta(seconds=workers.GRACE_SECONDS) + MARGIN
"""After which the process is gone, of a worker that is in contact and says nothing of it."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process that may go on for a while, though its run is no more."""

    namespace: str
    name: str
    uid: str
    """Of the run, as its name is."""
    worker: str
    worker_uid: str
    held: Line
    """Limits of admission."""
    deployment: str | None
    until: datetime
    """When it is over, if its worker does not say until then that it is still there."""
    sure: bool = False
    """The run was looked for, and was not found."""

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name


def of_run(run: RunView, now: datetime) -> Orphan:
    """What a run leaves behind that is noticed to be gone, and that a worker had."""
    at = run.status["worker"]
    held = () if places.exempt(run) or "pool" not in run.resolved else places.held(run)
    deployment = places.deployment_name(run)
    return Orphan(run.namespace, run.name, run.uid, at["name"], at["uid"], held, deployment, now + PATIENCE)


def said(lease: LeaseView, now: datetime) -> Iterator[Orphan]:
    """What a worker says to have still."""
    namespace = str(lease.metadata["namespace"])
    for run in lease.deleted_runs:
        if not run.ended:
            admitted = run.admitted
            queue, tags = (admitted.queue, admitted.tags or ()) if admitted else (None, ())
            held = places.line(namespace, lease.pool, run.deployment, queue, tags, warm=True) if admitted else ()
            yield Orphan(namespace, run.name, run.uid, lease.worker, lease.holder, held, run.deployment, now + PATIENCE)


def over(orphan: Orphan, lease: LeaseView | None, now: datetime, *, lost: bool, quiet: float) -> bool:
    """Whether nothing of it runs any more.

    `lease`: its worker's. `lost`: so is the worker. `quiet`: seconds since the Lease was heard to change; while it is
    not renewed, nobody may have told the worker that the run is deleted, and then no time says anything.
    """
    said = lease.deleted_runs if lease is not None and lease.holder == orphan.worker_uid else []
    if lost or any(run.ended and run.uid == orphan.uid for run in said):
        return True
    return now >= orphan.until and quiet < MARGIN.total_seconds()
