"""A worker that is a pod of the operator's: what its agent is told by the environment. Called by the agent's `main`."""

from __future__ import annotations

import os
from pathlib import Path

from ..api import labels
from ..api.workers import WorkerFacts, WorkerPod
from .lease import Worker
from .membership import WorkerRefused, version


def in_pod() -> tuple[Worker, Path, float]:
    """The worker that this pod is, its folder and its grace. Raises WorkerRefused for what the operator did not say."""
    names = (
        labels.ENV_WORKER_NAME,
        labels.ENV_WORKER_POOL,
        labels.ENV_WORKER_DIR,
        labels.ENV_NAMESPACE,
        labels.ENV_POD_NAME,
        labels.ENV_POD_UID,
    )
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise WorkerRefused(f"{', '.join(missing)} not set: the operator sets them in the pods of workers")
    name, pool, folder, namespace, pod, uid = (os.environ[name] for name in names)
    facts = WorkerFacts(
        uid=uid,
        slots=int(os.environ.get(labels.ENV_WORKER_SLOTS) or 1),
        version=version(),
        pod=WorkerPod(name=pod, uid=uid),
    )
    return Worker(name, namespace, pool, facts), Path(folder), float(os.environ.get(labels.ENV_WORKER_GRACE) or 0)
