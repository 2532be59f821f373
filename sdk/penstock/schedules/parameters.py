"""Whether the parameters of schedules fit their flow, so that their runs do not fail one after the other. Pure.

Called by the operator for the Ready condition of a deployment, and by the SDK before it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import json_inputs
from .slots import has_form


def misfits(
    schema: Mapping[str, Any] | None,
    own: Mapping[str, Any] | None,
    schedules: Iterable[Mapping[str, Any]],
    *,
    partial: bool = False,
) -> list[str]:
    """What does not fit, each as `schedules[slug].parameters.path: why`.

    `own`: the deployment's, over which those of a schedule are. Nobody gives a run of a schedule what is missing, so
    that it is wrong, unless `partial`.
    """
    found = []
    for schedule in filter(has_form, schedules):
        where = f"schedules[{schedule.get('slug')}].parameters"
        given = {**(own or {}), **(schedule.get("parameters") or {})}
        for problem in json_inputs.problems(schema, given, partial=partial):
            found.append(f"{where}.{problem}" if problem.path else f"{where}: {problem}")
    return found
