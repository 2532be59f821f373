"""Workers whose runs are containers, by a real Podman, against a real API server; the tests play the operator."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from podman_service import IMAGE, PodmanService
from worker_stage import Operator, Stage, WorkerProcess, stage, until

__all__ = ["stage"]

HELLO = dedent(
    """
    import os
    from pathlib import Path
    from penstock import flow, task

    @task
    def double(n):
        return 2 * n

    @flow
    def main(n=3, **_):
        print("user code", os.environ.get("REGION"))
        hidden = ("KUBECONFIG", "CONTAINERS_CONF", "DOCKER_HOST")
        return {
            "sum": sum(double.map([n, n]).result()),
            "told": [name for name in hidden if name in os.environ],
            "sees": sorted(each.name for each in Path.cwd().iterdir()),
            "first": Path("/proc/1/cmdline").read_text().split("\\0")[:3],
        }
    """
)
WAITS = """
import time
from penstock import flow

@flow
def main(**_):
    print("user code", flush=True)
    while True:
        open({file!r}, "a").write("beat\\n")
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanService]:
    with PodmanService(tmp_path_factory.mktemp("podman")) as service:
        yield service


def start(stage: Stage, podman: PodmanService, *words: str) -> WorkerProcess:
    """A worker of containers."""
    options = ("--type", "docker", "--image", IMAGE, "--pull", "never", *podman.volumes, *words)
    return stage.worker("laptop", *options, DOCKER_HOST=f"unix://{podman.socket}")


def given(
    stage: Stage, podman: PodmanService, text: str, *words: str, image: str = ""
) -> tuple[Operator, WorkerProcess]:
    """The operator, and such a worker that it has given the run `run` with that code; `image`: what the run names."""
    worker = start(stage, podman, *words)
    stage.operator.run("run", text, image=image)
    stage.operator.assign("run", "laptop", env={"REGION": "north"})
    return stage.operator, worker


def exited(operator: Operator, worker: WorkerProcess) -> tuple[str, int | None, str]:
    found = until(lambda: operator.exited("run"), lambda: f"{operator.get('run')} {worker.said}")
    return found["reason"], found.get("exitCode"), found["message"]


def test_a_run_is_a_container_that_sees_its_own_folder_and_has_no_credentials(
    stage: Stage, podman: PodmanService
) -> None:
    operator, worker = given(stage, podman, HELLO, image=IMAGE)
    until(lambda: operator.state("run") == "Completed", lambda: f"{operator.get('run')} {worker.said}")
    result = operator.get("run")["status"]["result"]["inline"]
    assert (result["sum"], result["told"]) == (12, [])
    assert set(result["sees"]) <= {"api", "life", "flow.py", "results", "__pycache__"}
    assert result["first"] == ["python3", "-m", "penstock.worker.contained"]
    until(lambda: "user code north" in worker.text("run"), lambda: worker.said)
    until(lambda: not podman.containers(), lambda: str(podman.containers()))
    assert "exited" not in operator.get("run")["status"]["worker"]


def test_a_run_that_is_cancelled_ends_by_sigterm(stage: Stage, podman: PodmanService) -> None:
    operator, worker = given(stage, podman, WAITS.format(file="beats"))
    until(lambda: "user code" in worker.text("run"), lambda: f"{operator.get('run')} {worker.said}")
    operator.enter("run", "Cancelling")
    assert exited(operator, worker)[:2] == ("ContainerExited", 143)
    until(lambda: not podman.containers(), lambda: str(podman.containers()))


@pytest.mark.parametrize(
    ("body", "reason", "code"),
    [
        pytest.param("os._exit(7)", "ContainerExited", 7, id="exit"),
        pytest.param("os.kill(os.getpid(), 9)", "ContainerExited", 137, id="killed"),
        pytest.param("len([bytearray(10**6) for _ in range(10**5)])", "OOMKilled", 137, id="out of memory"),
    ],
)
def test_how_a_container_ended_is_told(stage: Stage, podman: PodmanService, body: str, reason: str, code: int) -> None:
    text = f"import os\nfrom penstock import flow\n\n@flow\ndef main(**_):\n    {body}\n"
    operator, worker = given(stage, podman, text, "--memory", "256Mi")
    assert exited(operator, worker)[:2] == (reason, code)
    until(lambda: not podman.containers(), lambda: str(podman.containers()))


def test_an_image_that_is_not_there_is_told(stage: Stage, podman: PodmanService) -> None:
    operator, worker = given(stage, podman, HELLO, image="localhost/nobody:1")
    reason, code, message = exited(operator, worker)
    assert (reason, code) == ("StartFailed", None)
    assert "localhost/nobody:1" in message
    assert "--pull never" in message


@pytest.mark.parametrize("whole", [True, False], ids=["worker and executor", "the worker alone"])
def test_a_container_ends_with_its_worker_and_the_next_worker_clears_it_away(
    stage: Stage, podman: PodmanService, tmp_path: Path, whole: bool
) -> None:
    """Whoever has the run next must not find it running here."""
    seen = tmp_path / "seen"
    seen.mkdir()
    operator, worker = given(stage, podman, WAITS.format(file="/seen/beats"), "--volume", f"{seen}:/seen")
    beats = seen / "beats"
    until(beats.exists, lambda: f"{operator.get('run')} {worker.said}")
    executor = [pid for pid in children(worker.process.pid) if "penstock.worker.containers" in command(pid)]
    worker.process.kill()
    worker.process.wait()
    for pid in executor if whole else []:
        os.kill(pid, signal.SIGKILL)
    until(lambda: still(beats), "the container goes on")
    assert operator.state("run") == "Running"
    if not whole:
        until(lambda: not podman.containers(), lambda: str(podman.containers()))
        return
    assert len(podman.containers()) == 1
    again = stage.worker(
        "other", "--type", "docker", "--image", IMAGE, *podman.volumes, DOCKER_HOST=f"unix://{podman.socket}"
    )
    until(lambda: not podman.containers(), lambda: again.said)


def still(file: Path) -> bool:
    """Whether nothing is written any more."""
    size = file.stat().st_size
    time.sleep(1)
    return file.stat().st_size == size


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
