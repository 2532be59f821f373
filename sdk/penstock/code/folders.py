"""Folders of fetched code and of installed packages, kept by content: made once, shared by processes, held while used.

A process holds what it uses by a lock on a file beside the folder until it ends. Only what nobody holds is deleted, the
longest unused first. A folder is made under another name and renamed, so that nobody ever sees half of it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from ..errors import CodeUnavailable
from ..settings import get_current_settings

KEPT = 16  # folders of one kind, besides those that are in use
ABANDONED = 86_400.0  # seconds after which a half-made folder is nobody's any more

_held: list[int] = []  # open for as long as the process lives: closing would let go of the lock


def kept(kind: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `key`, which `make` has filled here or in another process; it stays until this process ends.

    `key` is a digest: who has two folders of one key has twice the same. Raises CodeUnavailable where the cache cannot
    be written, and what `make` raises.
    """
    try:
        base = _root() / kind
        base.mkdir(parents=True, exist_ok=True)
        lock = os.open(base / f".{key}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CodeUnavailable(
            f"the folder of fetched code cannot be written: {error}; set PENSTOCK_CODE_CACHE"
        ) from error
    try:
        target = _held_folder(base, base / key, lock, make)
    except BaseException:
        os.close(lock)
        raise
    _held.append(lock)
    return target


def origin(url: str, secret: Mapping[str, str], content: str) -> str:
    """The key of what was had from there: who names another place, or comes without credentials, is not given it.

    Whoever can read the cache can read all that is in it; this keeps a wrong URL from working by chance.
    """
    return hashlib.sha256("\n".join((url, "as somebody" if secret else "", content)).encode()).hexdigest()


def _held_folder(base: Path, target: Path, lock: int, make: Callable[[Path], None]) -> Path:
    _lock(lock, fcntl.LOCK_SH)  # from here on nobody deletes it
    with suppress(FileNotFoundError):
        os.utime(target)
        return target
    # By a lock of its own: who has made the folder holds the other for as long as he uses it.
    making = os.open(base / f".{target.name}.making", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(making, fcntl.LOCK_EX)
        if not target.is_dir():
            _make(base, target, make)
            _prune(base, target)
    finally:
        os.close(making)
    return target


def _root() -> Path:
    named = get_current_settings().code_cache
    if named:
        return Path(named)
    own = Path(tempfile.gettempdir()) / f"penstock-code-{os.getuid()}"
    own.mkdir(mode=0o700, exist_ok=True)
    if own.stat().st_uid != os.getuid() or own.is_symlink():
        raise OSError(f"{own} is another user's")
    return own


def _make(base: Path, target: Path, make: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix=".new-", dir=base, ignore_cleanup_errors=True) as folder:
        made = Path(folder) / "made"
        made.mkdir()
        make(made)
        try:
            made.rename(target)
        except OSError:
            if not target.is_dir():  # where locks do not reach, another machine may have made it meanwhile
                raise


def _prune(base: Path, but: Path) -> None:
    found = []
    for path in base.iterdir():
        with suppress(OSError):
            if not path.name.startswith("."):
                found.append((path.stat().st_mtime, path))
            elif path.name.startswith(".new-") and path.stat().st_mtime < time.time() - ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
    for _, path in sorted(found, reverse=True)[KEPT:]:
        if path != but:
            _delete(base, path)


def _delete(base: Path, path: Path) -> None:
    """Delete a folder that nobody holds."""
    with suppress(OSError):
        lock = os.open(base / f".{path.name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            gone = Path(tempfile.mkdtemp(prefix=".new-", dir=base))
            path.rename(gone / "gone")
            shutil.rmtree(gone, ignore_errors=True)
        finally:
            os.close(lock)


def _lock(fd: int, how: int) -> None:
    """Lock, where the file system can; else the rename alone keeps folders whole."""
    with suppress(OSError):
        fcntl.flock(fd, how)
