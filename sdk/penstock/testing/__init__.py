"""What users' tests can use: `with penstock_test_harness() as ran:`. `flows` has flows to try an installation with.

`task.fn(...)` and `flow.fn(...)` are the bare functions; `disable_run_logger` lets them ask for a run logger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..logging import disable_run_logger as disable_run_logger
    from ..settings import temporary_settings as temporary_settings
    from .harness import Harness as Harness
    from .harness import penstock_test_harness as penstock_test_harness

__all__ = ["Harness", "disable_run_logger", "penstock_test_harness", "temporary_settings"]

_HOMES = {
    "Harness": ".harness",
    "disable_run_logger": "..logging",
    "penstock_test_harness": ".harness",
    "temporary_settings": "..settings",
}


def __getattr__(name: str) -> Any:
    """Looked up when asked for: a pod that runs one of the `flows` needs no harness."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name], __name__), name)
