"""What agent and executor say to each other: JSON objects, one a line, over a unix socket. Pure.

The agent says `start`, `end`, `contact` and `quit`; the executor `hello` (first, to each agent that comes), `started`,
`ended` and `refused`. A process is named by the uid of its run and its attempt, so that either side may start again.
"""

from __future__ import annotations

import json
from typing import Any

Message = dict[str, Any]
MAX_LINE = 1024 * 1024  # bytes: an environment is at most some dozen KiB


class Garbled(Exception):
    """What came is no message: whoever sent it is no agent, or no executor."""


def encoded(message: Message) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


class Lines:
    """Messages out of what arrives, in whatever pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Message]:
        """The messages that are whole by now. Raises Garbled."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise Garbled(f"a line of more than {MAX_LINE} bytes")
        return [_decoded(line) for line in whole if line]


def _decoded(line: bytes) -> Message:
    try:
        message = json.loads(line)
    except ValueError as error:
        raise Garbled(f"{line[:80]!r} is no JSON") from error
    if not isinstance(message, dict):
        raise Garbled(f"{line[:80]!r} is no object")
    return message


def process_id(run_uid: str, attempt: int) -> str:
    """The name of a process, the same after a restart of agent or executor."""
    return f"{run_uid}.{attempt}"
