"""Writes files of others below one folder: no name leaves it, no link is made, and there is a bound to all of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import CodeUnavailable

MAX_BYTES = 1 << 30
MAX_FILES = 50_000


class Tree:
    """A folder that is being filled; `what` names in errors what its files come from."""

    def __init__(self, folder: Path, what: str, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES) -> None:
        self._folder, self._what = folder, what
        self._bytes, self._files = max_bytes, max_files
        self._max_bytes, self._max_files = max_bytes, max_files

    def write(self, name: str, content: Iterable[bytes], *, executable: bool = False) -> None:
        """Write the file `name`. Raises CodeUnavailable for a name that is none within, and past the bounds."""
        path = self._folder / self._within(name)
        self._files -= 1
        if self._files < 0:
            raise CodeUnavailable(f"{self._what} has more than {self._max_files} files: give only the code of the flow")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                for chunk in content:
                    self._bytes -= len(chunk)
                    if self._bytes < 0:
                        raise CodeUnavailable(
                            f"{self._what} has more than {self._max_bytes >> 20} MiB unpacked: give only the code"
                        )
                    file.write(chunk)
            if executable:
                path.chmod(0o755)
        except OSError as error:
            raise CodeUnavailable(f"{self._what}: {name!r} cannot be written: {error.strerror or error}") from error

    def _within(self, name: str) -> str:
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if name.startswith("/") or ".." in parts or not parts or "\0" in name or "\\" in name:
            raise CodeUnavailable(f"{self._what} has a file {name!r}, which would lie outside of its folder")
        return "/".join(parts)
