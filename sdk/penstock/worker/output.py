"""Lines of a run's output as a worker writes them: JSON objects that say whose they are. Pure.

Called by the executor, through which the output of all its runs goes into one log. Whatever a run prints, it cannot
make a line that says it is another run's.
"""

from __future__ import annotations

import json
import time
from typing import Any

MAX_LINE = 65_536  # bytes; longer lines are cut into several
OUT, ERR = "stdout", "stderr"
END = "processEnd"  # key of the record that is an attempt's last: how its process ended


class Tagged:
    """One stream of one attempt, from pieces to tagged lines."""

    def __init__(self, stream: str, run: str, run_uid: str, attempt: int) -> None:
        self._stream = stream
        self._whose = {"run": run, "attempt": attempt, "runUid": run_uid}
        self._rest = b""

    def feed(self, data: bytes, now: float) -> list[bytes]:
        """The lines that are whole by now."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > MAX_LINE:
            whole.append(self._rest[:MAX_LINE])
            self._rest = self._rest[MAX_LINE:]
        return [self._tag(line, now) for line in whole]

    def close(self, now: float) -> list[bytes]:
        """What is left: a last line that never ended."""
        rest, self._rest = self._rest, b""
        return [self._tag(rest, now)] if rest else []

    def _tag(self, line: bytes, now: float) -> bytes:
        record = _record(line)
        if record is None:
            record = {
                "ts": _timestamp(now),
                "level": "INFO",
                "logger": f"penstock.{self._stream}",
                "message": line.decode("utf-8", "replace"),
            }
        return json.dumps({**record, **self._whose}).encode() + b"\n"


def ended(run: str, run_uid: str, attempt: int, code: int, now: float) -> bytes:
    """The last line of an attempt, by which whoever follows its output knows that no more comes."""
    record = {
        "ts": _timestamp(now),
        "level": "DEBUG",
        "logger": "penstock.worker",
        "message": f"the process has ended with exit code {code}",
        END: code,
        "run": run,
        "attempt": attempt,
        "runUid": run_uid,
    }
    return json.dumps(record).encode() + b"\n"


def _record(line: bytes) -> dict[str, Any] | None:
    """A line that is a record already, as `penstock.logging.json_lines` writes them."""
    if not line.startswith(b"{"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if isinstance(record, dict) and all(isinstance(record.get(key), str) for key in ("ts", "level", "message")):
        record.pop(END, None)  # a run does not say that it has ended
        return record
    return None


def _timestamp(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
