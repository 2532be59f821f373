"""Tries again what may go well a moment later; a server that restarts should fail no run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import CodeUnavailable

T = TypeVar("T")

PATIENCE = 60.0  # seconds
FIRST, LONGEST = 0.5, 10.0


def patiently(call: Callable[[], T]) -> T:
    """What the call gives. Raises its CodeUnavailable where that will not pass, or did not in a minute."""
    deadline, wait = time.monotonic() + PATIENCE, FIRST
    while True:
        try:
            return call()
        except CodeUnavailable as error:
            if not error.transient or time.monotonic() + wait > deadline:
                raise
        time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311
        wait = min(wait * 2, LONGEST)
