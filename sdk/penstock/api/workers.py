"""What a worker says of itself on its Lease, which its agent writes and the operator reads: one definition for both."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from .attempts import Admitted
from .schema import Model, Uid

LEASE_SECONDS = 30
"""`spec.leaseDurationSeconds`: a worker outside the cluster whose Lease stays the same for so long may be lost."""

RENEW_SECONDS = 10
"""A worker renews its Lease so often."""

GRACE_SECONDS = 20
"""Seconds between SIGTERM and SIGKILL of a run's process, as pods have 30 in all."""

MAX_DELETED = 64
"""Processes of deleted runs that a Lease names at most."""

LONGEST_LEASE = 3600
"""Seconds that are believed of a Lease that says more."""


WorkerType = Literal["process", "docker"]


class WorkerPod(Model):
    """The pod that a worker is, where the operator made it."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Its name, which is the worker's."""
    uid: Uid
    """Its uid, which is the worker's."""


class WorkerFacts(Model):
    """The annotation `penstock.dev/worker` of a Lease, as JSON."""

    uid: Annotated[str, Field(min_length=1, max_length=64)]
    """Identity of the process that holds the Lease: that of its pod in a pod, another with each start elsewhere."""
    slots: Annotated[int, Field(ge=1, le=1000)]
    """Runs at once."""
    preloaded: Annotated[list[str], Field(max_length=64)] = Field(default_factory=list)
    """Modules that were imported before the first run."""
    version: Annotated[str, Field(max_length=64)] = ""
    """Version of Penstock."""
    type: WorkerType = "process"
    """What a run is there: a forked process, or a container of Docker or Podman."""
    pod: WorkerPod | None = None
    """Set only by workers whose pod the operator made: then the pod says whether the worker lives, not the Lease."""

    def annotation(self) -> str:
        """The annotation's value."""
        return self.model_dump_json(by_alias=True, exclude_none=True)


@lru_cache(256)  # each look at a run asks this of its worker
def facts(annotation: str | None) -> WorkerFacts | None:
    """What the annotation says; None where it says nothing that can be understood."""
    try:
        return WorkerFacts.model_validate_json(annotation or "")
    except ValueError:
        return None


class DeletedRun(Model):
    """A run that was deleted while it had a process in the worker: that process, and what it holds until it has ended.

    What a run held is said with it, for whoever comes to lead meanwhile finds the run no more.
    """

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """The run's name."""
    uid: Uid
    """The run's uid."""
    ended: bool = False
    """Its process is gone; what it held is not said any more."""
    deployment: Annotated[str, Field(max_length=253)] | None = None
    """The deployment that it was of."""
    admitted: Admitted | None = None
    """As in its status; None: it held no slots, for a run that did waited for it."""


_DELETED_RUNS = TypeAdapter(list[DeletedRun])


def deleted_runs_annotation(runs: Iterable[DeletedRun]) -> str:
    """The annotation `penstock.dev/deleted-runs` of a Lease."""
    return _DELETED_RUNS.dump_json(list(runs)[:MAX_DELETED], by_alias=True, exclude_none=True).decode()


def deleted_runs(annotation: str | None) -> list[DeletedRun]:
    """What that annotation says; nothing where it says nothing that can be understood."""
    try:
        return _DELETED_RUNS.validate_json(annotation or "[]")[:MAX_DELETED]
    except ValueError:
        return []
