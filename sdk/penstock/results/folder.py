"""A folder as a place for records, with the standard library alone. May be mounted from elsewhere by many pods.

A record is written to a temporary file beside its place and renamed, so that a reader sees the old one, the new one
or none. It is not flushed to the disk unless `?fsync=true` asks for it: that costs milliseconds each, guards against
a machine's crash only (not a process'), and what is lost then is known by its digest and made again. A key's slashes
make folders, so `a` and `a/b` cannot both be keys here.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from ..engine.ids import new_id
from ..errors import ConfigurationError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

    from .urls import StorageUrl

_LASTING = frozenset(
    (
        *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP),
        *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST),  # a file where a folder is wanted, or the other way round
    )
)


class Folder:
    """Files below one folder, which is made with the first of them."""

    def __init__(self, url: StorageUrl) -> None:
        self.url = url
        wanted = url.options.get("fsync", "false")
        if wanted not in ("true", "false"):
            raise ConfigurationError(f"{url}: fsync is true or false, not {wanted!r}")
        self._fsync = wanted == "true"

    def _file(self, path: str) -> str:
        return f"{self.url.path}/{path}"

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        """Read the file."""
        try:
            with open(self._file(path), "rb") as file:  # noqa: PTH123 - pathlib is not worth its import here
                return file.read() if at_most is None else file.read(at_most)
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            raise _unavailable(error) from error

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """Read the file by and by."""
        try:
            file = open(self._file(path), "rb")  # noqa: PTH123, SIM115 - closed by who reads it
        except (FileNotFoundError, IsADirectoryError):
            return None
        except OSError as error:
            raise _unavailable(error) from error
        return _pieces(file)

    def put(self, path: str, data: bytes) -> None:
        """Write a file beside it and give that its name."""
        target = self._file(path)
        folder, _, name = target.rpartition("/")
        temporary = f"{folder}/.{name}.{new_id()[-12:]}"
        try:
            os.makedirs(folder, exist_ok=True)  # noqa: PTH103
            try:
                with open(temporary, "xb") as file:  # noqa: PTH123
                    file.write(data)
                    if self._fsync:
                        file.flush()
                        os.fsync(file.fileno())
                os.replace(temporary, target)  # noqa: PTH105
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108
                raise
            if self._fsync:
                _sync_folder(folder)
        except OSError as error:
            raise _unavailable(error) from error

    def names(self, path: str) -> tuple[list[str], list[str]]:
        """Read the folder; what is being written is not there yet."""
        try:
            with os.scandir(self._file(path)) as found:
                seen = sorted((entry.name, entry.is_dir()) for entry in found if not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        except OSError as error:
            raise _unavailable(error) from error
        return [name for name, folder in seen if folder], [name for name, folder in seen if not folder]

    def delete(self, path: str) -> None:
        """Remove the file."""
        try:
            os.unlink(self._file(path))  # noqa: PTH108
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unavailable(error) from error


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        try:
            while piece := file.read(1 << 20):
                yield piece
        except OSError as error:
            raise _unavailable(error) from error


def _sync_folder(folder: str) -> None:
    """Make the new name last, too."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unavailable(error: OSError) -> StorageUnavailable:
    where = f": {error.filename}" if error.filename else ""
    return StorageUnavailable(f"{error.strerror or error}{where}", transient=error.errno not in _LASTING)
