"""Tries again what may go well a moment later; a server that restarts should fail no run."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import CodeUnavailable
from ..runner.connections import pauses

T = TypeVar("T")

PATIENCE = 60.0  # seconds
FIRST, LONGEST = 0.5, 10.0


def patiently(call: Callable[[], T]) -> T:
    """What the call gives. Raises its CodeUnavailable where that will not pass, or did not in a minute."""
    deadline, waits = time.monotonic() + PATIENCE, pauses(FIRST, LONGEST)
    while True:
        wait = next(waits)
        try:
            return call()
        except CodeUnavailable as error:
            if not error.transient or time.monotonic() + wait > deadline:
                raise
        time.sleep(wait)
