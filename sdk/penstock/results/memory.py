"""This process' memory as a place for records: for tests, and for caches that need not outlive it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .urls import StorageUrl

_held: dict[str, bytes] = {}


class Memory:
    """Bytes in a dict that all stores of the process share; a URL's name and path tell them apart."""

    def __init__(self, url: StorageUrl) -> None:
        self.url = url

    def get(self, path: str, at_most: int | None = None) -> bytes | None:
        """The bytes."""
        data = _held.get(str(self.url.child(path)))
        return data if data is None or at_most is None else data[:at_most]

    def chunks(self, path: str) -> Iterator[bytes] | None:
        """The bytes, in one piece."""
        data = self.get(path)
        return None if data is None else iter((data,))

    def put(self, path: str, data: bytes) -> None:
        """Hold the bytes."""
        _held[str(self.url.child(path))] = data

    def names(self, path: str) -> tuple[list[str], list[str]]:
        """What lies directly below."""
        root = f"{self.url.child(path)}/"
        below = [key.removeprefix(root).partition("/") for key in list(_held) if key.startswith(root)]
        folders = {name for name, slash, _ in below if slash}
        return sorted(folders), sorted(name for name, slash, _ in below if not slash)

    def delete(self, path: str) -> None:
        """Let go of the bytes."""
        _held.pop(str(self.url.child(path)), None)
