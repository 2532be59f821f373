"""How long the parts of a run's status may be; imported by both of its writers, and so by nothing that takes time."""

from __future__ import annotations

MAX_HISTORY = 64
HISTORY_AT_LAUNCH = 48  # leaves room for a runner that appends without having read the list
MAX_INLINE_RESULT = 2048  # bytes of JSON
MAX_MESSAGE = 1024
MAX_ANSWERS = 32  # pauses of a run that were answered
MAX_INPUT = 4096  # bytes of JSON of one answer
MAX_PAUSE_SCHEMA = 16384  # bytes of JSON
MAX_HISTORY_MESSAGE = 256
MAX_CLAIMS = 32  # kinds of claims of a run at a time
MAX_CLAIM_NAMES = 16  # limits of one claim
MAX_WANT = 100_000  # bundles of one claim
MAX_SHOWN_CLAIMS = 32  # in the status of a limit
CUT = " … (see the run's logs)"


def cut(message: str, limit: int = MAX_MESSAGE) -> str:
    """`message` within `limit` characters; what was cut is in the logs, and the text says so."""
    return message if len(message) <= limit else message[: limit - len(CUT)] + CUT
