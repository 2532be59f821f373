"""Finds runs in an archive, the latest first. Called by the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ..errors import StorageUnavailable
from ..results.storage import open_storage
from ..results.urls import parse
from . import logs, record
from .logs import LogAddress
from .record import Address, Body

if TYPE_CHECKING:
    from ..results.storage import Storage

READERS = 16  # records that are fetched at a time
HEAD_BYTES = 32_768  # enough for the first line of nearly every record
T = TypeVar("T")
_DAY = re.compile(r"date=(\d{4}-\d{2}-\d{2})")


class Archive:
    """Runs below a URL, as `Storage` gives them. Raises StorageUnavailable, ConfigurationError."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    @classmethod
    def at(cls, url: str) -> Archive:
        """The archive of a URL."""
        return cls(open_storage(parse(url, "archive")))

    @property
    def url(self) -> str:
        """Where it is."""
        return str(self._storage.url)

    def days(self, since: str = "", until: str = "", root: str = record.ROOT) -> list[str]:
        """Days (YYYY-MM-DD, UTC) on which runs ended, the latest first; bounds included, empty: none."""
        folders, _ = self._storage.names(root)
        found = [match[1] for name in folders if (match := _DAY.fullmatch(name))]
        return sorted((day for day in found if day >= since and (not until or day <= until)), reverse=True)

    def addresses(self, day: str, namespace: str) -> list[Address]:
        """The records of a day."""
        _, files = self._storage.names(f"{record.ROOT}/date={day}/{namespace}")
        return [found for file in files if (found := record.parse_file(day, namespace, file))]

    def head(self, address: Address) -> Body | None:
        """The first line of a record; None when it was taken away."""
        data = self._storage.get(address.path, HEAD_BYTES)
        found = None if data is None else self._checked(address, record.head, data)
        if found is None and data is not None and len(data) >= HEAD_BYTES:
            data = self._storage.get(address.path)
            found = None if data is None else self._checked(address, record.head, data)
        return found

    def lines(self, address: Address) -> list[Body]:
        """All lines of a record; none when it was taken away."""
        data = self._storage.get(address.path)
        return [] if data is None else self._checked(address, lambda data: list(record.unpack(data)), data)

    def runs(
        self, namespace: str, wanted: Callable[[Body], bool], limit: int, since: str = "", until: str = ""
    ) -> list[Body]:
        """First lines of the latest runs that are wanted, the latest first."""
        return list(islice(filter(wanted, self._heads(namespace, since, until)), limit))

    def _heads(self, namespace: str, since: str, until: str) -> Iterator[Body]:
        with ThreadPoolExecutor(READERS) as readers:
            for day in self.days(since, until):
                heads = filter(None, readers.map(self.head, self.addresses(day, namespace)))
                yield from sorted(heads, key=lambda head: (head.get("ended") or "", head["run_uid"]), reverse=True)

    def find(self, namespace: str, run: str, since: str = "", until: str = "") -> Address | None:
        """The latest record of a run of that name."""
        for day in self.days(since, until):
            found = [address for address in self.addresses(day, namespace) if address.run == run]
            if len(found) > 1:  # of one name and day: the one that ended last
                found.sort(key=lambda address: (self.head(address) or {}).get("ended") or "")
            if found:
                return found[-1]
        return None

    def logs(
        self, namespace: str, run: str, uid: str = "", attempt: int | None = None, since: str = "", until: str = ""
    ) -> list[LogAddress]:
        """The logs of an attempt, the last one when it is None, of the latest run of that name and uid; of a Job that
        made several pods there are several. `since` and `until`: UTC days on which its pods were made."""
        for day in self.days(since, until, logs.ROOT):
            _, files = self._storage.names(f"{logs.ROOT}/date={day}/{namespace}")
            parsed = [one for file in files if (one := logs.parse_file(day, namespace, file))]
            found = [
                one for one in parsed if one.run == run and uid in ("", one.uid) and attempt in (None, one.attempt)
            ]
            if found:
                last = max(found, key=lambda one: one.attempt)
                return [one for one in found if (one.uid, one.attempt) == (last.uid, last.attempt)]
        return []

    def log(self, address: LogAddress) -> list[Body]:
        """The lines of a log; none when it was taken away."""
        data = self._storage.get(address.path)
        return [] if data is None else self._checked(address, lambda data: list(record.unpack(data)), data)

    def _checked(self, address: Address | LogAddress, read: Callable[[bytes], T], data: bytes) -> T:
        try:
            return read(data)
        except ValueError as error:
            raise StorageUnavailable(f"{self.url}/{address.path}: {error}", transient=False) from error
