"""The current task run: `id`, `name`, `task_name`, `task_key`, `parameters`, `tags`, `run_count`."""

from __future__ import annotations

from typing import Any

from ..context import TASK
from . import read


def _of_run(name: str, default: Any = None) -> Any:
    context = TASK.get()
    return default if context is None else getattr(context.run, name)


_FACTS = {
    "id": lambda: _of_run("id"),
    "name": lambda: _of_run("name"),
    "task_name": lambda: _of_run("task_name"),
    "task_key": lambda: _of_run("key"),
    "parameters": lambda: dict(_of_run("parameters", {})),
    "tags": lambda: sorted(_of_run("tags", ())),
    "run_count": lambda: _of_run("run_count", 0),
}


def __getattr__(name: str) -> Any:
    return read(__name__, _FACTS, name)


def __dir__() -> list[str]:
    return sorted(_FACTS)
