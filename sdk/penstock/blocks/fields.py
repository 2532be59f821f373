"""Types of secret fields beside pydantic's `SecretStr` and `SecretBytes`."""

from __future__ import annotations

from typing import Any

from pydantic import Secret

__all__ = ["SecretDict"]


class SecretDict(Secret[dict[str, Any]]):
    """A mapping that is secret as a whole; `get_secret_value()` gives it, and no repr shows it."""
