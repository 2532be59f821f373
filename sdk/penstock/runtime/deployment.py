"""The FlowDeployment that the current flow run was made from: `id` and `name`; None for a run that has none."""

from __future__ import annotations

from typing import Any

from ..context import FLOW
from . import read


def _of_info(name: str) -> Any:
    context = FLOW.get()
    return None if context is None else getattr(context.run.info, name)


def _version() -> str | None:
    context = FLOW.get()
    return None if context is None or context.run.info.deployment is None else context.flow.version


def _parameters() -> dict[str, Any]:
    context = FLOW.get()
    return {} if context is None or context.run.info.deployment is None else dict(context.run.parameters)


_FACTS = {
    "id": lambda: _of_info("deployment_id"),
    "name": lambda: _of_info("deployment"),
    "version": _version,
    "parameters": _parameters,
}


def __getattr__(name: str) -> Any:
    return read(__name__, _FACTS, name)


def __dir__() -> list[str]:
    return sorted(_FACTS)
