"""Workers outside of the cluster as processes, on a real API server; the test plays the operator, and assigns runs.

Used by the integration tests of workers and by benchmarks.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

import builders
from api_client import ApiClient, Refused
from cells import Cell
from penstock.api import labels, names
from penstock.worker.output import END

Json = dict[str, Any]
PATIENCE = 60.0


class WorkerProcess:
    """`penstock worker start`, as the administrator; leaving it kills it, and its executor ends with it."""

    def __init__(self, kubeconfig: Path, namespace: str, pool: str, folder: Path, *words: str, **env: str) -> None:
        self.name = words[words.index("--name") + 1] if "--name" in words else ""
        self.out, self.err = folder / "worker.out", folder / "worker.err"
        command = [sys.executable, "-m", "penstock.cli", "worker", "start", "--pool", pool, "-n", namespace]
        environment = {"PATH": os.environ["PATH"], "KUBECONFIG": str(kubeconfig), "HOME": str(folder), **env}
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                [*command, "-o", "json", *words], env=environment, stdout=out, stderr=err, cwd=folder
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(PATIENCE)

    @property
    def said(self) -> str:
        """What the worker itself wrote."""
        return self.err.read_text()

    def lines(self, run: str) -> list[Json]:
        """What a run wrote."""
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        return [record for line in lines if (record := json.loads(line))["run"] == run and END not in record]

    def text(self, run: str) -> str:
        """What a run wrote, as text."""
        return "\n".join(record["message"] for record in self.lines(run))


class Operator:
    """What the operator says of workers and runs, by hand, in one namespace."""

    def __init__(self, admin: ApiClient, namespace: str) -> None:
        self.admin, self.namespace = admin, namespace

    def pool(self, name: str = "warm", **worker: Any) -> None:
        """A pool of type Process, without workers of the operator's."""
        spec: Json = {"type": "Process", **({"worker": worker} if worker else {})}
        self._apply("WorkPool", name, spec)

    def source(self, text: str) -> str:
        """The name of the ConfigMap with a flow's file."""
        name = names.code_config_map(names.content_digest(text))
        meta = {"name": name, "namespace": self.namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {labels.CODE_FILE: text}}
        self.admin.apply(body)
        return name

    def run(self, name: str, source: str, entrypoint: str = "flow:main", image: str | None = None, **spec: Any) -> Json:
        """A run that is accepted, and waits to be given to a worker; `image`: what it was resolved to, "" for none."""
        self._apply("FlowRun", name, {"flowRef": {"name": "sample"}, "workPool": "warm", **spec})
        code = {"kind": "source", "digest": names.content_digest(source), "configMap": self.source(source)}
        resolved = builders.resolved("Process", entrypoint=entrypoint, code=code)
        if image is not None:
            resolved = {key: value for key, value in {**resolved, "image": image}.items() if value}
        status = {"state": builders.run_state("Scheduled", 1), "resolved": resolved, "history": []}
        return self._status(name, status)

    def assign(self, name: str, worker: str, attempt: int = 1, env: dict[str, str] | None = None) -> Json:
        """Give the run's next attempt to a worker."""
        status = self.get(name)["status"]
        told = [{"name": key, "value": value} for key, value in (env or {}).items()]
        given: Json = {"name": worker, "uid": self.uid(worker), "attempt": attempt, **({"env": told} if told else {})}
        steps = 1 if status["state"]["type"] == "Scheduled" else 2  # what ran before waits again first
        state = builders.run_state("Pending", status["state"]["seq"] + steps)
        given = {**dict.fromkeys(("end", "exited", "env")), **given}
        return self._status(name, {"state": state, "attempt": attempt, "pod": None, "worker": given})

    def ask_for_end(self, name: str) -> None:
        """Ask the worker to end the run's process."""
        self._status(name, {"worker": {"end": True}})

    def enter(self, name: str, state: str) -> None:
        """Change the state, as the operator does."""
        seq = self.get(name)["status"]["state"]["seq"] + 1
        self._status(name, {"state": builders.run_state(state, seq)})

    def get(self, name: str) -> Json:
        return self.admin.get("FlowRun", self.namespace, name)

    def state(self, name: str) -> str:
        state: str = self.get(name)["status"]["state"]["type"]
        return state

    def exited(self, name: str) -> Json | None:
        """What the worker says of the process' end."""
        found: Json | None = self.get(name)["status"]["worker"].get("exited")
        return found

    def lease(self, worker: str) -> Json | None:
        try:
            return self.admin.get("Lease", self.namespace, names.worker_lease(worker))
        except Refused as refused:
            if refused.code != 404:
                raise
            return None

    def uid(self, worker: str) -> str:
        """The worker's uid, once it is there."""
        lease = until(lambda: self.lease(worker), f"the Lease of {worker}")
        uid: str = json.loads(lease["metadata"]["annotations"][labels.WORKER_FACTS])["uid"]
        return uid

    def _apply(self, kind: str, name: str, spec: Json) -> Json:
        meta = {"name": name, "namespace": self.namespace}
        return self.admin.apply({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def _status(self, name: str, status: Json) -> Json:
        return self.admin.merge("FlowRun", self.namespace, name, {"status": status}, "status")


class Stage:
    """An operator by hand, and workers."""

    def __init__(self, admin: ApiClient, namespace: str, folder: Path) -> None:
        self.operator, self.folder = Operator(admin, namespace), folder
        self._workers = ExitStack()

    def worker(self, name: str = "laptop", *words: str, kubeconfig: Path | None = None, **env: str) -> WorkerProcess:
        """A worker that is there; `kubeconfig`: another way to the API server than the administrator's."""
        folder = self.folder / f"{name}-{len(list(self.folder.glob('*')))}"
        folder.mkdir(parents=True)
        kubeconfig, namespace = kubeconfig or self.operator.admin.kubeconfig, self.operator.namespace
        process = WorkerProcess(kubeconfig, namespace, "warm", folder, "--name", name, *words, **env)
        self._workers.enter_context(process)
        until(lambda: self.operator.lease(name), lambda: f"the Lease of {name}: {process.said}")
        return process

    def given(self, text: str, **how: Any) -> tuple[Operator, WorkerProcess]:
        """The operator, and a worker that it has given the run `run` with that code; `how`: as in `Operator.assign`."""
        worker = self.worker()
        self.operator.run("run", text)
        self.operator.assign("run", "laptop", **how)
        return self.operator, worker

    def close(self) -> None:
        self._workers.close()


@pytest.fixture
def stage(cell: Cell, tmp_path: Path) -> Iterator[Stage]:
    """A pool, and an operator by hand; test modules that import this have it."""
    stage = Stage(cell.admin, cell.namespace, tmp_path)
    stage.operator.pool()
    yield stage
    stage.close()


def until(holds: Callable[[], Any], what: str | Callable[[], str], patience: float = PATIENCE) -> Any:
    """The first true value."""
    deadline = time.monotonic() + patience
    while not (found := holds()):
        assert time.monotonic() < deadline, f"never came: {what if isinstance(what, str) else what()}"
        time.sleep(0.02)
    return found
