"""Runs executed for real without a node: the operator's controller, and a kubelet whose pods are processes here.

The control plane, the chart's policies and accounts, the operator and the runner are the real ones; played are the
scheduler, the kubelet and the container. Used by the integration tests of what happens inside of pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from api_client import ApiClient, Refused
from cells import bound_token, rendered
from penstock.api import labels
from penstock_cluster.control_plane import ControlPlane, tls
from penstock_operator.cluster import ApiCluster, Connection
from penstock_operator.controller.controller import Controller
from penstock_operator.launch.pods import Defaults

Json = dict[str, Any]


@dataclass
class Kubelet:
    """Starts a process for every pod of a namespace, and tells the API server what becomes of it."""

    plane: ControlPlane
    admin: ApiClient
    namespace: str
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)  # by pod name
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Until `stop`."""
        while not self._stop.is_set():
            with contextlib.suppress(httpx.HTTPError):  # the API server is away
                self._sync()
            time.sleep(0.1)

    def _sync(self) -> None:
        pods = {pod["metadata"]["name"]: pod for pod in self.admin.list("Pod", self.namespace)["items"]}
        for name, pod in pods.items():
            if name not in self.processes and (pod["metadata"].get("labels") or {}).get(labels.RUN):
                self._start(name, pod)
        for name, process in list(self.processes.items()):
            if name not in pods:
                process.kill()
            elif pods[name]["metadata"].get("deletionTimestamp"):
                self._delete(name, process)
            elif process.poll() is not None and pods[name]["status"].get("phase") == "Running":
                self._ended(name, process.returncode)

    def stop(self) -> None:
        """End all processes."""
        self._stop.set()
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()

    def kill(self, pod: str) -> None:
        """End a pod's process without a word."""
        self.processes[pod].send_signal(signal.SIGKILL)
        self.processes[pod].wait()

    def output(self, pod: str) -> str:
        """What the pod's process wrote so far."""
        return (self.folder / f"{pod}.log").read_text()

    def _start(self, name: str, pod: Json) -> None:
        account = self.folder / name
        account.mkdir()
        (account / "token").write_text(bound_token(self.admin, pod))
        (account / "ca.crt").write_bytes((self.plane.folder / "pki/ca.crt").read_bytes())
        environment = self._environment(pod)
        code = next((v["configMap"]["name"] for v in pod["spec"]["volumes"] if v["name"] == "penstock-code"), None)
        if code:
            text = self.admin.get("ConfigMap", self.namespace, code)["data"][labels.CODE_FILE]
            (account / labels.CODE_FILE).write_text(text)
            environment[labels.ENV_CODE] = str(account / labels.CODE_FILE)
        where = urlsplit(self.plane.url)
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "penstock.runner"],
                env={
                    "PATH": os.environ["PATH"],
                    **environment,
                    "KUBERNETES_SERVICE_HOST": where.hostname or "",
                    "KUBERNETES_SERVICE_PORT": str(where.port),
                    "PENSTOCK_SERVICE_ACCOUNT": str(account),
                    **self.environment,
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._status(name, {"phase": "Running", "containerStatuses": [_container({"running": {}})]})

    def _delete(self, name: str, process: subprocess.Popen[bytes]) -> None:
        """End the process as a kubelet does, then let the pod go; nobody else collects garbage here."""
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        process.kill()
        with contextlib.suppress(Refused):
            self.admin.merge("Pod", self.namespace, name, {"metadata": {"finalizers": None}})
            self.admin.delete("Pod", self.namespace, name)

    def _environment(self, pod: Json) -> dict[str, str]:
        container = next(c for c in pod["spec"]["containers"] if c["name"] == labels.CONTAINER)
        values = {}
        for variable in container["env"]:
            if "value" in variable:
                values[variable["name"]] = variable["value"]
            else:
                values[variable["name"]] = pod["metadata"][variable["valueFrom"]["fieldRef"]["fieldPath"].split(".")[1]]
        return values

    def _ended(self, name: str, code: int) -> None:
        terminated = {"exitCode": code if code >= 0 else 128 - code, "reason": "Completed" if code == 0 else "Error"}
        phase = "Succeeded" if code == 0 else "Failed"
        with contextlib.suppress(Refused):
            self._status(name, {"phase": phase, "containerStatuses": [_container({"terminated": terminated})]})

    def _status(self, name: str, status: Json) -> None:
        self.admin.merge("Pod", self.namespace, name, {"status": status}, "status")


def _container(state: Json) -> Json:
    return {"name": labels.CONTAINER, "image": "none", "imageID": "", "ready": True, "restartCount": 0, "state": state}


@dataclass
class RunCell:
    """A namespace in which FlowRuns are executed."""

    admin: ApiClient
    namespace: str
    kubelet: Kubelet

    def deploy(self, source: str, entrypoint: str, name: str = "sample", **flow: Any) -> None:
        """A Flow of inline source."""
        spec = {"code": {"source": {"text": source}}, "entrypoint": entrypoint, **flow}
        self.apply("Flow", name, spec)

    def apply(self, kind: str, name: str, spec: Json) -> Json:
        meta = {"name": name, "namespace": self.namespace}
        return self.admin.apply({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def start(self, name: str = "run", flow: str = "sample", **spec: Any) -> Json:
        """A run of that flow."""
        return self.apply("FlowRun", name, {"flowRef": {"name": flow}, **spec})

    def get(self, name: str = "run") -> Json:
        return self.admin.get("FlowRun", self.namespace, name)

    def children(self, parent: str = "run") -> list[Json]:
        """Runs that name `parent` as theirs, the oldest first."""
        found = self.admin.list("FlowRun", self.namespace)["items"]
        mine = [body for body in found if (body["spec"].get("parent") or {}).get("name") == parent]
        return sorted(mine, key=lambda body: (body["metadata"]["creationTimestamp"], body["metadata"]["name"]))

    def wait(self, holds: Callable[[], Any], what: str = "it") -> Any:
        """The first true value of `holds`; fails with everything that is known after a generous time."""
        deadline = time.monotonic() + 60
        while not (found := holds()):
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come about; {self.story()}")
            time.sleep(0.1)
        return found

    def settled(self, name: str = "run") -> Json:
        """The run once the operator is done with it."""
        settled: Json = self.wait(
            lambda: (b := self.get(name)).get("status", {}).get("settled") and b, f"end of {name}"
        )
        return settled

    def story(self) -> str:
        """All runs, briefly, and what their pods wrote."""
        runs = {}
        for body in self.admin.list("FlowRun", self.namespace)["items"]:
            status = body.get("status") or {}
            history = [(e["name"], e["reason"], e["message"], e["attempt"]) for e in status.get("history") or []]
            shown = {key: status.get(key) for key in ("attempt", "settled", "pod", "result", "conditions")}
            runs[body["metadata"]["name"]] = {"history": history, **shown}
        logs = {name: self.kubelet.output(name) for name in self.kubelet.processes}
        return "".join(f"\n{name}: {run}" for name, run in runs.items()) + "".join(
            f"\n--- {name}\n{text}" for name, text in logs.items()
        )


@contextlib.contextmanager
def running_operator(plane: ControlPlane, namespace: str) -> Iterator[None]:
    """The controller on one namespace, in a thread of its own."""
    started, loops = threading.Event(), list[tuple[asyncio.AbstractEventLoop, asyncio.Task[None]]]()

    async def control() -> None:
        async with ApiCluster(Connection(plane.url, tls(plane.folder / "pki"))) as cluster:
            task = asyncio.create_task(Controller(cluster, Defaults("none"), namespaces=(namespace,)).run())
            loops.append((asyncio.get_running_loop(), task))
            started.set()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await asyncio.sleep(0.3)  # aiohttp closes TLS connections only after the session is closed

    thread = threading.Thread(target=asyncio.run, args=(control(),))
    thread.start()
    started.wait(30)
    try:
        yield
    finally:
        loop, task = loops[0]
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


@contextlib.contextmanager
def run_cell(plane: ControlPlane, admin: ApiClient, namespace: str, folder: Path) -> Iterator[RunCell]:
    """A cell with its operator and its kubelet."""
    for body in rendered("runs.yaml", f"runs.namespaces={{{namespace}}}"):
        admin.apply(body)
    kubelet = Kubelet(plane, admin, namespace, folder)
    thread = threading.Thread(target=kubelet.run)
    with running_operator(plane, namespace):
        thread.start()
        try:
            yield RunCell(admin, namespace, kubelet)
        finally:
            kubelet.stop()
            thread.join()
