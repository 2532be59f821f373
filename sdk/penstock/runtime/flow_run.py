"""The current flow run: `id`, `name`, `flow_name`, `parameters`, `tags`, `run_count`, its parent and its times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..context import FLOW
from . import read

if TYPE_CHECKING:
    from datetime import datetime

    from ..engine.runs import FlowRun


def _run() -> FlowRun | None:
    context = FLOW.get()
    return None if context is None else context.run


def _of_run(name: str, default: Any = None) -> Any:
    run = _run()
    return default if run is None else getattr(run, name)


def _of_info(name: str, default: Any = None) -> Any:
    run = _run()
    return default if run is None else getattr(run.info, name)


def _scheduled() -> datetime:
    from datetime import UTC, datetime

    return _of_info("scheduled_start_time") or _of_run("start_time") or datetime.now(UTC)


_FACTS = {
    "id": lambda: _of_run("id"),
    "name": lambda: _of_run("name"),
    "namespace": lambda: _of_info("namespace"),
    "flow_name": lambda: _of_run("flow_name"),
    "flow_version": lambda: None if (context := FLOW.get()) is None else context.flow.version,
    "parameters": lambda: dict(_of_run("parameters", {})),
    "tags": lambda: sorted(_of_run("tags", ())),
    "labels": lambda: dict(_of_info("labels", {})),
    "run_count": lambda: _of_run("run_count", 0),
    "attempt": lambda: _of_info("attempt", 0),
    "scheduled_start_time": _scheduled,
    "parent_flow_run_id": lambda: _of_info("parent_id"),
    "parent_flow_run_name": lambda: _of_info("parent_name"),
    "root_flow_run_id": lambda: _of_info("root_id") or _of_run("id"),
    "parent_deployment": lambda: _of_info("deployment"),
}


def __getattr__(name: str) -> Any:
    return read(__name__, _FACTS, name)


def __dir__() -> list[str]:
    return sorted(_FACTS)
