"""Blocks that Penstock brings along."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import SecretStr, model_validator

from .core import Block

__all__ = ["Secret"]


class Secret(Block):
    """One secret value: a text, or any JSON value. `Secret.load("api-key").get()`."""

    _block_type_slug = "secret"

    value: SecretStr
    """The text, or the value as JSON."""
    encoding: Literal["text", "json"] = "text"
    """How `value` is read."""

    @model_validator(mode="before")
    @classmethod
    def _as_text(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "value" not in given:
            return given
        value = given["value"]
        if isinstance(value, str | bytes | SecretStr):
            return given
        return {**given, "value": json.dumps(value), "encoding": "json"}

    def get(self) -> Any:
        """The value in the clear, as it was given."""
        text = self.value.get_secret_value()
        return json.loads(text) if self.encoding == "json" else text
