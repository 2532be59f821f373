"""Arithmetic of retry delays, for flows, tasks and infrastructure. Values only: the caller sleeps."""

from __future__ import annotations

from collections.abc import Sequence

MAX_DELAYS = 50  # as Prefect bounds a list of delays


def delay_before(retry: int, delays: float | Sequence[float]) -> float:
    """Seconds to wait before retry number `retry` (0 is the first); past the end of a list its last value repeats."""
    if isinstance(delays, int | float):
        return float(delays)
    return float(delays[min(retry, len(delays) - 1)]) if delays else 0.0


def exponential(base: float, retries: int) -> list[float]:
    """`base * 2**n` for n from 0, one for each retry, at most `MAX_DELAYS`."""
    return [base * 2.0**n for n in range(min(retries, MAX_DELAYS))]
