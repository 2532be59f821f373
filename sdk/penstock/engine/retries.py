"""When to try again, and after how long. The arithmetic of plain delays is `penstock.api.retry`'s."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from ..api.retry import delay_before
from ..errors import DefinitionError
from ..options import check

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..context import FlowRunContext

    Delays = float | Sequence[float]


def checked_delays(
    what: str, delays: float | Sequence[float] | Callable[[int], Sequence[float]] | None, retries: int
) -> Delays:
    """The delays of a definition as a number or a tuple; a function is asked once, with the number of retries.

    Raises DefinitionError for a function that raises, or returns what no delays can be.
    """
    if callable(delays):
        asked: Any = delays
        try:
            delays = asked(retries)
        except Exception as error:
            raise DefinitionError(
                f"{what}: retry_delay_seconds: {asked!r} raised {type(error).__name__}: {error}; it is called with the "
                "number of retries, and returns a list of seconds"
            ) from error
        check(what, {"retry_delay_seconds": repr(delays) if callable(delays) else delays})
    plain: Any = 0.0 if delays is None else delays
    return float(plain) if isinstance(plain, int | float) else tuple(map(float, plain))


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
