"""What is kept of a result: a header that people can read, and the value as its serializer wrote it. Pure.

    penstock-result 1
    {"serializer": "pickle", "created": "2026-11-25T00:43:45+00:00", "expiration": null, "key": …, "digest": …}
    the value

The digest tells what is damaged; the expiration, what is no longer to be used.
"""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any

from ..errors import DamagedResult
from ..serializers import Serializer, serializer

MAGIC = b"penstock-result 1\n"
MOST_HEADER = 16 * 1024  # bytes within which a header ends, unless its key is enormous


class ResultMetadata:
    """A record's header."""

    __slots__ = ("created", "digest", "expiration", "key", "serializer", "size", "version")

    def __init__(
        self,
        *,
        key: str,
        serializer: str,
        created: float,
        expiration: float | None,
        version: str,
        digest: str,
        size: int,
    ) -> None:
        self.key, self.serializer, self.version = key, serializer, version
        self.created, self.expiration = created, expiration  # seconds since the epoch
        self.digest, self.size = digest, size

    @property
    def storage_key(self) -> str:
        """Prefect's word for the key."""
        return self.key

    def expired(self, now: float) -> bool:
        """Whether the record is no longer to be used."""
        return self.expiration is not None and self.expiration <= now


class ResultRecord:
    """A value that was, or will be, kept under a key."""

    __slots__ = ("_value", "metadata", "payload")

    def __init__(self, metadata: ResultMetadata, payload: bytes) -> None:
        self.metadata, self.payload = metadata, payload
        self._value: Any = _UNREAD

    @property
    def result(self) -> Any:
        """The value; read when it is first asked for. Raises SerializationError, ConfigurationError."""
        if self._value is _UNREAD:
            self._value = serializer(self.metadata.serializer).loads(self.payload)
        return self._value

    def to_bytes(self) -> bytes:
        """The record as it is kept."""
        m = self.metadata
        header = {
            "serializer": m.serializer,
            "created": _iso(m.created),
            "expiration": None if m.expiration is None else _iso(m.expiration),
            "key": m.key,
            "version": m.version,
            "digest": m.digest,
            "size": m.size,
        }
        return b"".join((MAGIC, json.dumps(header).encode(), b"\n", self.payload))


_UNREAD = object()


def make(key: str, value: Any, how: Serializer, expiration: float | None = None) -> ResultRecord:
    """The record of a value. Raises SerializationError."""
    payload = how.dumps(value)
    metadata = ResultMetadata(
        key=key,
        serializer=how.name,
        created=time.time(),
        expiration=expiration,
        version=_version(),
        digest=_digest(payload),
        size=len(payload),
    )
    return ResultRecord(metadata, payload)


def header(data: bytes) -> ResultMetadata | None:
    """The header that these bytes begin with; None where they end before it does. Raises DamagedResult."""
    if not data.startswith(MAGIC):
        raise DamagedResult("it does not begin as a record does")
    end = data.find(b"\n", len(MAGIC))
    if end < 0:
        return None
    try:
        found = json.loads(data[len(MAGIC) : end])
        return ResultMetadata(
            key=found["key"],
            serializer=found["serializer"],
            created=_epoch(found["created"]),
            expiration=None if found["expiration"] is None else _epoch(found["expiration"]),
            version=found["version"],
            digest=found["digest"],
            size=found["size"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedResult(f"its header cannot be read: {error!r}") from None


def from_bytes(data: bytes) -> ResultRecord:
    """The record that was kept as these bytes. Raises DamagedResult."""
    metadata = header(data)
    if metadata is None:
        raise DamagedResult("it ends within its header")
    payload = data[data.index(b"\n", len(MAGIC)) + 1 :]
    if len(payload) != metadata.size:
        raise DamagedResult(f"it has {len(payload)} bytes where {metadata.size} were written")
    if _digest(payload) != metadata.digest:
        raise DamagedResult("its digest is not that of what was written")
    return ResultRecord(metadata, payload)


def _digest(payload: bytes) -> str:
    return f"sha256:{sha256(payload).hexdigest()}"


def _iso(epoch: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch, UTC).isoformat()


def _epoch(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    global _found_version
    if _found_version is None:
        try:
            _found_version = version("penstock")
        except PackageNotFoundError:  # a bare checkout on PYTHONPATH
            _found_version = "unknown"
    return _found_version


_found_version: str | None = None
