"""What is suspended is no part of what was deployed. Called by `revisions`, and by the operator, which keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .slots import present


def as_deployed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a deployment without what is suspended, of itself and of its schedules."""
    schedules = [unsuspended(schedule) for schedule in present(spec)]
    bare = unsuspended(spec)
    bare.pop("schedules", None)
    return {**bare, "schedules": schedules} if schedules else bare


def unsuspended(body: Mapping[str, Any]) -> dict[str, Any]:
    """A deployment's spec, or one of its schedules, without whether it is suspended itself."""
    return {key: value for key, value in body.items() if key != "suspend"}
