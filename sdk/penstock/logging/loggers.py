"""The loggers under the path that Prefect's users import them by; they are defined in the package."""

from __future__ import annotations

from . import disable_run_logger, get_logger, get_run_logger
from . import run_logger as flow_run_logger
from . import run_logger as task_run_logger

__all__ = ["disable_run_logger", "flow_run_logger", "get_logger", "get_run_logger", "task_run_logger"]
