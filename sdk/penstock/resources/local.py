"""Resources as files: `<home>/<plural>/<name>.json`, each the manifest that `kubectl apply` would take.

Files are written aside and renamed, so that a reader sees the old or the new, never half of one; changes of different
processes are one after the other. Folders are the user's alone, for blocks keep their secrets here in the clear.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.ids import new_id
from ..errors import ResourceError, ResourceExists, ResourceNotFound
from ..settings import get_current_settings
from . import KINDS, Body

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_lock = threading.Lock()


def home() -> Path:
    """The folder of the setting `home`."""
    return Path(get_current_settings().home).expanduser()


class LocalResources:
    """The resources of this machine's user."""

    update_interval = 0.0
    run: Body | None = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder)

    def close(self) -> None:
        """There is nothing to let go of."""

    def get(self, plural: str, name: str) -> Body | None:
        """The object, or None."""
        return _read(self._path(plural, name))

    def list(self, plural: str) -> list[Body]:
        """All of a kind, by name."""
        found = [_read(path) for path in sorted((self._folder / plural).glob("*.json"))]
        return [body for body in found if body is not None]

    def create(self, body: Body) -> Body:
        """Create an object. Raises ResourceExists."""
        plural, name = KINDS[body["kind"]], body["metadata"]["name"]
        path = self._path(plural, name)
        made = {**body, "metadata": {**body["metadata"], "uid": new_id(), "creationTimestamp": _now()}}
        with self._writing(plural):
            if path.exists():
                raise ResourceExists(f"{plural}/{name} exists in {self._folder}")
            _write(path, made)
        return made

    def change(self, plural: str, name: str, fields: Mapping[str, Any]) -> Body:
        """Set fields by JSON pointer. Raises ResourceNotFound."""
        path = self._path(plural, name)
        with self._writing(plural):
            body = _read(path)
            if body is None:
                raise ResourceNotFound(f"{plural}/{name} is not in {self._folder}")
            for pointer, value in fields.items():
                *parents, last = (part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:])
                target = body
                for part in parents:
                    target = target[part]
                target[last] = value
            _write(path, body)
        return body

    def delete(self, plural: str, name: str) -> bool:
        """Delete an object; whether it was there."""
        try:
            self._path(plural, name).unlink()
        except FileNotFoundError:
            return False
        return True

    def _path(self, plural: str, name: str) -> Path:
        return self._folder / plural / f"{name}.json"

    @contextmanager
    def _writing(self, plural: str) -> Iterator[None]:
        """The folder is there, and nobody else writes into it."""
        folder = self._folder / plural
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            with _lock, _locked(folder / ".lock"):
                yield
        except OSError as error:
            raise ResourceError(f"{folder} cannot be written: {error}; set PENSTOCK_HOME to another folder") from error


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # where there are no such locks, the last of two processes wins
        yield
        return
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read(path: Path) -> Body | None:
    try:
        body: Body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ResourceError(f"{path} is no JSON ({error}): correct it, or delete it") from error
    return body


def _write(path: Path, body: Body) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(body, file, indent=2)
        file.write("\n")
    aside.replace(path)


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
