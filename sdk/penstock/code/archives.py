"""Code in a tar or zip archive in object storage: fetched, verified by its digest, unpacked within bounds."""

from __future__ import annotations

import hashlib
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

from ..errors import CodeUnavailable, ConfigurationError, StorageUnavailable
from ..results.storage import open_storage
from ..results.urls import parse
from .folders import kept, origin
from .patience import patiently
from .trees import Tree

MAX_BYTES = 512 << 20  # of an archive as it is stored
CHUNK = 1 << 20


def fetch(url: str, digest: str | None, secret: Mapping[str, str]) -> tuple[Path, str]:
    """The folder of the unpacked archive, and its digest (`sha256:<hex>`); with `digest`, no other is taken.

    `secret` holds credentials by the names of environment variables. Raises CodeUnavailable.
    """
    what = f"spec.code.archive.url: {url}"

    def fill(folder: Path) -> None:
        assert digest is not None
        with downloaded(url, digest, secret, what) as (file, _):
            unpack(file, folder, what)

    if digest is not None:
        return kept("archive", origin(url, secret, digest), fill), digest
    with downloaded(url, None, secret, what) as (file, found):
        return kept("archive", origin(url, secret, found), lambda folder: unpack(file, folder, what)), found


class downloaded:  # noqa: N801 - a context manager, named as a function is
    """What is at the URL as an open file, and its digest. Raises CodeUnavailable."""

    def __init__(self, url: str, digest: str | None, secret: Mapping[str, str], what: str) -> None:
        self._url, self._digest, self._secret, self._what = url, digest, secret, what
        self._file: IO[bytes] | None = None

    def __enter__(self) -> tuple[IO[bytes], str]:
        self._file = tempfile.TemporaryFile()
        try:
            found = patiently(self._download)
            if self._digest is not None and found != self._digest:
                raise CodeUnavailable(
                    f"{self._what} has the digest {found} and not {self._digest}, which is asked for: it was replaced. "
                    "Set the digest to the new one, or put each version under a name of its own; then make a new run"
                )
        except BaseException:
            self._file.close()
            raise
        self._file.seek(0)
        return self._file, found

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        self._file.close()

    def _download(self) -> str:
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        hashed, size = hashlib.sha256(), 0
        try:
            folder, name = parse(self._url, "code").parent()
            chunks = open_storage(folder, self._secret).chunks(name)
            if chunks is None:
                raise CodeUnavailable(f"{self._what}: there is no such object; upload it, or correct the URL")
            for chunk in chunks:
                size += len(chunk)
                if size > MAX_BYTES:
                    raise CodeUnavailable(f"{self._what} has more than {MAX_BYTES >> 20} MiB: give only the code")
                hashed.update(chunk)
                self._file.write(chunk)
        except ConfigurationError as error:
            raise CodeUnavailable(f"{self._what}: {error}") from error
        except StorageUnavailable as error:
            raise CodeUnavailable(f"{self._what}: {error}", transient=error.transient) from error
        return f"sha256:{hashed.hexdigest()}"


def unpack(file: IO[bytes], folder: Path, what: str) -> None:
    """Unpack a tar or a zip. Raises CodeUnavailable for other files, and for what is not safe to unpack."""
    tree = Tree(folder, what)
    try:
        # By its beginning: a tar that ends with a wheel has the end of a zip, too.
        head = file.read(2)
        file.seek(0)
        if head == b"PK":
            _unzip(file, tree, what)
            return
        with tarfile.open(fileobj=file, mode="r:*") as tar:
            for member in tar:
                _untar(tar, member, tree, what)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, lzma.LZMAError, zlib.error, RuntimeError) as error:
        raise CodeUnavailable(f"{what} is no tar (gzip, bzip2, xz) and no zip that can be read: {error}") from error


def _untar(tar: tarfile.TarFile, member: tarfile.TarInfo, tree: Tree, what: str) -> None:
    if member.isdir():
        return
    content = tar.extractfile(member) if member.isreg() else None
    if content is None:
        kind = "link" if member.issym() or member.islnk() else "special file"
        raise CodeUnavailable(
            f"{what} has a {kind} {member.name!r}, and only files are unpacked: make it with `tar --dereference`"
        )
    tree.write(member.name, _chunks(content), executable=bool(member.mode & 0o100))


def _unzip(file: IO[bytes], tree: Tree, what: str) -> None:
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            mode = member.external_attr >> 16
            if mode & 0o170000 == 0o120000:
                raise CodeUnavailable(f"{what} has a link {member.filename!r}, and only files are unpacked")
            if not member.is_dir():
                with archive.open(member) as content:
                    tree.write(member.filename, _chunks(content), executable=bool(mode & 0o100))


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    while chunk := content.read(CHUNK):
        yield chunk
