"""Locks within a process."""

from __future__ import annotations

import pickle

import pytest

from lock_contract import LockContract
from penstock.locking.memory import MemoryLockManager
from penstock.locking.protocol import LockManager


class TestMemory(LockContract):
    """All managers of a process are one."""

    @pytest.fixture
    def locks(self) -> LockManager:
        return MemoryLockManager()

    @pytest.fixture
    def others(self) -> LockManager:
        return MemoryLockManager()


def test_there_is_one_for_the_process() -> None:
    assert MemoryLockManager() is MemoryLockManager() is pickle.loads(pickle.dumps(MemoryLockManager()))
