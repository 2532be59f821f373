"""When to try again, and after how long. The arithmetic of plain delays is `penstock.api.retry`'s."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from ..api.retry import MAX_DELAYS, delay_before
from ..errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import FlowRunContext

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


def interrupted(error: object, flow: FlowRunContext | None) -> bool:
    """Whether an interrupt or an exit is behind a failure: what code raises on its way out is no reason to try again.

    A cancelled coroutine is none by itself (a timeout of user code's own is one), but for what cancelled its flow.
    """
    if flow is not None and flow.interruption is not None:
        return True
    asyncio = sys.modules.get("asyncio")
    passing: tuple[type[BaseException], ...] = (Exception, GeneratorExit)
    if asyncio is not None:
        passing = (*passing, asyncio.CancelledError)
    seen: set[int] = set()
    while isinstance(error, BaseException) and id(error) not in seen:
        if not isinstance(error, passing):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


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
