"""`concurrency` and `rate_limit` for code that blocks."""

from __future__ import annotations

from ..errors import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from .context import concurrency, rate_limit

__all__ = ["AcquireConcurrencySlotTimeoutError", "ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]
