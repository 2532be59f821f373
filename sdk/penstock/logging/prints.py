"""`log_prints`: what user code prints in a run goes to the run's logger. Installed by the first run that asks."""

from __future__ import annotations

import builtins
import io
import sys
from typing import Any

from ..context import FLOW, TASK

_print = builtins.print


def install() -> None:
    """Replace the built-in `print` by one that looks at the current run; doing it again changes nothing."""
    if builtins.print is not _print_to_logger:
        builtins.print = _print_to_logger


def _wanted() -> bool:
    task = TASK.get()
    if task is not None:
        return task.log_prints
    flow = FLOW.get()
    return flow is not None and flow.log_prints


def _print_to_logger(*values: Any, **options: Any) -> None:
    """`print`, or where the current run logs its prints: an INFO record."""
    if not _wanted() or options.get("file") not in (None, sys.stdout):
        _print(*values, **options)
        return
    from . import get_run_logger

    text = io.StringIO()
    _print(*values, **{**options, "file": text, "flush": False})
    get_run_logger().info("%s", text.getvalue().removesuffix("\n"))
