"""A node of its own, beside whatever cluster runs on this machine: it works, it survives kill -9, and it goes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock_cluster import images, node, processes, supervisor, traces
from penstock_cluster.layout import Layout

IMAGE = "localhost/penstock-cluster-probe:dev"
NAMESPACE = "probe"
RESTRICTED: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# Asks for a service that was made a moment ago: DNS, kube-proxy, the endpoints and the other pod must all work.
FETCH = """
import sys, time, urllib.request
deadline = time.monotonic() + 20
while True:
    try:
        sys.exit(urllib.request.urlopen(sys.argv[1], timeout=2).status != 200)
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(str(error))
        time.sleep(0.2)
"""


class Cluster:
    """kubectl for the test's own node."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def kubectl(self, *words: str, stdin: str | None = None) -> str:
        """Standard output; any failure fails the test with what was said."""
        program = str(self.layout.state / "bin" / "kubectl")
        command = [program, "--kubeconfig", str(self.layout.kubeconfig), "--namespace", NAMESPACE, *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects, as soon as the API server takes them."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        until(lambda: self._try("apply", "-f", "-", stdin=document), 30)

    def _try(self, *words: str, stdin: str) -> bool:
        try:
            self.kubectl(*words, stdin=stdin)
        except AssertionError:
            return False
        return True

    def pod(self, name: str) -> dict[str, Any]:
        """A pod as it is now."""
        found: dict[str, Any] = json.loads(self.kubectl("get", "pod", name, "-o", "json"))
        return found

    def succeeded(self, name: str) -> str:
        """Log of a pod, once it has Succeeded."""
        until(lambda: self.pod(name)["status"].get("phase") in ("Succeeded", "Failed"), 60, lambda: self.about(name))
        log = self.kubectl("logs", name)
        assert self.pod(name)["status"]["phase"] == "Succeeded", log
        return log

    def about(self, name: str) -> str:
        """What is known of a pod that does not end."""
        return self.kubectl("describe", "pod", name) + self.kubectl("get", "pods,nodes", "-o", "wide")

    def pids(self) -> dict[str, int | None]:
        """Name and pid of every part."""
        return {name: pid for name, pid, _ in supervisor.table(self.layout.state)}


def until(true: Callable[[], bool], seconds: float, told: Callable[[], str] = str) -> None:
    """Wait for something, or fail and tell what is known."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it did not happen in {seconds} s\n{told()}"
        time.sleep(0.1)


def pod(name: str, *command: str, image: str = IMAGE) -> dict[str, Any]:
    """A pod that the restricted profile of Pod Security admits."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {"name": "main", "image": image, "command": list(command) or ["true"], "securityContext": RESTRICTED}
            ],
        },
    }


def service(name: str) -> dict[str, Any]:
    """A service in front of the pod `steady`."""
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": "steady"}, "ports": ports},
    }


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A node for a checkout that is an empty folder, with a pod that serves HTTP all the time."""
    layout = Layout(Path(tempfile.mkdtemp(prefix="penstock-")))
    context = layout.checkout / "image"
    context.mkdir()
    (context / "Dockerfile").write_text("ARG BASE\nFROM ${BASE}\nUSER 65532\n")
    try:
        node.up(layout)
        images.build(layout, IMAGE, context / "Dockerfile", context, {}, load_it=True)
        found = Cluster(layout)
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        found.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
        until(lambda: "default" in found.kubectl("get", "serviceaccounts"), 20)
        found.apply(pod("steady", "python3", "-m", "http.server", "8080", "--directory", "/usr/share"))
        found.kubectl("wait", "--for=condition=Ready", "pod/steady", "--timeout=60s")
        yield found
    finally:
        node.down(layout)
        shutil.rmtree(layout.checkout)


def test_pods_resolve_names_and_reach_the_api_server(cluster: Cluster) -> None:
    """By the service account that is mounted; another name is refused at once, for nothing leaves the machine."""
    program = (
        "import socket, ssl, urllib.request, pathlib, json\n"
        "mounted = pathlib.Path('/var/run/secrets/kubernetes.io/serviceaccount')\n"
        "context = ssl.create_default_context(cafile=mounted / 'ca.crt')\n"
        "url = 'https://kubernetes.default.svc.cluster.local/version'\n"
        "headers = {'Authorization': 'Bearer ' + (mounted / 'token').read_text()}\n"
        "request = urllib.request.Request(url, headers=headers)\n"
        "print(json.load(urllib.request.urlopen(request, context=context))['gitVersion'])\n"
        "try:\n    socket.create_connection(('example.com', 80), timeout=5)\n"
        "except socket.gaierror:\n    print('no such name')\n"
        "try:\n    socket.create_connection(('192.0.2.1', 80), timeout=5)\n"
        "except OSError as error:\n    print(error.strerror)\n"
    )
    cluster.apply(pod("inside", "python3", "-c", program))
    version, name, address = cluster.succeeded("inside").splitlines()
    assert version.startswith("v1.")
    assert name == "no such name"
    assert address == "Network is unreachable"
    assert cluster.kubectl("exec", "steady", "--", "id", "-u").strip() == "65532"


def test_an_unknown_image_fails_fast(cluster: Cluster) -> None:
    """There is no registry to ask, which the kubelet finds out within seconds."""
    cluster.apply(pod("unknown", image="registry.example.com/nothing:1"))

    def reason() -> str:
        statuses = cluster.pod("unknown")["status"].get("containerStatuses", [{}])
        return str(statuses[0].get("state", {}).get("waiting", {}).get("reason"))

    until(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"), 15)
    cluster.kubectl("delete", "pod", "unknown", "--wait=false")


def test_every_part_comes_back_after_a_kill(cluster: Cluster) -> None:
    """In a random order that the seed repeats; what ran before runs on, and what was confirmed is kept."""
    seed = random.randrange(1_000_000)
    parts = list(cluster.pids())
    random.Random(seed).shuffle(parts)
    assert len(parts) == 8
    container = cluster.pod("steady")["status"]["containerStatuses"][0]["containerID"]
    for number, part in enumerate(parts):
        told = f"seed {seed}: after kill -9 of {part}"
        before = cluster.pids()[part]
        assert before is not None, told
        cluster.kubectl("create", "configmap", f"confirmed-{number}")
        os.kill(before, signal.SIGKILL)
        until(lambda part=part, before=before: cluster.pids()[part] not in (None, before), 15)  # type: ignore[misc]
        name = f"web-{number}"
        cluster.apply(service(name), pod(f"probe-{number}", "python3", "-c", FETCH, f"http://{name}/"))
        cluster.succeeded(f"probe-{number}")
        cluster.kubectl("get", "configmap", f"confirmed-{number}")
        status = cluster.pod("steady")["status"]["containerStatuses"][0]
        assert (status["containerID"], status["restartCount"]) == (container, 0), told


def test_up_takes_over_what_a_killed_supervisor_left(cluster: Cluster) -> None:
    """All parts are started again, each once, and the pods run on."""
    container = cluster.pod("steady")["status"]["containerStatuses"][0]["containerID"]
    overseer = supervisor.pid(cluster.layout.state)
    assert overseer is not None
    os.kill(overseer, signal.SIGKILL)
    node.up(cluster.layout)
    assert node.status(cluster.layout) == 0
    commands = [words for _, words in processes.living() if any(str(cluster.layout.state) in word for word in words)]
    assert sum(Path(words[0]).name == "etcd" for words in commands) == 1
    cluster.apply(service("web-again"), pod("again", "python3", "-c", FETCH, "http://web-again/"))
    cluster.succeeded("again")
    status = cluster.pod("steady")["status"]["containerStatuses"][0]
    assert (status["containerID"], status["restartCount"]) == (container, 0)


def test_down_leaves_no_trace(cluster: Cluster) -> None:
    """Even when the supervisor was killed and its files were deleted; twice is as good as once."""
    layout = cluster.layout
    ids = [path.name for path in (layout.state / "runc" / "k8s.io").iterdir()]
    assert ids
    overseer = supervisor.pid(layout.state)
    assert overseer is not None
    os.kill(overseer, signal.SIGKILL)
    for name in ("parts.json", "restarts.json", "supervisor.pid"):
        (layout.state / name).unlink()
    node.down(layout)
    node.down(layout)
    assert not layout.state.exists()
    own = (str(layout.state), layout.namespace, layout.host_link)
    assert [words for _, words in processes.living() if any(mark in word for word in words for mark in own)] == []
    mounts, links = Path("/proc/self/mountinfo").read_text(), list(Path("/sys/class/net").iterdir())
    assert not any(mark in mounts for mark in own)
    assert layout.host_link not in {link.name for link in links}
    assert not (traces.NETWORKS / layout.namespace).exists()
    assert [root for root in traces.hierarchies() if (root / layout.cgroup).exists()] == []
    left = [path for folder in (traces.CNI_RESULTS, traces.CONTAINER_LOGS) for path in folder.glob("*")]
    assert [path for path in left if any(name in path.name for name in (*ids, layout.namespace))] == []
    assert [path for path in left if path.is_symlink() and not path.exists()] == []
