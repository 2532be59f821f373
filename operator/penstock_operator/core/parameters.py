"""Whether parameters fit a flow's schema, and what to say when they do not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from penstock import json_inputs

MAX_BYTES = 512 * 1024


def merge(*layers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters by name; a later layer wins."""
    return {name: value for layer in layers for name, value in (layer or {}).items()}


def problems(
    schema: Mapping[str, Any] | None,
    parameters: Mapping[str, Any],
    *,
    partial: bool = False,
    what: str = "parameters",
    most: int = MAX_BYTES,
) -> list[str]:
    """What is wrong, each as `path: why`; empty when they fit. `partial` forgives what is missing.

    `what` they are and how many bytes they may have is for those who check something else, such as an answer.
    """
    size = len(json.dumps(parameters))
    if size > most:
        return [f"{what}: {size} bytes of JSON, at most {most}; pass a reference to large data instead"]
    return [str(problem) for problem in json_inputs.problems(schema, parameters, partial=partial, what=what)]
