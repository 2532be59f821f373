"""Facts about the run that the current code belongs to: `from penstock.runtime import flow_run; flow_run.id`.

Each attribute is looked up when it is read; outside of a run it is None or empty. For tests, an environment variable
`PENSTOCK__RUNTIME__FLOW_RUN__NAME=x` (module and attribute in capitals) overrides what would be found.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from . import deployment as deployment
    from . import flow_run as flow_run
    from . import task_run as task_run

__all__ = ["deployment", "flow_run", "task_run"]


def read(module: str, facts: Mapping[str, Callable[[], Any]], name: str) -> Any:
    """The fact `name` of `module`: the environment's override in the type of the real value, else the real one."""
    fact = facts.get(name)
    if fact is None and name.startswith("__"):
        raise AttributeError(name)  # asked by the import system
    if fact is None:
        raise AttributeError(f"module {module!r} has no attribute {name!r}; it has {', '.join(sorted(facts))}")
    value = fact()
    override = os.environ.get(f"PENSTOCK__RUNTIME__{module.rpartition('.')[2].upper()}__{name.upper()}")
    if override is None:
        return value
    return _as_type_of(value, override, f"{module}.{name}")


def _as_type_of(value: Any, text: str, what: str) -> Any:
    if isinstance(value, bool):
        return text.lower() in ("1", "true")
    if isinstance(value, int):
        return int(text)
    if isinstance(value, list | tuple):
        return type(value)(part for part in text.split(",") if part)
    if isinstance(value, dict):
        import json

        try:
            return dict(json.loads(text))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{what} is a mapping: the variable must hold a JSON object: {error}") from None
    if hasattr(value, "isoformat"):
        from datetime import datetime

        return datetime.fromisoformat(text)
    return text


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f".{name}", __name__)
