"""Attempts as the tests launch them, on a real API server: pods as objects, and the runner's process for each.

Used by the integration tests of the runner and by benchmarks. There is no kubelet and no operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any

import cells
from api_client import ApiClient
from cells import Cell, Pod
from loopback_pod import environment
from penstock.api import labels, taskrecords
from penstock_cluster import control_plane as planes
from runner_process import Process

Json = dict[str, Any]


class Account:
    """The folder of a service account, as the kubelet mounts it: files are links, replaced together by one rename."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, files: Mapping[str, str]) -> None:
        """Replace these files; others stay."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kept = {path.name: path.read_text() for path in self.folder.glob("[!.]*")}
        version = f"..{len(list(self.folder.glob('..[0-9]*')))}"
        (self.folder / version).mkdir()
        for name, text in (kept | dict(files)).items():
            (self.folder / version / name).write_text(text)
        fresh = self.folder / "..data_tmp"
        fresh.symlink_to(version)
        fresh.rename(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(Path("..data") / name)


class Stage:
    """A cell, and runners in it."""

    def __init__(self, cell: Cell, plane: planes.ControlPlane, folder: Path) -> None:
        self.cell, self.plane, self._folder = cell, plane, folder
        self._processes = ExitStack()

    def start(self, code: str, pod: Pod, run: Json, **more: str) -> Process:
        """A runner in `pod`, which was made for `run` as it is given."""
        folder = self._folder / pod.name
        account = Account(folder / "serviceaccount")
        account.write({"token": pod.token, "ca.crt": self.plane.certificate_authority.read_text()})
        (folder / "flow.py").write_text(dedent(code))
        host, _, port = self.plane.url.removeprefix("https://").partition(":")
        variables = {
            **environment(run, pod.uid, pod.name),
            labels.ENV_CODE: str(folder / "flow.py"),
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": port,
            "PENSTOCK_SERVICE_ACCOUNT": str(account.folder),
            **more,
        }
        return self._processes.enter_context(Process(variables, folder))

    def run(self, code: str, name: str = "run") -> Process:
        """A runner of a new run's only pod."""
        run = self.cell.run(name)
        return self.start(code, self.cell.pod(f"{name}-1"), run)

    def account(self, pod: Pod) -> Account:
        """What is mounted in the pod."""
        return Account(self._folder / pod.name / "serviceaccount")

    @property
    def status(self) -> Json:
        return self.status_of("run")

    def status_of(self, run: str) -> Json:
        status: Json = self.cell.admin.get("FlowRun", self.cell.namespace, run)["status"]
        return status

    @property
    def history(self) -> list[tuple[str, int, str]]:
        """Type, seq and writer of each entry."""
        return [(entry["type"], entry["seq"], entry["writer"]) for entry in self.status["history"]]

    @property
    def pages(self) -> list[Json]:
        return self.pages_of("run")

    def pages_of(self, run: str) -> list[Json]:
        found: list[Json] = self.cell.admin.list("TaskRunPage", self.cell.namespace)["items"]
        mine = (page for page in found if page["run"]["name"] == run)
        return sorted(mine, key=lambda page: (page["attempt"], page["number"]))

    def records(self, run: str = "run") -> list[Json]:
        return [row for page in self.pages_of(run) for row in taskrecords.decode(page["data"])]

    def writes(self) -> list[str]:
        """Verb and object of each write by the account of runs, as the API server counted them."""
        user = f"system:serviceaccount:{self.cell.namespace}:penstock-run"
        return [
            f"{event['verb']} {event['objectRef']['resource']} {event['responseStatus']['code']}"
            for event in self.plane.audited()
            if event["user"]["username"] == user
        ]

    def close(self) -> None:
        self._processes.close()


@contextmanager
def own_plane(folder: Path) -> Iterator[Stage]:
    """A stage on a control plane of its own."""
    with planes.running(folder / "plane") as plane, ApiClient(plane.kubeconfig) as admin, ExitStack() as clients:
        cells.install_crds(admin)
        cells.install_policies(admin)
        admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        stage = Stage(cells.open_cell(admin, "team", clients), plane, folder / "pods")
        try:
            yield stage
        finally:
            stage.close()
