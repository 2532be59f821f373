"""Named limits on what runs at the same time, and on how often: `with concurrency("db"):`, `rate_limit("api")`.

`concurrency` works in `with` and `async with`; `rate_limit` blocks and `arate_limit` is awaited. The submodules `sync`
and `asyncio` have both under Prefect's names. `limits` and `decision` are pure; `claims` is the seam for who gives.
"""

from __future__ import annotations

from ..errors import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from .context import arate_limit, concurrency, declare_limit, rate_limit, remove_limit

__all__ = [
    "AcquireConcurrencySlotTimeoutError",
    "ConcurrencySlotAcquisitionError",
    "arate_limit",
    "concurrency",
    "declare_limit",
    "rate_limit",
    "remove_limit",
]
