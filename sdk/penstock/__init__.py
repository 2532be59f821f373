"""Penstock: workflow orchestration that is Kubernetes.

Names are imported when they are first used (PEP 562), so that `import penstock` costs next to nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the claim of a run does not wait for the import of typing
if TYPE_CHECKING:
    from typing import Any

    from .annotations import allow_failure as allow_failure
    from .annotations import opaque as opaque
    from .annotations import quote as quote
    from .annotations import unmapped as unmapped
    from .context import tags as tags
    from .deployments import deploy as deploy
    from .flow_runs import apause_flow_run as apause_flow_run
    from .flow_runs import aresume_flow_run as aresume_flow_run
    from .flow_runs import asuspend_flow_run as asuspend_flow_run
    from .flow_runs import pause_flow_run as pause_flow_run
    from .flow_runs import resume_flow_run as resume_flow_run
    from .flow_runs import suspend_flow_run as suspend_flow_run
    from .flows import Flow as Flow
    from .flows import flow as flow
    from .futures import as_completed as as_completed
    from .futures import wait as wait
    from .logging import get_run_logger as get_run_logger
    from .serving import serve as serve
    from .states import State as State
    from .tasks import Task as Task
    from .tasks import exponential_backoff as exponential_backoff
    from .tasks import task as task
    from .transactions import Transaction as Transaction

    __version__: str

_HOMES = {
    "Flow": "flows",
    "State": "states",
    "Task": "tasks",
    "Transaction": "transactions",
    "allow_failure": "annotations",
    "apause_flow_run": "flow_runs",
    "aresume_flow_run": "flow_runs",
    "as_completed": "futures",
    "asuspend_flow_run": "flow_runs",
    "deploy": "deployments",
    "exponential_backoff": "tasks",
    "flow": "flows",
    "get_run_logger": "logging",
    "opaque": "annotations",
    "pause_flow_run": "flow_runs",
    "quote": "annotations",
    "resume_flow_run": "flow_runs",
    "serve": "serving",
    "suspend_flow_run": "flow_runs",
    "tags": "context",
    "task": "tasks",
    "unmapped": "annotations",
    "wait": "futures",
}

# Public modules, so that `penstock.runtime.flow_run.id` works after `import penstock`.
_MODULES = frozenset(
    {
        "artifacts",
        "blocks",
        "cache_policies",
        "concurrency",
        "context",
        "deployments",
        "events",
        "errors",
        "exceptions",
        "flow_runs",
        "flows",
        "futures",
        "input",
        "locking",
        "logging",
        "results",
        "runtime",
        "serializers",
        "settings",
        "states",
        "task_runners",
        "task_worker",
        "tasks",
        "testing",
        "transactions",
        "utilities",
        "variables",
    }
)

__all__ = [
    "Flow",
    "State",
    "Task",
    "Transaction",
    "allow_failure",
    "apause_flow_run",
    "aresume_flow_run",
    "as_completed",
    "asuspend_flow_run",
    "deploy",
    "exponential_backoff",
    "flow",
    "get_run_logger",
    "opaque",
    "pause_flow_run",
    "quote",
    "resume_flow_run",
    "serve",
    "suspend_flow_run",
    "tags",
    "task",
    "unmapped",
    "wait",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name == "__version__":
        from importlib.metadata import version

        return version("penstock")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
