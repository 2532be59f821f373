"""The supervisor with real processes: what dies comes back, what waits waits, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock_cluster import processes, supervisor
from penstock_cluster.supervisor import Part

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder whose supervisor is ended after the test."""
    yield tmp_path
    supervisor.stop(tmp_path)


def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something, or fail."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def pids(folder: Path) -> dict[str, int | None]:
    """Name and pid of every part."""
    return {name: pid for name, pid, _ in supervisor.table(folder)}


def sleeper(name: str, gate: str = "") -> Part:
    """A part that lives long; its command is no other test's."""
    return Part(name, (SLEEP, f"{600 + os.getpid() / 1e9 + len(name) / 1e3:.12f}"), gate=gate)


def test_a_killed_part_comes_back(folder: Path) -> None:
    """With another pid, counted as a restart; the others are left alone."""
    supervisor.start(folder, [sleeper("a"), sleeper("bb")])
    until(lambda: all(pids(folder).values()))
    before = pids(folder)
    os.kill(before["a"] or 0, signal.SIGKILL)
    until(lambda: pids(folder)["a"] not in (None, before["a"]))
    assert pids(folder)["bb"] == before["bb"]
    assert [(name, restarts) for name, _, restarts in supervisor.table(folder)] == [("a", 1), ("bb", 0)]


def test_a_part_waits_for_its_gate(folder: Path) -> None:
    """It is started when the gate opens, which a new start closes again."""
    supervisor.start(folder, [sleeper("a"), sleeper("bb", gate="open")])
    until(lambda: pids(folder)["a"] is not None)
    time.sleep(0.3)
    assert pids(folder)["bb"] is None
    supervisor.open_gate(folder, "open")
    until(lambda: pids(folder)["bb"] is not None)
    supervisor.stop(folder)
    supervisor.start(folder, [sleeper("a"), sleeper("bb", gate="open")])
    assert not (folder / "open").exists()


def test_parts_die_with_a_killed_supervisor_and_start_again(folder: Path) -> None:
    """No second copy of a part can run after the next start."""
    supervisor.start(folder, [sleeper("a")])
    until(lambda: pids(folder)["a"] is not None)
    part, overseer = pids(folder)["a"], supervisor.pid(folder)
    assert overseer is not None
    assert part is not None
    os.kill(overseer, signal.SIGKILL)
    until(lambda: supervisor.pid(folder) is None and not processes.command(part))
    supervisor.start(folder, [sleeper("a")])
    until(lambda: pids(folder)["a"] is not None)
    assert len(processes.of_commands([sleeper("a").command])) == 1


def test_start_is_idempotent(folder: Path) -> None:
    """A supervisor that runs is left as it is."""
    supervisor.start(folder, [sleeper("a")])
    first = supervisor.pid(folder)
    supervisor.start(folder, [sleeper("a")])
    assert supervisor.pid(folder) == first


def test_stop_finds_a_supervisor_whose_folder_is_gone(folder: Path) -> None:
    """Somebody deleted the folder under it."""
    supervisor.start(folder, [sleeper("a")])
    until(lambda: pids(folder)["a"] is not None)
    part = pids(folder)["a"] or 0
    shutil.rmtree(folder)
    supervisor.stop(folder)
    assert supervisor.pid(folder) is None
    until(lambda: not processes.command(part))
    folder.mkdir()


def test_a_stale_pid_file_names_nobody(folder: Path) -> None:
    """A pid that belongs to a stranger now is not taken for a part, and not killed."""
    supervisor.start(folder, [sleeper("a")])
    until(lambda: pids(folder)["a"] is not None)
    supervisor.stop(folder)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        (folder / "a.pid").write_text(str(stranger.pid))
        (folder / "supervisor.pid").write_text(str(stranger.pid))
        assert pids(folder) == {"a": None}
        supervisor.stop(folder)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_parts_do_not_see_the_callers_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the shell would take the parts' requests to each other."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    supervisor.start(folder, [sleeper("a")])
    until(lambda: pids(folder)["a"] is not None)
    environment = Path(f"/proc/{pids(folder)['a']}/environ").read_text().split("\0")
    assert {line.partition("=")[0] for line in environment if line} == {"PATH", "LANG", "HOME"}


@pytest.mark.parametrize(
    ("previous", "lived", "wait"),
    [(0.1, 0.5, 0.2), (0.2, 29.0, 0.4), (8.0, 1.0, 10.0), (10.0, 1.0, 10.0), (10.0, 31.0, 0.1)],
    ids=["dies young", "dies young again", "is bounded", "stays bounded", "ran long: starts over"],
)
def test_backoff(previous: float, lived: float, wait: float) -> None:
    """Doubles while a part dies young."""
    assert supervisor.backoff(previous, lived) == wait
