"""Keys in one place and values in another: what a cache policy's `key_storage` asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .record import MAGIC

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .storage import Storage
    from .urls import StorageUrl


class Split:
    """The headers of records in one place, the records themselves in another. A record without its header is none."""

    def __init__(self, keys: Storage, values: Storage) -> None:
        self._keys, self._values = keys, values

    @property
    def url(self) -> StorageUrl:
        """Where the values are."""
        return self._values.url

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        """The header alone where no more is wanted, else the record."""
        header = self._keys.get(path)
        if header is None or at_most is not None:
            return header
        return self._values.get(path)

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """The record in one piece."""
        data = self.get(path)
        return None if data is None else iter((data,))

    def put(self, path: str, data: bytes) -> None:
        """The value first: whoever finds the key finds it."""
        self._values.put(path, data)
        self._keys.put(path, data[: data.index(b"\n", len(MAGIC)) + 1])

    def delete(self, path: str) -> None:
        """The key first."""
        self._keys.delete(path)
        self._values.delete(path)

    def names(self, path: str) -> tuple[list[str], list[str]]:
        """Of the keys."""
        return self._keys.names(path)
