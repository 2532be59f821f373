"""Waiting for what other threads bring about."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0


def until(holds: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """The first true value of `holds`, which is asked again and again."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it never held"
        time.sleep(0.005)
    return found
