"""The Job of an attempt, for pools of type Job: one pod, no retries of its own."""

from __future__ import annotations

from penstock.api import labels

from . import pods
from .pods import Body, Launch


def job(launch: Launch) -> Body:
    """The Job, owned by its run. It may start its pod twice; the claim decides, so its backoffLimit is 0.

    What Kueue reads stands on the Job: on the pod, Kueue would take it for one of its own, and gate that, too.
    """
    template = pods.template(launch)
    of_template = template["metadata"]["labels"]
    of_kueue = {key: of_template.pop(key) for key in list(of_template) if key.startswith(labels.KUEUE)}
    ttl = launch.pool.get("podTTLSecondsAfterFinished")
    meta = {
        "name": launch.name,
        "namespace": launch.run["metadata"]["namespace"],
        "labels": {**pods.run_labels(launch.run), **of_kueue},
        "ownerReferences": [pods.owner(launch.run)],
    }
    spec = {"backoffLimit": 0, "podReplacementPolicy": "Failed", "template": template}
    if (
        labels.LOGS_ARCHIVE not in template["metadata"]["annotations"]
    ):  # else the operator deletes it, once that is done
        spec["ttlSecondsAfterFinished"] = pods.DEFAULT_POD_TTL if ttl is None else ttl
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec}
