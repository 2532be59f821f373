"""Loggers that carry the run they are used in. Imported when something is logged, not before.

Records get `flow_run_id`, `flow_run_name`, `flow_name` and, in a task, `task_run_id`, `task_run_name`, `task_name`:
the runner writes them as JSON, a terminal shows the name. Whoever sets up logging first decides where it goes; if
nobody does, records go to stderr.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..context import FLOW, TASK
from ..engine.runs import TaskRun
from ..errors import MissingContext
from ..settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..engine.runs import FlowRun

    RunLogger = logging.LoggerAdapter[logging.Logger]

__all__ = ["disable_run_logger", "engine_logger", "get_logger", "get_run_logger", "run_logger"]

ROOT = "penstock"
FLOW_RUNS = "penstock.flow_runs"
TASK_RUNS = "penstock.task_runs"


def get_logger(name: str | None = None) -> logging.Logger:
    """The logger `penstock.<name>`, for code outside of runs."""
    _ensure_handler()
    return logging.getLogger(f"{ROOT}.{name}" if name else ROOT)


def engine_logger() -> logging.Logger:
    """Where the engine writes what belongs to no run."""
    return get_logger("engine")


def get_run_logger(**extra: Any) -> RunLogger:
    """A logger for the current task or flow run; `extra` goes on each of its records."""
    task, flow = TASK.get(), FLOW.get()
    if task is None and flow is None:
        silent = logging.getLogger(FLOW_RUNS)
        if silent.disabled:  # `disable_run_logger`: for tests that call `task.fn(...)`, outside of any run
            return _Adapter(silent, extra)
        raise MissingContext("get_run_logger() works inside of a flow or task run; elsewhere, use logging.getLogger()")
    run = task.run if task is not None else flow.run  # type: ignore[union-attr]
    return run_logger(run, **extra)


def run_logger(run: FlowRun | TaskRun, **extra: Any) -> RunLogger:
    """A logger for this run."""
    _ensure_handler()
    name = TASK_RUNS if isinstance(run, TaskRun) else FLOW_RUNS
    return _Adapter(logging.getLogger(name), _fields_of(run) | extra)


def _fields_of(run: FlowRun | TaskRun) -> dict[str, Any]:
    flow = FLOW.get()
    fields: dict[str, Any] = {}
    if flow is not None:
        fields.update(flow_run_id=flow.run.id, flow_run_name=flow.run.name, flow_name=flow.run.flow_name)
    if isinstance(run, TaskRun):
        return fields | {"task_run_id": run.id, "task_run_name": run.name, "task_name": run.task_name}
    return fields | {"flow_run_id": run.id, "flow_run_name": run.name, "flow_name": run.flow_name}


def attach_extra_loggers() -> None:
    """Write the records of the setting's `extra_loggers` like a run's; called when a run starts, again does no harm.

    Their level is ours where nobody has set one.
    """
    _ensure_handler()
    ours = logging.getLogger(ROOT)
    for name in get_current_settings().extra_loggers:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(ours.level)
        for handler in ours.handlers:
            if handler not in logger.handlers:
                logger.addHandler(handler)
            handler.addFilter(_knows_its_run)  # a logger's own filters do not see the records of those below it
        logger.addFilter(_knows_its_run)
        logger.propagate = logger.propagate and ours.propagate


def _knows_its_run(record: logging.LogRecord) -> bool:
    """Put the current run on a record that says nothing of one."""
    task, flow = TASK.get(), FLOW.get()
    if (task is not None or flow is not None) and not hasattr(record, "flow_run_id"):
        vars(record).update(_fields_of(task.run if task is not None else flow.run))  # type: ignore[union-attr]
    return True


class _Adapter(logging.LoggerAdapter):  # type: ignore[type-arg] # generic only for type checkers in 3.11
    """Adds the run to records; unlike the standard one it keeps the `extra` of a single call."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {})}
        return msg, kwargs


@contextmanager
def disable_run_logger() -> Iterator[None]:
    """Silence the loggers of runs, for tests."""
    loggers = [logging.getLogger(name) for name in (FLOW_RUNS, TASK_RUNS)]
    before = [logger.disabled for logger in loggers]
    for logger in loggers:
        logger.disabled = True
    try:
        yield
    finally:
        for logger, was in zip(loggers, before, strict=True):
            logger.disabled = was


class RunFormatter(logging.Formatter):
    """`10:31:02.123 | INFO    | clean-3 - 40 rows`: the run's name before the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03d | %(levelname)-7s | %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        name = getattr(record, "task_run_name", None) or getattr(record, "flow_run_name", None)
        if name is not None:
            record.message = f"{name} - {record.message}"
        return super().formatMessage(record)


_setting_up = Lock()


def _ensure_handler() -> None:
    """Send records to stderr, unless somebody has decided where they go; in a pod as JSON lines to stdout."""
    logger = logging.getLogger(ROOT)
    if logger.handlers and logger.level != logging.NOTSET:
        return
    with _setting_up:  # or threads that log their first record at once would each add a handler
        _set_up(logger)


def _set_up(logger: logging.Logger) -> None:
    if logger.level == logging.NOTSET:
        level = get_current_settings().log_level
        logger.setLevel(int(level) if level.isdigit() else level)
    if logger.handlers:
        return
    if get_current_settings().log_format == "json":
        from .json_lines import JsonLines

        logger.addHandler(JsonLines())
        logger.propagate = False  # or user code that configures logging would have each line written twice
    elif not logging.getLogger().handlers:
        handler = _Stderr()
        handler.setFormatter(RunFormatter())
        logger.addHandler(handler)


class _Stderr(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to what `sys.stderr` is at that moment, so that redirections hold; steps back when others take over."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        import sys

        return sys.stderr

    def emit(self, record: logging.LogRecord) -> None:
        if not logging.getLogger().handlers:
            super().emit(record)
