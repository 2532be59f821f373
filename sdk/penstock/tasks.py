"""`@task`: records a function and its options. Running one is `penstock.engine.task_runs`'."""

from __future__ import annotations

from binascii import crc32
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, overload

from .context import DRAWING
from .definitions import UNSET, Definition, P, R, call_options
from .engine import task_runs
from .exceptions import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import CodeType

    from .definitions import Hook
    from .futures import PenstockFuture, PenstockFutureList

__all__ = ["Task", "exponential_backoff", "task"]


class Task(Definition[P, R]):
    """A function whose calls are recorded, retried and run where the flow's task runner says."""

    OPTIONS: ClassVar[dict[str, Any]] = {
        **Definition.OPTIONS,
        "tags": (),
        "task_run_name": None,
        "retry_jitter_factor": None,
        "retry_condition_fn": None,
        "viz_return_value": UNSET,
    }

    tags: frozenset[str]
    task_run_name: str | Callable[..., str] | None
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[[Any, Any, Any], Any] | None
    viz_return_value: Any

    def __init__(self, fn: Any, **options: Any) -> None:
        super().__init__(fn, **options)
        if isinstance(self.tags, str):
            raise DefinitionError(f"task {self.name!r}: tags must be a collection of strings, not {self.tags!r}")
        vars(self)["tags"] = frozenset(self.tags or ())
        if self.retry_jitter_factor is not None and not self.retry_jitter_factor >= 0:
            raise DefinitionError(
                f"task {self.name!r}: retry_jitter_factor must be at least 0, not {self.retry_jitter_factor!r}"
            )
        if self.retry_condition_fn is not None and not callable(self.retry_condition_fn):
            raise DefinitionError(
                f"task {self.name!r}: retry_condition_fn must be a function of (task, task_run, state)"
            )

    @cached_property
    def task_key(self) -> str:
        """The task's identity: its qualified name and a short hash of its code."""
        code: CodeType | None = getattr(self.fn, "__code__", None)
        if code is None:
            return self.qualname
        return f"{self.qualname}-{_code_hash(code):08x}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the task here and give its value (`return_state=True`: its state); an async task is awaited."""
        if (drawing := DRAWING.get()) is not None:
            return drawing.call(self, args, kwargs)  # type: ignore[no-any-return]
        return_state, wait_for = call_options(kwargs)
        return task_runs.call(self, self.signature.bind(args, kwargs), return_state, wait_for)  # type: ignore[no-any-return]

    def submit(self, *args: Any, **kwargs: Any) -> PenstockFuture[R]:
        """Hand the task to the flow's task runner and go on; with `return_state=True`, wait for its state."""
        if (drawing := DRAWING.get()) is not None:
            return drawing.submit(self, args, kwargs)  # type: ignore[no-any-return]
        return_state, wait_for = call_options(kwargs)
        future = task_runs.submit(self, self.signature.bind(args, kwargs), wait_for)
        if return_state:
            future.wait()
            return future.state  # type: ignore[return-value]
        return future

    def map(self, *args: Any, **kwargs: Any) -> PenstockFutureList[R]:
        """Submit the task once for each element of its iterable arguments, taken together.

        Strings, and what is wrapped in `unmapped`, are given to every run.
        """
        if (drawing := DRAWING.get()) is not None:
            return drawing.map(self, args, kwargs)  # type: ignore[return-value]
        return_state, wait_for = call_options(kwargs)
        futures = task_runs.map_over(self, args, kwargs, wait_for)
        if return_state:
            futures.wait()
            return [future.state for future in futures]  # type: ignore[return-value]
        return futures


def _code_hash(code: CodeType) -> int:
    """The same for the same code in every process: bytecode, names and constants, nested functions included."""
    value = crc32(code.co_code)
    value = crc32(repr((code.co_names, code.co_varnames)).encode(), value)
    for constant in code.co_consts:
        if hasattr(constant, "co_code"):
            value = crc32(_code_hash(constant).to_bytes(4, "big"), value)
        elif not isinstance(constant, frozenset):  # whose order differs between processes
            value = crc32(repr(constant).encode(), value)
    return value


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    *,
    name: str | None = None,
    description: str | None = None,
    tags: Iterable[str] | None = None,
    version: str | None = None,
    task_run_name: str | Callable[..., str] | None = None,
    retries: int = 0,
    retry_delay_seconds: float | Sequence[float] | Callable[[int], Sequence[float]] | None = None,
    retry_jitter_factor: float | None = None,
    retry_condition_fn: Callable[[Any, Any, Any], Any] | None = None,
    timeout_seconds: float | None = None,
    log_prints: bool | None = None,
    viz_return_value: Any = UNSET,
    on_running: Iterable[Hook] | None = None,
    on_completion: Iterable[Hook] | None = None,
    on_failure: Iterable[Hook] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Any = None, /, **options: Any) -> Any:
    """Declare a function as a task: `@task` or `@task(retries=3)`."""
    if fn is not None:
        return Task(fn, **options)
    Task._refuse_unknown(options)  # where the mistake is, not where the function is

    def declare(function: Any) -> Task[Any, Any]:
        return Task(function, **options)

    return declare


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """For `retry_delay_seconds`: `backoff_factor`, then twice as much before each further retry."""
    from .api.retry import exponential

    if not backoff_factor >= 0:
        raise DefinitionError(f"exponential_backoff: backoff_factor must be at least 0, not {backoff_factor!r}")

    def delays(retries: int) -> list[float]:
        return exponential(backoff_factor, retries)

    return delays
