"""Performs a `Call` in another process for a worker thread of a process task runner."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..context import FLOW, TAGS, TASK
from ..settings import get_current_settings
from .pool import worker_resources
from .process import CallProcess, dumps, portable, unpicklable
from .reporting import EventReporter

if TYPE_CHECKING:
    from ..context import FlowRunContext
    from ..events import Event
    from .effects import Call


def call_in_process(effect: Call, processes: set[CallProcess]) -> Any:
    """What the function returns from the process of this worker thread, which keeps it for its next task."""
    flow, task = FLOW.get(), TASK.get()
    request = {
        "fn": portable(effect.fn),
        "args": tuple(effect.args),
        "kwargs": dict(effect.kwargs),
        "tags": TAGS.get(),
        "log_prints": task.log_prints if task is not None else False,
        "task": None if task is None else _portable_task(task.task),
        "task_run": None if task is None else task.run,
        "flow": None,
        "level": logging.getLogger("penstock").level or get_current_settings().log_level,
    }
    if flow is not None:
        run = flow.run
        request["flow"] = (run.flow_name, flow.flow.version, run.info, dict(run.parameters), run.run_count)
        request["results"] = flow.results
    try:
        dumps(request)
    except Exception as error:
        raise unpicklable("the task's function or arguments", error) from error

    def heard(kind: str, value: Any) -> None:
        if kind == "task" and flow is not None:
            flow.reporter.task_changed(value)
        elif kind == "event":
            _emit(flow, value)
        elif kind == "log":
            _log(value)

    process = _process_of_this_thread(processes)
    return process.call(request, heard, effect.timeout, effect.error)


def _portable_task(task: Any) -> Any:
    """The task, as far as code in the child needs it: without hooks, conditions and caching, which stay here."""
    hooks = dict.fromkeys(type(task).HOOKS)
    return task.with_options(**hooks, retry_condition_fn=None, cache_policy=None, cache_key_fn=None)


def _process_of_this_thread(processes: set[CallProcess]) -> CallProcess:
    keep = worker_resources()
    assert keep is not None, "only worker threads call in processes"
    process: CallProcess | None = keep.get("process")
    if process is None or not process.alive:
        if process is not None:
            process.close()
            processes.discard(process)
        process = keep["process"] = CallProcess()
        processes.add(process)
    return process


def _emit(flow: FlowRunContext | None, event: Event) -> None:
    """Hand on what code in the child emitted, where its flow stands."""
    from ..events import keep

    if flow is not None and isinstance(flow.reporter, EventReporter):
        flow.reporter.event_emitted(event)
    else:
        keep(event)


def _log(record: logging.LogRecord) -> None:
    from ..logging import get_logger

    get_logger()
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)
