"""What both lives do around user code: iterate over generators, run hooks, tell the log of failures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..errors import ParameterError
from .effects import Advance, Callback, ConsumerClosed, Effect, Emit

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from contextvars import ContextVar

    from ..errors import RunTimedOut
    from ..states import State
    from .runs import FlowRun, TaskRun


_ENGINE = __file__.removesuffix("calls.py")


def iterating(
    producer: Any,
    *,
    collect: bool,
    timeout: float | None,
    error: RunTimedOut | None,
    variable: ContextVar[Any],
    outside: Any,
) -> Generator[Effect, Any, Any]:
    """Run a user's generator to its end, handing its values to the consumer, or collecting them in a list.

    `variable` says which run the code belongs to: between two values, that is the consumer's (`outside`) again.
    """
    end = None if timeout is None else time.monotonic() + timeout
    inside = variable.get()
    items: list[Any] = []
    sent: Any = None
    thrown: BaseException | None = None
    while True:
        left = None if end is None else max(end - time.monotonic(), 1e-6)
        ended, item = yield Advance(producer, sent, thrown, left, error)
        sent = thrown = None
        if ended:
            return items if collect else item
        if collect:
            items.append(item)
            continue
        variable.set(outside)
        try:
            sent = yield Emit(item)
        except ConsumerClosed:
            variable.set(inside)
            yield Callback(producer.aclose if hasattr(producer, "aclose") else producer.close, ())
            return None
        except BaseException as raised:
            thrown = raised
        variable.set(inside)


def is_generator(value: Any) -> bool:
    """Whether a function returned a generator, whose values are then its result."""
    return hasattr(value, "gi_frame") or hasattr(value, "ag_frame")


def run_hooks(
    hooks: Iterable[Callable[..., Any]], owner: Any, run: FlowRun | TaskRun, state: State[Any]
) -> Generator[Effect, Any, None]:
    """Call `hook(flow or task, run, state)` for each; one that raises is logged and stops nothing."""
    for hook in hooks:
        try:
            yield Callback(hook, (owner, run, state))
        except Exception:
            from ..logging import run_logger

            name = getattr(hook, "__name__", repr(hook))
            run_logger(run).exception("Hook %s raised on state %s; the run goes on", name, state.name)


def without_engine_frames(error: BaseException) -> None:
    """Let the traceback of an error from user code begin in user code."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_ENGINE):
        trace = trace.tb_next
    if trace is not None:
        error.__traceback__ = trace


def log_failure(run: FlowRun | TaskRun, state: State[Any], retry_in: float | None) -> None:
    """Write why an attempt failed, with its traceback, and what happens next."""
    import logging

    from ..logging import run_logger

    error = state.data if isinstance(state.data, BaseException) else None
    if isinstance(error, ParameterError):
        error = None  # the message says all; user code did not run
    then = "" if retry_in is None else f"; next attempt in {retry_in:.3g} s"
    level = logging.ERROR if retry_in is None else logging.WARNING
    run_logger(run).log(level, "%s: %s%s", state.name, state.message or "no message", then, exc_info=error)
