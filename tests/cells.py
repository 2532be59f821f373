"""A namespace in which runs are executed, as the chart sets it up, on a real API server; the test plays the rest.

It launches runs as the operator does and makes pods as the kubelet would, each with a token that is bound to it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

import builders
from api_client import ApiClient, Refused
from builders import changed, good
from loopback_pod import environment as environment_of
from penstock.api import labels
from penstock_cluster import binaries

Json = dict[str, Any]
ROOT = Path(__file__).resolve().parents[1]
SYSTEM = "penstock-system"

NOT_ITS_POD = "it is not the pod of the current attempt"
CLAIMED = "another pod has claimed it|an attempt stays with the pod that has claimed it"  # by policy, or by the CRD


def rendered(template: str, *settings: str) -> list[Json]:
    """The objects of one of the chart's templates, by helm."""
    helm = str(binaries.ensure() / "helm")
    words = ["template", "penstock", "charts/penstock", "--namespace", SYSTEM, "--show-only", f"templates/{template}"]
    words += [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run([helm, *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return [body for body in yaml.safe_load_all(done.stdout) if body]


def bound_token(admin: ApiClient, pod: Json) -> str:
    """A token of the pod's account that is bound to the pod, as the kubelet mounts it."""
    meta = pod["metadata"]
    reference = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": ["https://kubernetes.default.svc"], "boundObjectRef": reference},
    }
    path = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{pod['spec']['serviceAccountName']}/token"
    token: str = admin.request("POST", path, json=request)["status"]["token"]
    return token


@dataclass(frozen=True)
class Pod:
    """A pod, as an object, and a client with the token that is bound to it."""

    name: str
    uid: str
    client: ApiClient
    token: str = field(repr=False)

    @property
    def identity(self) -> Json:
        return {"name": self.name, "uid": self.uid}


@dataclass(frozen=True)
class Cell:
    """A namespace in which runs are executed, as the chart sets it up."""

    admin: ApiClient
    namespace: str
    clients: ExitStack

    def run(self, name: str = "run", attempt: int = 1) -> Json:
        """A run of a flow whose attempt is launched and not claimed."""
        self.admin.create(changed(good("FlowRun", name, self.namespace), {"spec.task": builders.GONE}))
        return self.status(name, {"state": builders.run_state("Pending", 2), "attempt": attempt, "history": []})

    def status(self, name: str, status: Json) -> Json:
        """The operator's word, by the administrator."""
        return self.admin.merge("FlowRun", self.namespace, name, {"status": status}, "status")

    def pod(self, name: str, account: str = "penstock-run", namespace: str | None = None) -> Pod:
        """A pod that runs as `account`."""
        namespace = namespace or self.namespace
        body = self.admin.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"serviceAccountName": account, "containers": [{"name": "flow", "image": "none"}]},
            }
        )
        token = bound_token(self.admin, body)
        client = self.clients.enter_context(ApiClient(self.admin.kubeconfig, token))
        return Pod(name, body["metadata"]["uid"], client, token)

    def claim(self, pod: Pod, run: str = "run", attempt: int = 1, seq: int = 2, **status: Any) -> Json:
        """The runner's first write, with more or other fields of the status."""
        values = {"state": builders.run_state("Running", seq + 1), "pod": pod.identity, **status}
        operations = [
            {"op": "test", "path": "/status/attempt", "value": attempt},
            {"op": "test", "path": "/status/state/seq", "value": seq},
            *({"op": "add", "path": f"/status/{field}", "value": value} for field, value in values.items()),
        ]
        return pod.client.patch("FlowRun", self.namespace, run, operations, "status")

    def write(self, pod: Pod, status: Json, run: str = "run") -> Json:
        """A later write of a runner."""
        return pod.client.merge("FlowRun", self.namespace, run, {"status": status}, "status")


def page(run: Json, namespace: str, name: str | None = None) -> Json:
    """A page of task records of `run`, as its runner makes it."""
    metadata, attempt = run["metadata"], run["status"]["attempt"]
    identity = {"name": metadata["name"], "uid": metadata["uid"]}
    owner = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "controller": True, **identity}
    body = good("TaskRunPage", name or f"{metadata['name']}-abcde-{attempt}-0", namespace)
    return changed(body, {"run": identity, "attempt": attempt, "metadata.ownerReferences": [owner]})


def emitted(regarding: Json, namespace: str, name: str = "run.e1", **more: Any) -> Json:
    """An Event as a run emits it."""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "eventTime": "2026-01-01T06:00:00.000000Z",
        "type": "Normal",
        "reason": "order.shipped",
        "action": "Emitted",
        "reportingController": "penstock.dev/run",
        "reportingInstance": "run-1",
        "regarding": regarding,
        **more,
    }


def lease(name: str, namespace: str) -> Json:
    """A Lease that nobody holds."""
    meta = {"name": name, "namespace": namespace}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": {}}


def install_crds(admin: ApiClient) -> None:
    """Apply the CRDs as they are checked in; return when they are Established."""
    names = [
        admin.apply(yaml.safe_load(path.read_text()))["metadata"]["name"] for path in (ROOT / "crds").glob("*.yaml")
    ]
    assert names, "no CRDs: run `make crds`"
    deadline = time.monotonic() + 60
    for name in names:
        while not _established(admin, name):
            assert time.monotonic() < deadline, f"{name} is not Established"
            time.sleep(0.1)


def _established(admin: ApiClient, name: str) -> bool:
    found = admin.get("CustomResourceDefinition", None, name)
    conditions = {condition["type"]: condition["status"] for condition in found.get("status", {}).get("conditions", [])}
    return conditions.get("Established") == "True"


def install_policies(admin: ApiClient) -> None:
    """Apply the policies and the operator's account of the chart; return when all of them are enforced."""
    admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    for body in (*rendered("policies.yaml"), *rendered("operator-rbac.yaml")):
        admin.apply(body)
    probe = Cell(admin, SYSTEM, ExitStack())
    with probe.clients:
        for body in rendered("runs.yaml", f"runs.namespaces={{{SYSTEM}}}"):
            admin.apply(body)
        run, stranger = probe.run("probe"), probe.pod("stranger")
        until_refused(lambda: probe.write(stranger, {"runCount": 1}, "probe"), NOT_ITS_POD)
        until_refused(lambda: stranger.client.create(page(run, SYSTEM)), "cannot write pages")
        regarding = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "name": "probe", "namespace": SYSTEM}
        until_refused(lambda: stranger.client.create(emitted(regarding, SYSTEM)), "cannot emit this Event")
        until_refused(lambda: stranger.client.create(good("FlowRun", "child", SYSTEM)), "cannot make this run")
        art = good("Artifact", "report", SYSTEM)
        until_refused(lambda: stranger.client.create(art), "spec.run must name the run of the pod")
        until_refused(lambda: stranger.client.create(lease("leader", SYSTEM)), "Leases of locks only")
        rename = {"spec": {"parameters": {"n": None, "m": 1}}}
        until_refused(lambda: admin.merge("FlowRun", SYSTEM, "probe", rename), "parameters is immutable")
        admin.create(lease("other-leader", SYSTEM))
        operator, hold = probe.pod("operator", "penstock-operator"), {"spec": {"holderIdentity": "x"}}
        until_refused(lambda: operator.client.merge("Lease", SYSTEM, "other-leader", hold), "those of workers")


def until_refused(write: Callable[[], Json], message: str) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            write()
        except Refused as refused:
            if message in refused.message:
                return
        time.sleep(0.1)
    raise AssertionError(f"after two minutes nothing was refused with: {message}")


def open_cell(admin: ApiClient, namespace: str, clients: ExitStack) -> Cell:
    """A cell in a namespace that exists, with the account and the roles of runs."""
    for body in rendered("runs.yaml", f"runs.namespaces={{{namespace}}}"):
        admin.apply(body)
    return Cell(admin, namespace, clients)


def runner(cell: Cell, source: str, folder: Path, run: str = "run", **environment: str) -> subprocess.Popen[str]:
    """The runner of the run's first attempt, as it would be started in its pod; `source` is a file with a flow `main`.

    The run is made and launched first; the pod exists as an object only.
    """
    body, pod = cell.run(run), cell.pod(f"{run}-1")
    account = folder / f"account-of-{run}"
    account.mkdir()
    code = folder / f"{run}.py"
    code.write_text(source)
    config = yaml.safe_load(cell.admin.kubeconfig.read_text())["clusters"][0]["cluster"]
    (account / "ca.crt").write_text(Path(config["certificate-authority"]).read_text())
    (account / "token").write_text(pod.token)
    (account / "namespace").write_text(cell.namespace)
    address = urlsplit(config["server"])
    given = {
        "KUBERNETES_SERVICE_HOST": str(address.hostname),
        "KUBERNETES_SERVICE_PORT": str(address.port),
        "PENSTOCK_SERVICE_ACCOUNT": str(account),
        **environment_of(body, pod.uid, pod.name),
        labels.ENV_ENTRYPOINT: "flow:main",
        labels.ENV_CODE: str(code),
        "HOME": str(folder),
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "penstock.runner"],
        env=given,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
