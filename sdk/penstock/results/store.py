"""The result store: values under keys, in a place that a URL names.

What it promises:

- `write(key, value)` keeps the value whole or not at all; the last writer of a key wins. Any text is a key.
- `read(key)` gives an equal value, in this process or another, or raises: `MissingResult` where there is none (or it
  has expired), `DamagedResult` where it is not what was written, `SerializationError` where it cannot be made again.
- `find(key)` is `read` for a cache: a record that is missing, expired or damaged is None, the last with a warning.
- A place that cannot be reached, read or written is tried again with growing pauses, unless that cannot help; then
  `StorageUnavailable` names the URL and the cause, never credentials.
- A store may be used from any thread, and pickled. All verbs block; in an event loop, use `aread` and its like.
"""

from __future__ import annotations

import random
from time import sleep, time
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import DamagedResult, MissingResult, StorageUnavailable
from ..serializers import serializer as serializer_of
from .keys import path_of
from .record import MOST_HEADER, ResultRecord, from_bytes, header, make
from .storage import Storage, open_storage
from .urls import StorageUrl, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from ..serializers import Serializer

T = TypeVar("T")
RETRY_DELAYS = (0.2, 0.8, 3.2)  # seconds before each further try; up to half as much again is added by chance


class ResultStore:
    """Values under keys, in one place."""

    def __init__(
        self,
        storage: Storage | StorageUrl | str,
        *,
        serializer: Serializer | str = "pickle",
        retry_delays: Sequence[float] = RETRY_DELAYS,
    ) -> None:
        if isinstance(storage, str):
            storage = parse(storage)
        self.storage = open_storage(storage) if isinstance(storage, StorageUrl) else storage
        self.serializer = serializer_of(serializer)
        self._retry_delays = tuple(retry_delays)

    @classmethod
    def from_url(cls, url: str, *, serializer: Serializer | str = "pickle") -> Self:
        """The store at a URL or path (see `penstock.results.urls`). Nothing is sent or made yet."""
        return cls(url, serializer=serializer)

    def with_serializer(self, serializer: Serializer | str) -> ResultStore:
        """The same place, written to by another serializer."""
        return ResultStore(self.storage, serializer=serializer, retry_delays=self._retry_delays)

    @property
    def url(self) -> str:
        """Where the store is."""
        return str(self.storage.url)

    def url_of(self, key: str) -> str:
        """Where the record of a key is; `StoredResult.from_url` reads it."""
        return self.reference(key).url

    def reference(self, key: str) -> StoredResult:
        """A handle on the value of a key, to be read later, perhaps elsewhere."""
        return StoredResult(self, path_of(key))

    def write(self, key: str, value: Any, *, expiration: float | None = None) -> ResultRecord:
        """Keep the value, until `expiration` (seconds since the epoch) if given."""
        record = make(key, value, self.serializer, expiration)
        self.put(record)
        return record

    def put(self, record: ResultRecord) -> None:
        """Keep a record that `make` made."""
        data = record.to_bytes()
        self._patiently("written", lambda: self.storage.put(path_of(record.metadata.key), data))

    def read(self, key: str) -> Any:
        """The value. Raises MissingResult, DamagedResult, SerializationError, StorageUnavailable."""
        return self.record(key).result

    def record(self, key: str) -> ResultRecord:
        """The record, with its metadata; the value is read when it is asked for."""
        return self.record_at(path_of(key))

    def record_at(self, path: str) -> ResultRecord:
        """The record of a key that is known by its path alone."""
        where = self.url_at(path)
        data = self._patiently("read", lambda: self.storage.get(path))
        if data is None:
            raise MissingResult(f"there is no result at {where}: it was never written, or has been deleted")
        try:
            record = from_bytes(data)
        except DamagedResult as error:
            raise DamagedResult(
                f"the result at {where} is damaged: {error}; delete it, and run again what made it"
            ) from None
        if record.metadata.expired(time()):
            raise MissingResult(f"the result at {where} has expired; run again what made it")
        return record

    def url_at(self, path: str) -> str:
        """Where a path is."""
        return str(self.storage.url.child(path))

    def find(self, key: str) -> ResultRecord | None:
        """The record for a cache: None where there is none that may be used."""
        try:
            return self.record(key)
        except MissingResult:
            return None
        except DamagedResult as error:
            from ..logging import get_logger

            get_logger("results").warning("%s; it counts as missing", error)
            return None

    def exists(self, key: str) -> bool:
        """Whether `read` would find a record that has not expired; only its header is looked at."""

        def look() -> bytes | None:
            start = self.storage.get(path_of(key), MOST_HEADER)
            if start is None or len(start) < MOST_HEADER or header(start) is not None:
                return start
            return self.storage.get(path_of(key))

        try:
            data = self._patiently("read", look)
            found = None if data is None else header(data)
        except DamagedResult:
            return False
        return found is not None and not found.expired(time())

    def delete(self, key: str) -> None:
        """Let go of the value, if there is one."""
        self._patiently("changed", lambda: self.storage.delete(path_of(key)))

    async def awrite(self, key: str, value: Any, *, expiration: float | None = None) -> ResultRecord:
        """`write`, for code that awaits."""
        import asyncio

        return await asyncio.to_thread(self.write, key, value, expiration=expiration)

    async def aread(self, key: str) -> Any:
        """`read`, for code that awaits."""
        import asyncio

        return await asyncio.to_thread(self.read, key)

    async def aexists(self, key: str) -> bool:
        """`exists`, for code that awaits."""
        import asyncio

        return await asyncio.to_thread(self.exists, key)

    def _patiently(self, done: str, operation: Callable[[], T]) -> T:
        tries = len(self._retry_delays) + 1
        for number in range(1, tries + 1):
            try:
                return operation()
            except StorageUnavailable as error:
                if error.transient and number < tries:
                    pause = self._retry_delays[number - 1]
                    sleep(pause + random.random() * pause / 2)  # noqa: S311 - spreads load, protects nothing
                    continue
                times = f" (tried {number} times)" if number > 1 else ""
                raise StorageUnavailable(
                    f"the result storage {self.url} cannot be {done}{times}: {error}. Check its address, "
                    "credentials and rights, or name another (result_storage=…, or spec.results.url of the WorkPool)",
                    error.transient,
                ) from error.__cause__
        raise AssertionError("unreachable")

    def __reduce__(self) -> Any:
        return _again, (self.storage.url, self.serializer, self._retry_delays)

    def __repr__(self) -> str:
        return f"ResultStore({self.url!r}, serializer={self.serializer.name!r})"


def _again(url: StorageUrl, serializer: Serializer, retry_delays: tuple[float, ...]) -> ResultStore:
    return ResultStore(url, serializer=serializer, retry_delays=retry_delays)


class StoredResult:
    """Where one value is kept. Small, and may be sent anywhere; the value is read when it is asked for."""

    __slots__ = ("path", "store")

    def __init__(self, store: ResultStore, path: str) -> None:
        self.store, self.path = store, path

    @classmethod
    def from_url(cls, url: str) -> StoredResult:
        """The value at a URL that `ResultStore.url_of` made."""
        folder, path = parse(url).parent()
        return cls(ResultStore(folder), path)

    @property
    def url(self) -> str:
        """Where it is."""
        return self.store.url_at(self.path)

    def get(self) -> Any:
        """The value. Raises as `ResultStore.read` does."""
        return self.store.record_at(self.path).result

    def __repr__(self) -> str:
        return f"StoredResult({self.url!r})"
