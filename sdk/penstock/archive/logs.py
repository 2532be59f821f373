"""The archive's object of one pod's log: JSON lines, compressed with gzip, under a name that only this pod has. Pure.

Each line says of which run and attempt it is, so that the logs of many runs can be read as one table, as runs can. It
is compressed a block at a time, each a gzip member of its own, so that the oldest can be let go while the rest is read.
"""

from __future__ import annotations

import gzip
import json
import re
from collections import deque
from typing import Any, NamedTuple

Body = dict[str, Any]

SCHEMA = 1
ROOT = "logs"
SUFFIX = ".jsonl.gz"
MAX_BYTES = 16 * 2**20
BLOCK = 2**18
_FILE = re.compile(
    r"(?P<run>[a-z0-9]([-a-z0-9]*[a-z0-9])?)-(?P<uid>[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12})"
    r"-(?P<attempt>[1-9][0-9]{0,8})(-(?P<pod>[a-z0-9]{1,20}))?"
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_LINE = re.compile(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})) ?(.*)", re.DOTALL)


class LogAddress(NamedTuple):
    """Where the log of a pod stands."""

    date: str
    """UTC day on which the pod was created, YYYY-MM-DD."""
    namespace: str
    run: str
    uid: str
    attempt: int
    pod: str = ""
    """What sets a Job's pod apart from another of the same Job."""

    @property
    def path(self) -> str:
        """The path below the archive's URL."""
        return f"{ROOT}/date={self.date}/{self.namespace}/{self._stem}{SUFFIX}"

    @property
    def _stem(self) -> str:
        return f"{self.run}-{self.uid}-{self.attempt}" + (f"-{self.pod}" if self.pod else "")

    def checked(self) -> LogAddress | None:
        """Itself; None where its parts could mean another place than they seem to."""
        same = parse_file(self.date, self.namespace, f"{self._stem}{SUFFIX}") == self
        return self if same and _DATE.fullmatch(self.date) else None


def parse_file(date: str, namespace: str, file: str) -> LogAddress | None:
    """The address of a file found in an archive; None when it is no log."""
    found = _FILE.fullmatch(file.removesuffix(SUFFIX)) if file.endswith(SUFFIX) else None
    if found is None:
        return None
    return LogAddress(date, namespace, found["run"], found["uid"], int(found["attempt"]), found["pod"] or "")


class LogTail:
    """The end of a log, while it is read: at most so many bytes of what the pod wrote, compressed."""

    def __init__(self, address: LogAddress, at_most: int = MAX_BYTES) -> None:
        self._of = {
            "schema": SCHEMA,
            "namespace": address.namespace,
            "run": address.run,
            "run_uid": address.uid,
            "attempt": address.attempt,
        }
        self._at_most = at_most
        self._rest = bytearray()
        self._blocks: deque[tuple[int, bytes]] = deque()  # bytes as they were written, compressed
        self._kept = 0
        self._time: str | None = None
        self.fed = 0
        """Bytes that were read in all."""

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return sum(len(packed) for _, packed in self._blocks) + len(self._rest)

    def feed(self, chunk: bytes) -> bool:
        """Take the next bytes; whether `seal` should be called."""
        self._rest += chunk
        self.fed += len(chunk)
        return len(self._rest) >= BLOCK

    def seal(self) -> None:
        """Compress what was fed, up to the last whole line; a line longer than a block is cut into several."""
        end = self._rest.rfind(b"\n") + 1 or len(self._rest)
        text = bytes(self._rest[:end])
        del self._rest[:end]
        self._add(text)
        while self._kept > self._at_most and self.drop_oldest():
            pass

    def drop_oldest(self) -> bool:
        """Let the oldest block go, unless it is the only one; whether there was one."""
        if len(self._blocks) < 2:
            return False
        self._kept -= self._blocks.popleft()[0]
        return True

    def packed(self, note: str = "") -> bytes:
        """The object: what was read, after a line that says what of the log is missing, if anything is."""
        if self._rest:
            self._add(bytes(self._rest))
            self._rest.clear()
        cut = self.fed - self._kept
        said = [f"the first {cut} bytes of this log are not kept"] * bool(cut) + [note] * bool(note)
        first = [{"kind": "LogCut", **self._of, "time": None, "text": "; ".join(said)}] if said else []
        return b"".join((_pack(first), *(packed for _, packed in self._blocks)))

    def _add(self, text: bytes) -> None:
        lines = text.removesuffix(b"\n").decode(errors="replace").split("\n") if text else []
        self._blocks.append((len(text), _pack(map(self._line, lines))))
        self._kept += len(text)

    def _line(self, line: str) -> Body:
        found = _LINE.fullmatch(line)
        if found:
            self._time = found[1]
        return {"kind": "Log", **self._of, "time": self._time, "text": found[2] if found else line}


def _pack(lines: Any) -> bytes:
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    return gzip.compress(text.encode(), 6, mtime=0)
