"""When to try again, and after how long. The arithmetic of plain delays is `penstock.api.retry`'s."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..api.retry import MAX_DELAYS, delay_before
from ..errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Delays = float | Sequence[float]


def checked_delays(
    what: str, delays: float | Sequence[float] | Callable[[int], Sequence[float]] | None, retries: int
) -> Delays:
    """The delays of a definition as a number or a tuple; a function is asked once, with the number of retries."""
    if callable(delays):
        delays = delays(retries)
    if delays is None:
        delays = 0.0
    if isinstance(delays, int | float):
        values: tuple[float, ...] = (float(delays),)
    else:
        values = tuple(float(delay) for delay in delays)
        if len(values) > MAX_DELAYS:
            raise DefinitionError(f"{what}: retry_delay_seconds has {len(values)} entries, at most {MAX_DELAYS} may be")
    for delay in values:
        if not (delay >= 0 and math.isfinite(delay)):
            raise DefinitionError(f"{what}: retry_delay_seconds must be at least 0 and finite, got {delay}")
    return values[0] if isinstance(delays, int | float) else values


def seconds_before(retry: int, delays: Delays, jitter: float | None) -> float:
    """Seconds to wait before retry number `retry` (0 is the first)."""
    delay = delay_before(retry, delays)
    if not jitter or delay <= 0:
        return delay
    import random

    return jittered(delay, jitter, random.random())  # noqa: S311 - spreads load, protects nothing


def jittered(delay: float, factor: float, draw: float) -> float:
    """A delay of at most `delay * (1 + factor)` whose mean over uniform draws from [0, 1) is `delay`.

    The exponential distribution with mean `delay`, cut at both sides so that what is left has the same mean: with
    the upper cut at b means, that is the lower cut a < 1 where a * exp(-a) = b * exp(-b).
    """
    high = 1.0 + factor
    target = high * math.exp(-high)
    low, top = 0.0, 1.0
    for _ in range(50):
        middle = (low + top) / 2
        if middle * math.exp(-middle) < target:
            low = middle
        else:
            top = middle
    at_low, at_high = math.exp(-low), math.exp(-high)
    return -math.log(at_low - draw * (at_low - at_high)) * delay
