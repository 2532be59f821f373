"""Locks among processes that share a folder: `flock` on one file for each key, gone with the process that held it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from threading import Lock, Timer
from typing import Any

from ..results.keys import path_of
from .protocol import LockManager, not_held


class FileSystemLockManager(LockManager):
    """Locks as files below `lock_files_directory`. On NFS, clients need version 4 or the lock service."""

    def __init__(self, lock_files_directory: str | Path) -> None:
        self.lock_files_directory = Path(lock_files_directory).expanduser().absolute()
        self._held: dict[str, tuple[str, int, Timer | None]] = {}
        self._table = Lock()

    def _file(self, key: str) -> Path:
        return self.lock_files_directory / f"{path_of(key)}.lock"

    def try_lock(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        """Lock the file if nobody has."""
        with self._table:
            held = self._held.get(key)
            if held is not None:
                return held[0] == holder
            file = self._file(key)
            file.parent.mkdir(parents=True, exist_ok=True)
            fd = _locked(file)
            if fd is None:
                return False
            os.ftruncate(fd, 0)
            os.write(fd, f"{holder}\n".encode())  # for people
            timer = None
            if hold_timeout is not None:
                timer = Timer(hold_timeout, self._expire, (key, fd))
                timer.daemon = True
                timer.start()
            self._held[key] = (holder, fd, timer)
            return True

    def _expire(self, key: str, fd: int) -> None:
        with self._table:
            held = self._held.get(key)
            if held is not None and held[1] == fd:
                self._free(key, fd)

    def _free(self, key: str, fd: int) -> None:
        del self._held[key]
        self._file(key).unlink(missing_ok=True)  # while it is locked, so that nobody removes a lock of another
        os.close(fd)

    def release_lock(self, key: str, holder: str) -> None:
        """Remove the file and let go of it."""
        with self._table:
            held = self._held.get(key)
            if held is None or held[0] != holder:
                raise not_held(key, holder)
            _, fd, timer = held
            if timer is not None:
                timer.cancel()
            self._free(key, fd)

    def is_locked(self, key: str) -> bool:
        """Whether anyone holds it, in this process or another."""
        with self._table:
            if key in self._held:
                return True
            try:
                fd = os.open(self._file(key), os.O_RDWR)
            except FileNotFoundError:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            finally:
                os.close(fd)
            return False

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this holder holds it, in this process."""
        with self._table:
            held = self._held.get(key)
            return held is not None and held[0] == holder

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileSystemLockManager) and other.lock_files_directory == self.lock_files_directory

    def __hash__(self) -> int:
        return hash(self.lock_files_directory)

    def __reduce__(self) -> Any:
        return FileSystemLockManager, (self.lock_files_directory,)


def _locked(file: Path) -> int | None:
    """A descriptor that holds the lock of the file of that name; None where somebody else has it."""
    while True:
        fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_ino == file.stat().st_ino:
                return fd
        except BlockingIOError:
            os.close(fd)
            return None
        except FileNotFoundError:
            pass
        os.close(fd)  # it was removed while we took it
