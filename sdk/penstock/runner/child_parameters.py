"""Parameters of a subflow as JSON: what its name is derived from, and what stands in its spec. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

MAX_TEXT = 8192  # characters of JSON that stand in a child's spec


class Parameters:
    """Parameters of one call. `text` is all of them; `exact` whether equal texts mean equal parameters."""

    __slots__ = ("exact", "shown", "text")

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.exact = True
        texts = {name: self._text(value) for name, value in parameters.items()}
        self.text = "{" + ",".join(f"{json.dumps(name)}:{texts[name]}" for name in sorted(texts)) + "}"
        room = MAX_TEXT // max(len(texts), 1)
        fits = len(self.text) <= MAX_TEXT
        self.shown: dict[str, Any] = {
            name: json.loads(text) if fits or len(text) <= room else _stand_in(parameters[name], f"{len(text)} bytes")
            for name, text in texts.items()
        }

    def _text(self, value: Any) -> str:
        try:
            return json.dumps(value, allow_nan=False, sort_keys=True, separators=(",", ":"), default=self._as_json)
        except (TypeError, ValueError, RecursionError):
            self.exact = False
            return json.dumps(_stand_in(value, ""))

    def _as_json(self, value: Any) -> Any:
        if hasattr(value, "model_dump"):
            return value.model_dump(mode="json")
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if hasattr(value, "__fspath__"):
            return str(value)
        self.exact = False
        return _stand_in(value, "")


def _stand_in(value: Any, size: str) -> str:
    return f"<{type(value).__name__}{size and ', '}{size}>"
