"""The Lease that is a worker: how it begins, is renewed, and ends. Pure; the agent sends what is made here.

The operator counts the workers of a pool by these Leases, and hears by them that one outside of the cluster is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..api import labels, names
from ..api.workers import LEASE_SECONDS, DeletedRun, WorkerFacts, deleted_runs_annotation

Body = dict[str, Any]
Ops = list[dict[str, Any]]
OUT_OF_CONTACT = LEASE_SECONDS * 2 / 3
"""Seconds after which a worker outside of the cluster ends its runs, so that they are over before it counts as lost."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, as its Lease says it."""

    name: str
    namespace: str
    pool: str
    facts: WorkerFacts

    @property
    def path(self) -> str:
        """URL path of Leases."""
        return f"/apis/coordination.k8s.io/v1/namespaces/{self.namespace}/leases"

    @property
    def lease(self) -> str:
        """Name of the Lease."""
        return names.worker_lease(self.name)


def created(worker: Worker, now: str) -> Body:
    """The Lease of a worker that begins."""
    meta: Body = {
        "name": worker.lease,
        "labels": {
            labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
            labels.COMPONENT: labels.WORKER,
            labels.POOL: worker.pool,
        },
        "annotations": {labels.WORKER_FACTS: worker.facts.annotation()},
    }
    if worker.facts.pod is not None:
        pod = worker.facts.pod
        meta["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid}]
    spec = {
        "holderIdentity": worker.facts.uid,
        "leaseDurationSeconds": LEASE_SECONDS,
        "acquireTime": now,
        "renewTime": now,
    }
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}


def taken_over(worker: Worker, version: str, now: str) -> Body:
    """A merge patch by which the Lease of a worker that is gone becomes this one's, while it is of that version."""
    body = created(worker, now)
    meta = body["metadata"]
    annotations = {**meta["annotations"], labels.DRAIN: None, labels.DELETED_RUNS: None}
    return {"metadata": {**meta, "resourceVersion": version, "annotations": annotations}, "spec": body["spec"]}


def renewed(worker: Worker, now: str, *, drain: bool = False, deleted: Iterable[DeletedRun] | None = None) -> Ops:
    """A patch by which the worker stays, as long as the Lease is its own; `drain`: it wants no more runs.

    `deleted`: runs that were deleted while they had a process here, where there is anything to say of such.
    """
    ops: Ops = [
        {"op": "test", "path": "/spec/holderIdentity", "value": worker.facts.uid},
        {"op": "add", "path": "/spec/renewTime", "value": now},
    ]
    said = {labels.DRAIN: "true"} if drain else {}
    said |= {} if deleted is None else {labels.DELETED_RUNS: deleted_runs_annotation(deleted)}
    for name, value in said.items():
        ops.append({"op": "add", "path": f"/metadata/annotations/{name.replace('/', '~1')}", "value": value})
    return ops


def holder(lease: Body) -> str:
    """Who holds it."""
    return str((lease.get("spec") or {}).get("holderIdentity") or "")


def draining(lease: Body) -> bool:
    """Whether somebody wants the worker to end when its last run has."""
    return (lease["metadata"].get("annotations") or {}).get(labels.DRAIN) == "true"
