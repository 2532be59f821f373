"""A worker outside of the cluster that is lost, with the real operator: its run goes on in another."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from api_client import ApiClient
from operator_process import OperatorProcess
from penstock.api import labels
from penstock.api.workers import LEASE_SECONDS
from penstock.worker.lease import OUT_OF_CONTACT
from penstock_cluster import control_plane as planes
from tcp_proxy import TcpProxy
from worker_stage import Stage, WorkerProcess, until

Json = dict[str, Any]
SOURCE = dedent(
    """
    import json, os, time
    from penstock import flow

    @flow
    def main():
        print("attempt", os.environ["PENSTOCK_ATTEMPT"], "pid", os.getpid())
        while os.environ["PENSTOCK_ATTEMPT"] == "1":
            time.sleep(0.1)
        return os.environ["PENSTOCK_ATTEMPT"]

    @flow
    def beats(seconds: float = 0):
        end = time.monotonic() + seconds
        while True:
            attempt = int(os.environ["PENSTOCK_ATTEMPT"])
            with open(os.environ["BEATS"], "a") as out:
                print(json.dumps({"attempt": attempt, "pid": os.getpid(), "time": time.time()}), file=out)
            if attempt > 1 or time.monotonic() > end:
                return attempt
            time.sleep(0.1)
    """
)


class Field(Stage):
    """Workers, and the real operator in the place of the one by hand."""

    def make(self, kind: str, name: str, spec: Json) -> None:
        meta = {"name": name, "namespace": self.operator.namespace}
        self.operator.admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def status(self, name: str = "run") -> Json:
        status: Json = self.operator.get(name).get("status") or {}
        return status


@dataclass(frozen=True)
class Beat:
    """A sign of life of user code."""

    attempt: int
    pid: int
    time: float


class Cable:
    """The way of one worker to the API server, and what its run wrote beside it."""

    def __init__(self, field: Field, proxy: TcpProxy, plane: planes.ControlPlane, folder: Path) -> None:
        self.field, self.proxy = field, proxy
        config = yaml.safe_load(plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{proxy.port}"
        self.kubeconfig, self.file = folder / "kubeconfig", folder / "beats"
        self.kubeconfig.write_text(yaml.safe_dump(config))

    def worker(self, name: str, *, behind: bool = False) -> WorkerProcess:
        """One whose runs write beats; `behind` the cable, or not."""
        return self.field.worker(name, kubeconfig=self.kubeconfig if behind else None, BEATS=str(self.file))

    def run(self, name: str, seconds: float, retries: int = 0) -> None:
        """A run of so many seconds."""
        spec = {"flowRef": {"name": "beats"}, "workPool": "warm", "parameters": {"seconds": seconds}}
        self.field.make("FlowRun", name, {**spec, "infraRetries": {"limit": retries, "backoffSeconds": 0}})

    def beats(self, attempt: int = 1) -> list[Beat]:
        """Those of an attempt, the first to the last."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [beat for beat in (Beat(**json.loads(line)) for line in lines) if beat.attempt == attempt]


@pytest.fixture
def cable(field: Field, control_plane: planes.ControlPlane, tmp_path: Path) -> Iterator[Cable]:
    with TcpProxy(urlsplit(control_plane.url).port or 0) as proxy:
        field.make("Flow", "beats", {"code": {"source": {"text": SOURCE}}, "entrypoint": "f:beats"})
        yield Cable(field, proxy, control_plane, tmp_path)


@pytest.fixture
def field(admin: ApiClient, namespace: str, control_plane: planes.ControlPlane, tmp_path: Path) -> Iterator[Field]:
    with ExitStack() as stack:
        operator = OperatorProcess(control_plane, tmp_path, "operator", namespace, f"{namespace}/operator")
        stack.enter_context(operator)
        operator.until_it_leads()
        field = Field(admin, namespace, tmp_path / "workers")
        field.folder.mkdir()
        stack.callback(field.close)
        field.make("Flow", "slow", {"code": {"source": {"text": SOURCE}}, "entrypoint": "f:main"})
        field.make("WorkPool", "warm", {"type": "Process", "worker": {"max": 0, "onWorkerLost": "Retry"}})
        yield field


@pytest.mark.parametrize("how", ["hangs", "dies"])
def test_a_run_whose_worker_is_lost_goes_on_in_another(field: Field, how: str) -> None:
    first = field.worker("first")
    spec = {"flowRef": {"name": "slow"}, "workPool": "warm", "infraRetries": {"limit": 1, "backoffSeconds": 0}}
    field.make("FlowRun", "run", spec)
    until(lambda: "attempt 1" in first.text("run"), lambda: f"{field.status()} {first.said}")
    pid = int(first.text("run").split()[-1])
    before = field.status()["worker"]["uid"]
    second = field.worker("second")
    first.process.send_signal(signal.SIGSTOP if how == "hangs" else signal.SIGKILL)
    until(lambda: field.status()["state"]["type"] == "Completed", lambda: f"{field.status()} {second.said}", 150)
    status = field.status()
    assert status["result"] == {"inline": "2"}
    assert status["worker"]["name"] == "second"
    writers = {entry["attempt"]: entry["writer"] for entry in status["history"] if entry["writer"] != "operator"}
    assert writers == {1: before, 2: status["worker"]["uid"]}
    until(lambda: not Path(f"/proc/{pid}").exists(), "the end of its process")
    if how == "hangs":
        first.process.send_signal(signal.SIGCONT)
        until(lambda: field.operator.uid("first") != before, lambda: first.said)
        assert field.status()["state"] == status["state"], "it has written nothing since"


def crashed_at(field: Field) -> float:
    """When the run counted as lost, by the operator's clock, which is this machine's."""
    (entry,) = [entry for entry in field.status()["history"] if entry["reason"] == "WorkerLost"]
    return datetime.fromisoformat(entry["time"]).timestamp()


def lost(cable: Cable) -> float:
    """A run goes on in the worker `first`, whose network is lost now."""
    until(cable.beats, lambda: f"{cable.field.status()}")
    cable.proxy.lose()
    return time.time()


def test_a_run_whose_worker_loses_the_network_crashes_and_has_no_other_attempt(cable: Cable) -> None:
    """Its process goes on, fenced, and is ended when the worker hears of it; which then takes runs as before."""
    field = cable.field
    field.operator.pool(max=0, onWorkerLost="Crash")
    first = cable.worker("first", behind=True)
    cable.run("run", 600, retries=2)
    cut = lost(cable)
    second = cable.worker("second")
    until(lambda: field.status()["state"]["type"] == "Crashed", lambda: f"{field.status()} {first.said}", 150)
    assert field.status()["state"]["reason"] == "WorkerLost"
    assert crashed_at(field) - cut > LEASE_SECONDS, "30 s and 15 s after it was renewed last, at most 10 s before"
    until(lambda: field.status().get("settled"), "the rest")
    pid = cable.beats()[-1].pid
    before = len(cable.beats())
    until(lambda: len(cable.beats()) > before + 5, "its code goes on, for nobody can tell it")
    cable.proxy.find()
    until(lambda: not Path(f"/proc/{pid}").exists(), lambda: first.said)
    assert (field.status()["state"]["reason"], field.status()["attempt"]) == ("WorkerLost", 1)
    second.process.send_signal(signal.SIGTERM)
    until(lambda: second.process.poll() is not None, lambda: second.said)
    cable.run("next", 0)
    until(lambda: field.status("next").get("state", {}).get("type") == "Completed", lambda: first.said, 90)
    assert field.status("next")["worker"]["name"] == "first"


def test_a_worker_without_network_has_ended_its_run_before_it_begins_elsewhere(cable: Cable) -> None:
    """By its own clock, for nobody can tell it; found again it is another worker, and takes runs."""
    field = cable.field
    first = cable.worker("first", behind=True)
    cable.run("run", 600, retries=1)
    cut = lost(cable)
    before = field.status()["worker"]["uid"]
    second = cable.worker("second")
    until(lambda: field.status()["state"]["type"] == "Completed", lambda: f"{field.status()} {second.said}", 150)
    status = field.status()
    assert (status["attempt"], status["worker"]["name"]) == (2, "second")
    last, again = cable.beats(1)[-1].time, cable.beats(2)[0].time
    assert last - cut < OUT_OF_CONTACT + 5, "and some seconds for SIGKILL"
    assert last < crashed_at(field) < again
    cable.proxy.find()
    until(lambda: field.operator.uid("first") != before, lambda: first.said, 90)
    second.process.send_signal(signal.SIGTERM)
    until(lambda: second.process.poll() is not None, lambda: second.said)
    cable.run("next", 0)
    until(lambda: field.status("next").get("state", {}).get("type") == "Completed", lambda: first.said, 90)
    assert field.status("next")["worker"]["name"] == "first"
    assert field.status()["history"] == status["history"], "of the old one nothing was taken"


def test_a_network_that_is_lost_for_a_moment_costs_no_run(cable: Cable) -> None:
    """Though every connection of before is dead, and nobody has said so."""
    field = cable.field
    first = cable.worker("first", behind=True)
    cable.run("run", 45)
    lost(cable)
    time.sleep(5)
    cable.proxy.find()
    until(lambda: field.status()["state"]["type"] in ("Completed", "Crashed"), lambda: first.said, 150)
    assert field.status()["state"]["type"] == "Completed", first.said
    cable.run("next", 0)
    until(lambda: field.status("next").get("state", {}).get("type") == "Completed", lambda: first.said, 60)
