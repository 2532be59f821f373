"""The seam between records and the places they are kept in: bytes under a path. Called by `store`,
`penstock.archive` and `penstock.code`.

A place neither retries nor waits: it says by `StorageUnavailable.transient` whether trying again may help.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .urls import StorageUrl


class Storage(Protocol):
    """A place for bytes. Whole or not at all: nobody ever reads half of what was put."""

    @property
    def url(self) -> StorageUrl:
        """Where it is."""

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        """The bytes, or the first `at_most` of them; None where there are none. Raises StorageUnavailable."""

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """The bytes in pieces, for what may not fit into memory; None where there are none. Raises StorageUnavailable,
        also while it is read."""

    def put(self, path: str, data: bytes) -> None:
        """Put the bytes there, in place of what there was. Raises StorageUnavailable."""

    def names(self, path: str) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files directly below, each sorted. Raises StorageUnavailable."""

    def delete(self, path: str) -> None:
        """Take away what is there, if anything is. Raises StorageUnavailable."""


def open_storage(url: StorageUrl, credentials: Mapping[str, str] | None = None) -> Storage:
    """The place that a URL means; nothing is sent or made yet.

    Credentials, by the names of environment variables, go before those of the environment.
    """
    if url.scheme == "file":
        from .folder import Folder

        return Folder(url)
    if url.scheme == "memory":
        from .memory import Memory

        return Memory(url)
    from .objects import Objects

    return Objects(url, credentials)
