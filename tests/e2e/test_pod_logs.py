"""Logs outlive their pods: the operator archives them where their pool says, and `penstock logs` finds them.

Here that is a folder of the node, which the operator's pods have as a volume; the operator is installed anew for it,
and as it was afterwards.
"""

from __future__ import annotations

import base64
import io
import json
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from installation import IMAGE, Penstock

API = "penstock.dev/v1alpha1"
FOLDER = "/var/tmp/penstock-e2e-logs"
URL = "file:///archive/of-logs"
KUBECTL = ".cluster/bin/kubectl"
FLOW = """
import time
from penstock import flow


@flow(log_prints=True)
def talks(seconds: int = 0):
    print("first words", flush=True)
    try:
        time.sleep(seconds)
    finally:
        print("last words", flush=True)
"""


def install(penstock: Penstock, *values: str) -> None:
    words = [word for value in values for word in ("--set", value)]
    penstock.command(
        *(sys.executable, "charts/install.py", "--image", IMAGE),
        *("--helm", ".cluster/bin/helm", "--kubectl", KUBECTL, *words),
    )


@pytest.fixture(scope="module")
def archive(penstock: Penstock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """Pools and a flow, with an operator that may archive logs; gives a copy of the archive as it is."""
    name = "penstock-e2e-logs"
    container = {
        "name": "open",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", "import os; os.chmod('/archive', 0o777)"],
        "securityContext": {"runAsUser": 0, "runAsGroup": 0},
        "volumeMounts": [{"name": "archive", "mountPath": "/archive"}],
    }
    volume = {"name": "archive", "hostPath": {"path": FOLDER, "type": "DirectoryOrCreate"}}
    spec = {"restartPolicy": "Never", "containers": [container], "volumes": [volume]}
    opening = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
    penstock.command(KUBECTL, "apply", "--filename", "-", stdin=json.dumps(opening))
    done = "jsonpath={.status.phase}=Succeeded"
    penstock.command(KUBECTL, "--namespace", "default", "wait", f"pod/{name}", "--for", done, "--timeout=90s")
    install(
        penstock,
        *("archive.logs=true", "archive.url=file:///archive", "operator.volumes[0].name=archive"),
        *(f"operator.volumes[0].hostPath.path={FOLDER}", "operator.volumeMounts[0].name=archive"),
        "operator.volumeMounts[0].mountPath=/archive",
    )

    def pool(pool_type: str) -> dict[str, object]:
        wanted = {"type": pool_type, "podTTLSecondsAfterFinished": 1, "logs": {"archive": {"url": URL}}}
        return {
            "apiVersion": API,
            "kind": "WorkPool",
            "metadata": {"name": f"kept-{pool_type.lower()}"},
            "spec": wanted,
        }

    flow = {"code": {"source": {"text": FLOW}}, "entrypoint": "f:talks"}
    penstock.apply(
        pool("Pod"), pool("Job"), {"apiVersion": API, "kind": "Flow", "metadata": {"name": "talks"}, "spec": flow}
    )

    def copy() -> Path:
        code = (
            "import base64, io, sys, tarfile; b = io.BytesIO(); t = tarfile.open(fileobj=b, mode='w'); "
            "t.add('/archive', '.'); t.close(); print(base64.b64encode(b.getvalue()).decode())"
        )
        packed = penstock.command(
            *(KUBECTL, "--namespace", "penstock-system", "exec", "deploy/penstock-operator", "--"),
            *("python3", "-c", code),
        ).stdout
        folder = tmp_path_factory.mktemp("archive")
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(packed))) as tar:
            tar.extractall(folder, filter="data")
        return folder / "of-logs"

    yield copy
    install(penstock)
    penstock.command(KUBECTL, "--namespace", "default", "delete", "pod", name, "--ignore-not-found", "--wait=false")


def start(penstock: Penstock, name: str, pool: str, seconds: int) -> None:
    spec = {"flowRef": {"name": "talks"}, "workPool": pool, "parameters": {"seconds": seconds}}
    penstock.apply({"apiVersion": API, "kind": "FlowRun", "metadata": {"name": name}, "spec": spec})


def without_pods(penstock: Penstock, run: str) -> None:
    """Return when the run's pods are deleted."""
    penstock.kubectl("wait", "pod", "--selector", f"penstock.dev/run={run}", "--for=delete", "--timeout=90s")


@pytest.mark.parametrize("pool", ["kept-pod", "kept-job"])
def test_what_a_pod_said_is_read_after_its_deletion(penstock: Penstock, archive: Callable[[], Path], pool: str) -> None:
    """The log of a run that completed; its pod is kept for a second only, and nothing of a Job is left behind."""
    name = f"{pool}-completes"
    start(penstock, name, pool, 0)
    assert penstock.settled(name)["status"]["state"]["type"] == "Completed"
    without_pods(penstock, name)
    if pool == "kept-job":
        penstock.kubectl("wait", "job", f"{name}-1", "--for=delete", "--timeout=30s")
    assert "its pod is gone" in penstock.cli("logs", name, check=False).stderr
    said = penstock.cli("logs", name, "--archive", f"file://{archive()}").stdout
    assert "first words" in said
    assert "last words" in said


@pytest.mark.parametrize("pool", ["kept-pod", "kept-job"])
def test_the_last_words_of_a_cancelled_run_are_kept(penstock: Penstock, archive: Callable[[], Path], pool: str) -> None:
    """Its pod is gone with the cancellation, so what it says when it is asked to end was read meanwhile."""
    name = f"{pool}-cancelled"
    start(penstock, name, pool, 120)
    penstock.wait("flowrun", name, lambda run: run.get("status", {}).get("state", {}).get("type") == "Running")
    penstock.cli("cancel", name)
    assert penstock.settled(name)["status"]["state"]["type"] == "Cancelled"
    without_pods(penstock, name)
    said = penstock.cli("logs", name, "--archive", f"file://{archive()}").stdout
    assert "first words" in said
    assert "last words" in said


def test_a_pool_may_not_have_logs_written_elsewhere(penstock: Penstock, archive: Callable[[], Path]) -> None:
    """The condition of the pool says which place is allowed."""
    spec = {"type": "Pod", "logs": {"archive": {"url": "file:///tmp/elsewhere"}}}
    penstock.apply({"apiVersion": API, "kind": "WorkPool", "metadata": {"name": "elsewhere"}, "spec": spec})
    pool = penstock.wait("workpool", "elsewhere", lambda pool: bool(pool.get("status", {}).get("conditions")))
    (condition,) = pool["status"]["conditions"]
    assert (condition["status"], condition["reason"]) == ("False", "LogsArchiveForbidden")
    assert "file:///archive" in condition["message"]
