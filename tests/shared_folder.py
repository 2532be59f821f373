"""A result store that pods share on the node of `make cluster`: a folder, behind a claim.

Pods of the restricted namespace reach it by that, for they may have claims, and what is behind one is the
administrator's to say.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from installation import IMAGE, Penstock

API = "penstock.dev/v1alpha1"
FOLDER = "/var/tmp/penstock-e2e-results"  # on the node


@pytest.fixture(scope="session")
def shared(penstock: Penstock) -> Iterator[str]:
    """A pool whose pods share a folder of the node."""
    meta = {"name": "penstock-e2e-results"}
    storage = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "resources": {"requests": {"storage": "1Gi"}}}
    opening = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "penstock-e2e-results", "namespace": "default"},
        "spec": {
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "open",
                    "image": IMAGE,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-c", "import os; os.chmod('/results', 0o777)"],
                    "securityContext": {"runAsUser": 0, "runAsGroup": 0},
                    "volumeMounts": [{"name": "results", "mountPath": "/results"}],
                }
            ],
            "volumes": [{"name": "results", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}}],
        },
    }
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": meta,
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": FOLDER},
            "claimRef": {"namespace": penstock.namespace, "name": "results"},
        },
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "results"},
        "spec": {**storage, "volumeName": "penstock-e2e-results"},
    }
    container = {
        "name": "flow",
        "volumeMounts": [{"name": "results", "mountPath": "/results"}],
    }
    template = {
        "spec": {
            "containers": [container],
            "volumes": [{"name": "results", "persistentVolumeClaim": {"claimName": "results"}}],
        }
    }
    results = {"url": "file:///results", "shared": True}
    pool = {"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "shared"}}
    kubectl = ".cluster/bin/kubectl"
    penstock.command(kubectl, "apply", "--filename", "-", stdin=json.dumps(opening))
    done = "jsonpath={.status.phase}=Succeeded"
    penstock.command(
        kubectl, "--namespace", "default", "wait", "pod/penstock-e2e-results", "--for", done, "--timeout=90s"
    )
    penstock.command(kubectl, "apply", "--filename", "-", stdin=json.dumps(volume))
    penstock.apply(claim, {**pool, "spec": {"type": "Pod", "template": template, "results": results}})
    yield "shared"
    penstock.delete(pool, claim)
    penstock.command(kubectl, "delete", "pv", "penstock-e2e-results", "--ignore-not-found", "--wait=false")
    penstock.command(
        kubectl, "--namespace", "default", "delete", "pod", "penstock-e2e-results", "--ignore-not-found", "--wait=false"
    )
