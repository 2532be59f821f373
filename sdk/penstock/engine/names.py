"""Names of runs: numbered, random, or from the user's template or function."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import BadTemplate
from .ids import suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Template = str | Callable[..., str]


def render(template: Template, parameters: Mapping[str, Any], option: str) -> str:
    """`load-{table}` with the parameters filled in, or what the function returns.

    A function may take `parameters`; nothing else is given to it. Raises BadTemplate, which names `option`.
    """
    if isinstance(template, str):
        return fill(template, parameters, option)
    import inspect

    wants = inspect.signature(template).parameters
    name = template(parameters=dict(parameters)) if "parameters" in wants else template()
    if not isinstance(name, str):
        raise TypeError(f"{template!r} must return the run's name as str, not {type(name).__name__}")
    return name


def fill(template: str, fields: Mapping[str, Any], option: str) -> str:
    """A template with its fields. Raises BadTemplate for one that names others, or asks of a value what it has not."""
    try:
        return template.format(**fields)
    except Exception as error:  # whatever the values' own __format__ raises, too
        wrong = f"there is no {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"
        raise BadTemplate(
            f"{option} {template!r} cannot be filled in: {wrong}; it may name {', '.join(fields) or 'nothing'}, "
            "and a brace of its own is written twice"
        ) from error


def random_name(flow: str) -> str:
    """A name for a run that nobody named, as Kubernetes' generateName would make it."""
    return f"{flow}-{suffix()}"
