"""What a worker says of itself on its Lease, which its agent writes and the operator reads: one definition for both."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field

from .schema import Model, Uid

LEASE_SECONDS = 30
"""`spec.leaseDurationSeconds`: a worker outside the cluster whose Lease stays the same for so long may be lost."""

RENEW_SECONDS = 10
"""A worker renews its Lease so often."""

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
