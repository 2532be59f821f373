"""A worker outside of the cluster that is lost, with the real operator: its run goes on in another."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from api_client import ApiClient
from operator_process import OperatorProcess
from penstock.api import labels
from penstock_cluster import control_plane as planes
from worker_stage import Stage, until

Json = dict[str, Any]
SOURCE = dedent(
    """
    import os, time
    from penstock import flow

    @flow
    def main():
        print("attempt", os.environ["PENSTOCK_ATTEMPT"], "pid", os.getpid())
        while os.environ["PENSTOCK_ATTEMPT"] == "1":
            time.sleep(0.1)
        return os.environ["PENSTOCK_ATTEMPT"]
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
