"""How long to wait before a further try. Called by whoever tries again; knows nothing of what is tried.

Both waits are spread by chance: those that failed together, or were sent away together, must not come back together.
"""

from __future__ import annotations

import random

MAX_DOUBLINGS = 32  # far past the longest wait of anybody, and far from where a float overflows


def backoff(failures: int, first: float, most: float) -> float:
    """Seconds to wait after so many failures in a row, 1 or more: `first`, doubled with each, `most` at most; shortened
    by up to a half."""
    doubled = first * 2.0 ** min(failures - 1, MAX_DOUBLINGS)
    return min(doubled, most) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, protects nothing


def spread(seconds: float) -> float:
    """At least so many seconds, which somebody asked for, and at most half as many more."""
    return seconds * random.uniform(1.0, 1.5)  # noqa: S311 - likewise
