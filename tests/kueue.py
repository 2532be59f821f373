"""Kueue, the real one, on the node of `make cluster`: its program in an image, installed with its own Helm chart."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from installation import ROOT, Penstock
from penstock_cluster import binaries, images
from penstock_cluster.layout import Layout

Json = dict[str, Any]
API = "kueue.x-k8s.io/v1beta2"
NAMESPACE, DEPLOYMENT = "kueue-system", "deployment/kueue-controller-manager"
IMAGE, TAG = "localhost/kueue", "dev"
DOCKERFILE = 'ARG BASE\nFROM ${BASE}\nCOPY kueue /manager\nUSER 65532:65532\nENTRYPOINT ["/manager"]\n'


def quota(name: str, namespace: str, cpu: str) -> list[Json]:
    """A queue in which so much CPU may be asked for at once; a higher priority takes it from a lower."""
    share = {"flavors": [{"name": name, "resources": [{"name": "cpu", "nominalQuota": cpu}]}]}
    return [
        {"apiVersion": API, "kind": "ResourceFlavor", "metadata": {"name": name}},
        {
            "apiVersion": API,
            "kind": "ClusterQueue",
            "metadata": {"name": name},
            "spec": {
                "namespaceSelector": {},
                "preemption": {"withinClusterQueue": "LowerPriority"},
                "resourceGroups": [{"coveredResources": ["cpu"], **share}],
            },
        },
        {
            "apiVersion": API,
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterQueue": name},
        },
    ]


def apply(penstock: Penstock, *objects: Json) -> None:
    """Apply objects once Kueue's webhooks can be reached, some time after it is ready."""
    words = (str(ROOT / ".cluster/bin/kubectl"), "--namespace", penstock.namespace, "apply", "--filename", "-")
    documents, deadline = "\n".join(json.dumps(body) for body in objects), time.monotonic() + 60
    while penstock.command(*words, stdin=documents, check=time.monotonic() > deadline).returncode:
        time.sleep(0.3)


@contextmanager
def installed(penstock: Penstock, folder: Path) -> Iterator[None]:
    """Kueue at work on the Jobs and Pods of Penstock's namespace; afterwards there is nothing of it any more."""
    helm, chart = str(ROOT / ".cluster/bin/helm"), _chart(penstock.namespace, folder)
    kubectl, where = str(ROOT / ".cluster/bin/kubectl"), ("--namespace", NAMESPACE)
    try:
        penstock.command(helm, "upgrade", "--install", "kueue", *chart, *where, "--create-namespace")
        # It makes its certificate itself, and would see it in its volume in a minute or two; a new pod has it at once.
        # The old one goes first, so that no webhook is asked of a pod that is gone.
        certificate = ("secret/kueue-webhook-server-cert", r"--for=jsonpath={.data.tls\.crt}")
        penstock.command(kubectl, *where, "wait", *certificate, "--timeout=60s")
        penstock.command(kubectl, *where, "scale", DEPLOYMENT, "--replicas=0")
        penstock.command(kubectl, *where, "wait", "pods", "--all", "--for=delete", "--timeout=60s")
        penstock.command(kubectl, *where, "scale", DEPLOYMENT, "--replicas=1")
        penstock.command(kubectl, *where, "rollout", "status", DEPLOYMENT, "--timeout=100s")
        yield
    finally:
        try:
            penstock.command(helm, "uninstall", "kueue", *where, "--ignore-not-found", "--wait", "--timeout", "100s")
        finally:
            penstock.command(kubectl, "delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=60s")


def _chart(namespace: str, folder: Path) -> tuple[str, str, str]:
    """The chart and its settings; the image is on the node then."""
    programs = binaries.ensure((*binaries.MODULES, binaries.KUEUE))
    shutil.copy(programs / "kueue", folder)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    images.build(Layout(ROOT), f"{IMAGE}:{TAG}", folder / "Dockerfile", folder, {}, load_it=True)
    mine = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    configuration = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": ":8081"},
        "metrics": {"bindAddress": ":8443"},
        "webhook": {"port": 9443},
        "leaderElection": {"leaderElect": False},
        "managedJobsNamespaceSelector": mine,
        "integrations": {"frameworks": ["batch/job", "pod"]},
    }
    manager = {
        "image": {"repository": IMAGE, "tag": TAG, "pullPolicy": "Never"},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }
    values = {
        "controllerManager": {"manager": manager, "readinessProbe": {"initialDelaySeconds": 1, "periodSeconds": 1}},
        "managerConfig": {"controllerManagerConfigYaml": yaml.safe_dump(configuration)},
    }
    (folder / "values.json").write_text(json.dumps(values))
    chart = binaries.source_of(binaries.KUEUE, "sigs.k8s.io/kueue") / "charts/kueue"
    return str(chart), "--values", str(folder / "values.json")
