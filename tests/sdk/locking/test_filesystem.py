"""Locks by files: among managers, and among processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lock_contract import LockContract
from penstock.locking.filesystem import FileSystemLockManager
from penstock.locking.protocol import LockManager


class TestFiles(LockContract):
    """Two managers of one folder, as two processes have them."""

    @pytest.fixture
    def locks(self, tmp_path: Path) -> LockManager:
        return FileSystemLockManager(tmp_path / "locks")

    @pytest.fixture
    def others(self, tmp_path: Path) -> LockManager:
        return FileSystemLockManager(str(tmp_path / "locks"))


def test_nothing_is_left_of_a_lock(tmp_path: Path) -> None:
    locks = FileSystemLockManager(tmp_path)
    locks.acquire_lock("a/../k", "me")
    assert len(list(tmp_path.rglob("*.lock"))) == 1
    locks.release_lock("a/../k", "me")
    assert not list(tmp_path.rglob("*.lock"))


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    program = (
        "import sys, time; from penstock.locking.filesystem import FileSystemLockManager as M;"
        "m = M(sys.argv[1]); assert m.acquire_lock('k', 'child'); print('held', flush=True); time.sleep(600)"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=env, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        locks = FileSystemLockManager(tmp_path)
        assert locks.is_locked("k")
        assert not locks.acquire_lock("k", "me", acquire_timeout=0.05)
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert locks.acquire_lock("k", "me", acquire_timeout=60)
    locks.release_lock("k", "me")


def test_managers_of_one_folder_are_equal(tmp_path: Path) -> None:
    assert FileSystemLockManager(tmp_path) == FileSystemLockManager(str(tmp_path))
    assert FileSystemLockManager(tmp_path) != FileSystemLockManager(tmp_path / "x")
