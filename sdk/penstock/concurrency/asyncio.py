"""`concurrency` and `rate_limit` for code that awaits."""

from __future__ import annotations

from ..errors import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from .context import arate_limit as rate_limit
from .context import concurrency

__all__ = ["AcquireConcurrencySlotTimeoutError", "ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]
