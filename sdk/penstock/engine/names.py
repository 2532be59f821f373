"""Names of runs: numbered, random, or from the user's template or function."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .ids import suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Template = str | Callable[..., str]


def render(template: Template, parameters: Mapping[str, Any]) -> str:
    """`load-{table}` with the parameters filled in, or what the function returns.

    A function may take `parameters`; nothing else is given to it.
    """
    if isinstance(template, str):
        return template.format(**parameters)
    wants = inspect.signature(template).parameters
    name = template(parameters=dict(parameters)) if "parameters" in wants else template()
    if not isinstance(name, str):
        raise TypeError(f"{template!r} must return the run's name as str, not {type(name).__name__}")
    return name


def random_name(flow: str) -> str:
    """A name for a run that nobody named, as Kubernetes' generateName would make it."""
    return f"{flow}-{suffix()}"
