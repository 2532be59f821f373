"""`flow.serve`, `penstock serve`, `task.serve` and `task.delay` as a user has them: scripts, with the real operator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from api_client import ApiClient
from command_line import CommandLine
from module_files import loaded
from operator_process import OperatorProcess
from penstock import flow, task
from penstock.api import labels
from penstock_cluster import control_plane as planes
from worker_stage import until

Json = dict[str, Any]
SHOP = dedent(
    """
    import helper
    from penstock import flow, get_run_logger

    @flow
    def shop(n: int = 1):
        get_run_logger().info("open")
        return helper.double(n)

    if __name__ == "__main__":
        shop.serve("corner", parameters={"n": 4}, limit=2)
    """
)
TASKS = dedent(
    """
    import sys
    from penstock import task

    @task(retries=1, retry_delay_seconds=0)
    def double(n, tries=[]):
        tries.append(n)
        print("try", len(tries), flush=True)
        if len(tries) < 2:
            raise RuntimeError("not yet")
        return 2 * n

    @task
    def fail():
        raise ValueError("row 3 is bad")

    if __name__ == "__main__":
        if sys.argv[1:] == ["serve"]:
            from penstock.task_worker import serve
            serve(double, fail)
        else:
            print(double.delay(21).result(timeout=60))
            try:
                fail.delay().result(timeout=60)
            except ValueError as error:
                print("raised", error)
    """
)


class User:
    """A folder with files, and scripts that run in it."""

    def __init__(self, folder: Path, admin: ApiClient, namespace: str, stack: ExitStack) -> None:
        self.folder, self.admin, self.namespace, self._stack = folder, admin, namespace, stack
        (folder / "helper.py").write_text("def double(n):\n    return 2 * n\n")
        (folder / "shop.py").write_text(SHOP)
        (folder / "chores.py").write_text(TASKS)
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "KUBECONFIG": str(admin.kubeconfig),
            "PENSTOCK_NAMESPACE": namespace,
        }

    def serves(self, *words: str) -> subprocess.Popen[str]:
        """A process that goes on; it is ended with the test."""
        log = self._stack.enter_context((self.folder / "log").open("w"))
        process = subprocess.Popen(
            [sys.executable, *words], cwd=self.folder, env=self.environment, stdout=log, stderr=log, text=True
        )
        self._stack.callback(process.wait, 60)
        self._stack.callback(process.kill)
        return process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def get(self, kind: str, name: str) -> Json:
        return self.admin.get(kind, self.namespace, name)

    def run(self, name: str, deployment: str) -> Json:
        """A run of a deployment, once it has ended."""
        spec = {"deploymentRef": {"name": deployment}}
        meta = {"name": name, "namespace": self.namespace}
        self.admin.create({"apiVersion": labels.API_VERSION, "kind": "FlowRun", "metadata": meta, "spec": spec})

        def ended() -> Json | None:
            status = self.get("FlowRun", name).get("status") or {}
            return status if status.get("endTime") else None

        status: Json = until(ended, lambda: f"{self.get('FlowRun', name).get('status')} {self.log}")
        return status

    def leases(self) -> list[Json]:
        selector = f"{labels.COMPONENT}={labels.WORKER}"
        found: list[Json] = self.admin.list("Lease", self.namespace, labelSelector=selector)["items"]
        return found


@pytest.fixture
def user(admin: ApiClient, namespace: str, control_plane: planes.ControlPlane, tmp_path: Path) -> Iterator[User]:
    with ExitStack() as stack:
        operator = OperatorProcess(control_plane, tmp_path, "operator", namespace, f"{namespace}/operator")
        stack.enter_context(operator)
        operator.until_it_leads()
        folder = tmp_path / "user"
        folder.mkdir()
        yield User(folder, admin, namespace, stack)


@pytest.mark.parametrize("how", ["flow.serve", "penstock serve"])
def test_a_flow_is_served_until_ctrl_c(user: User, how: str) -> None:
    words = ["shop.py"]
    if how == "penstock serve":
        words = ["-m", "penstock.cli", "serve", "shop.py:shop", "--name", "corner", "-p", "n=4", "--limit", "2"]
    process = user.serves(*words)
    until(user.leases, lambda: user.log)
    status = user.run("monday", "corner")
    assert status["result"] == {"inline": 8}, "with its neighbour module, and the deployment's parameter"
    assert "open" in user.log, "its log is shown live"
    assert status["resolved"]["pool"]["name"] == "serve-corner"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, user.log
    assert user.get("FlowDeployment", "corner")["spec"]["suspend"] is True
    assert user.leases() == []
    user.serves(*words)
    until(lambda: user.get("FlowDeployment", "corner")["spec"].get("suspend") is False, lambda: user.log)


def test_a_flow_may_stay_as_it_is_once_nobody_serves_it(user: User) -> None:
    (user.folder / "shop.py").write_text(SHOP.replace("limit=2", "pause_on_shutdown=False"))
    process = user.serves("shop.py")
    until(user.leases, lambda: user.log)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0, user.log
    assert user.get("FlowDeployment", "corner")["spec"]["suspend"] is False
    assert "suspended corner" not in user.log


def test_a_task_goes_to_the_pool_of_the_settings_after_what_it_waits_for(
    penstock: CommandLine, admin: ApiClient, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No operator is there: what is looked at is the run that is made."""
    monkeypatch.setenv("PENSTOCK_BACKGROUND_POOL", "chores")
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", str(tmp_path / "results"))
    with loaded(tmp_path / "chores.py", TASKS, "chores") as chores:

        @task
        def nap() -> None:
            time.sleep(0.2)

        @flow
        def evening() -> tuple[str, bool]:
            before = nap.submit()
            made = chores.double.apply_async((21,), {"tries": []}, wait_for=[before])
            return made.name, before.done()

        name, done = evening()
    assert done
    run = admin.get("FlowRun", namespace, name)
    assert run["spec"]["workPool"] == "chores"
    assert run["spec"]["task"]["entrypoint"] == "chores:double"


def test_a_task_is_delayed_and_another_process_runs_it(user: User) -> None:
    """Also where its worker comes later; with its retries, its value, and its exception."""
    waits = subprocess.Popen(
        [sys.executable, "chores.py"], cwd=user.folder, env=user.environment, stdout=subprocess.PIPE, text=True
    )
    try:
        until(lambda: user.admin.list("FlowRun", user.namespace)["items"], "its run")
        user.serves("chores.py", "serve")
        out, _ = waits.communicate(timeout=120)
        assert out.splitlines() == ["42", "raised row 3 is bad"], user.log
    finally:
        waits.kill()
        waits.wait()
    runs = user.admin.list("FlowRun", user.namespace)["items"]
    states = {body["spec"]["task"]["entrypoint"]: body["status"]["state"]["type"] for body in runs}
    assert states == {"chores:double": "Completed", "chores:fail": "Failed"}
    assert "try 2" in user.log
