"""The current task run: who and what it is, and what it was given. Its URLs are those of its flow run's resource."""

from __future__ import annotations

import os
from typing import Any

from ..context import TASK
from . import read
from .flow_run import ui_url_of_pods_run, url_of_pods_run


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
    "flow_run_id": lambda: _of_run("flow_run_id"),
    "api_url": lambda: None if TASK.get() is None else url_of_pods_run(os.environ.get("KUBERNETES_SERVICE_HOST")),
    "ui_url": lambda: None if TASK.get() is None else ui_url_of_pods_run(),
}


def __getattr__(name: str) -> Any:
    return read(__name__, _FACTS, name)


def __dir__() -> list[str]:
    return sorted(_FACTS)
