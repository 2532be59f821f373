"""The Job of an attempt, for pools of type Job: one pod, no retries of its own."""

from __future__ import annotations

from . import pods
from .pods import Body, Launch


def job(launch: Launch) -> Body:
    """The Job, owned by its run. It may start its pod twice; the claim decides, so its backoffLimit is 0."""
    template = pods.template(launch)
    ttl = launch.pool.get("podTTLSecondsAfterFinished")
    meta = {
        "name": launch.name,
        "namespace": launch.run["metadata"]["namespace"],
        "labels": pods.run_labels(launch.run),
        "ownerReferences": [pods.owner(launch.run)],
    }
    spec = {
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "ttlSecondsAfterFinished": pods.DEFAULT_POD_TTL if ttl is None else ttl,
        "template": template,
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
