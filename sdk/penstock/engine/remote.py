"""A `Call` on its way to another process and back, whatever carries it there: a pipe, Dask, Ray or a pod.

`request` says all that the other side needs, `perform` makes the call there in the context of its task run, and
`packed_answer` and `unpacked_answer` bring value or exception home. Task runs and log records of user code travel with
the answer where nothing better carries them.
"""

from __future__ import annotations

import logging
import pickle
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..context import FLOW, TAGS, TASK, FlowRunContext, TaskRunContext
from ..settings import get_current_settings
from . import file_modules
from .process import dumps, portable, restored, unpicklable
from .reporting import EventReporter

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event
    from ..states import State
    from .effects import Call
    from .records import TaskRecord
    from .reporting import Reporter

MAX_LOGS = 1000  # log records that one answer carries
_loading = threading.Lock()  # a worker of many flows may be asked by two whose files have one name
_heard: ContextVar[Heard | None] = ContextVar("penstock_heard", default=None)


def request(effect: Call) -> dict[str, Any]:
    """What the other side is sent. Raises DefinitionError where it cannot be pickled."""
    flow, task = FLOW.get(), TASK.get()
    asked = {
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
        info = run.info if run.call is None else run.info._replace(results_id=run.results_id)
        asked["flow"] = (run.flow_name, flow.flow.version, info, dict(run.parameters), run.run_count)
        asked["results"] = flow.results
    try:
        dumps(asked)
    except Exception as error:
        raise unpicklable("the task's function or arguments", error) from error
    return asked


def _portable_task(task: Any) -> Any:
    """The task, as far as code over there needs it: without hooks, conditions and caching, which stay here."""
    hooks = dict.fromkeys(type(task).HOOKS)
    return task.with_options(**hooks, retry_condition_fn=None, cache_policy=None, cache_key_fn=None)


def perform(asked: dict[str, Any], reporter: Reporter) -> Any:
    """Make the call here, in the context of its task run; generators are collected, coroutines awaited."""
    from ..flows import Flow
    from .runs import FlowRun

    fn: Callable[..., Any] = restored(asked["fn"])
    flow, task_run = asked["flow"], asked["task_run"]
    if flow is not None:
        name, version, info, parameters, run_count = flow
        stand_in: Flow[Any, Any] = Flow(_nothing, name=name, version=version)  # its tasks run in threads here
        run = FlowRun(name, info, parameters)
        run.run_count = run_count
        here = FlowRunContext(stand_in, run, reporter, asked["log_prints"])
        here.results = asked["results"]
        FLOW.set(here)
    TAGS.set(asked["tags"])
    if task_run is not None:
        TASK.set(TaskRunContext(asked["task"], task_run, asked["log_prints"]))
    if asked["log_prints"]:
        from ..logging.prints import install

        install()
    try:
        return _within_its_deadline(asked, lambda: fn(*asked["args"], **asked["kwargs"]))
    finally:
        context = FLOW.get()
        if context is not None and context.runner is not None:
            context.runner.drain()
            context.runner.__exit__(None, None, None)


def _nothing() -> None:
    """The function of the flow that stands in for the caller's."""


def _within_its_deadline(asked: dict[str, Any], call: Callable[[], Any]) -> Any:
    timeout, error = asked.get("timeout"), asked.get("error")
    if timeout is None or error is None:
        return _awaited(_collected(call()), None, None)
    from .timeouts import within

    # Not around what is awaited, which has a deadline of its own: a signal in the midst of a loop would leave the loop
    # to wait for what it was to end.
    return _awaited(within(timeout, error, lambda: _collected(call())), timeout, error)


def _collected(value: Any) -> Any:
    """What a generator yields."""
    return list(value) if hasattr(value, "gi_frame") else value


def _awaited(value: Any, timeout: float | None, error: Any) -> Any:
    """What a coroutine returns, or an asynchronous generator yields."""
    if not (hasattr(value, "__await__") or hasattr(value, "ag_frame")):
        return value
    import asyncio

    from .drive import run_in_new_loop

    async def awaited() -> Any:
        async with asyncio.timeout(timeout) as limit:
            try:
                return [item async for item in value] if hasattr(value, "ag_frame") else await value
            except asyncio.CancelledError:
                if limit.expired():
                    raise error from None
                raise

    return run_in_new_loop(awaited(), asyncio)


class Heard:
    """A reporter that keeps what it hears until the answer goes back."""

    def __init__(self) -> None:
        self.records: list[TaskRecord] = []
        self.logs: list[logging.LogRecord] = []
        self.events: list[Event] = []

    def event_emitted(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def task_changed(self, record: TaskRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def flow_changed(self, state: State[Any]) -> None:
        """Flow runs are not made there; subflows arrive as task records."""


class _Ear(logging.Handler):
    """Keeps log records of the call that emits them."""

    def emit(self, record: logging.LogRecord) -> None:
        heard = _heard.get()
        if heard is not None and len(heard.logs) < MAX_LOGS:
            heard.logs.append(plain(record))


def plain(record: logging.LogRecord) -> logging.LogRecord:
    """The record with its text made up, so that it can be pickled."""
    record.msg, record.args = record.getMessage(), None
    if record.exc_info:
        record.exc_text = logging.Formatter().formatException(record.exc_info)
        record.exc_info = None
    return record


def packed_request(effect: Call) -> bytes:
    """`request`, with the deadline that the other side keeps, as bytes."""
    return dumps({**request(effect), "timeout": effect.timeout, "error": effect.error})


def answered(payload: bytes, modules: file_modules.Texts) -> bytes:
    """Over there: make the call of `packed_request` and pack what came of it. Never raises an `Exception`.

    `modules` are the caller's `file_modules.texts()`.
    """
    import contextvars

    return contextvars.copy_context().run(_answered, payload, modules)


def _answered(payload: bytes, modules: file_modules.Texts) -> bytes:
    heard = Heard()
    _heard.set(heard)
    root = logging.getLogger()
    if not any(isinstance(handler, _Ear) for handler in root.handlers):
        root.addHandler(_Ear())
    try:
        with _loading:
            file_modules.provide(modules)
            asked = pickle.loads(payload)  # noqa: S301 - from the flow's own process
        logging.getLogger("penstock").setLevel(asked["level"])
        value = perform(asked, heard)
    except BaseException as error:
        return packed_answer("error", error, f"the exception {type(error).__name__}: {error}", heard)
    return packed_answer("value", value, "the result of the task", heard)


def packed_answer(kind: str, value: Any, what: str, heard: Heard | None = None) -> bytes:
    """What came of a call, as bytes; what cannot be pickled is an error of its own."""
    records, logs, events = (heard.records, heard.logs, heard.events) if heard is not None else ([], [], [])
    try:
        payload = dumps((kind, value, records, logs, events))
        pickle.loads(payload)  # noqa: S301 - an exception may pickle and yet not load
    except Exception as error:
        return dumps(("error", unpicklable(what, error), records, [], []))
    return payload


def unpacked_answer(payload: bytes) -> Any:
    """Back home: the value, or the exception raised; what was heard is told to the flow's reporter and the log."""
    kind, value, records, logs, events = pickle.loads(payload)  # noqa: S301 - from our own worker
    flow = FLOW.get()
    for record in records:
        if flow is not None:
            flow.reporter.task_changed(record)
    for log in logs:
        relay(log)
    for event in events:
        emit(flow, event)
    if kind == "error":
        raise value
    return value


def relay(record: logging.LogRecord) -> None:
    """Log here what was logged there."""
    from ..logging import get_logger

    get_logger()
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def emit(flow: FlowRunContext | None, event: Event) -> None:
    """Hand on here what code over there emitted, where its flow stands."""
    from ..events import keep

    if flow is not None and isinstance(flow.reporter, EventReporter):
        flow.reporter.event_emitted(event)
    else:
        keep(event)
