"""`@task`: records a function and its options. Running one is `penstock.engine.task_runs`'."""

from __future__ import annotations

from binascii import crc32
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, overload

from .context import DRAWING
from .definitions import UNSET, Definition, P, R, call_options
from .engine import task_runs
from .errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import timedelta
    from os import PathLike
    from types import CodeType, EllipsisType

    from .background import BackgroundRun
    from .cache_policies import CachePolicy
    from .context import TaskRunContext
    from .definitions import Hook
    from .futures import PenstockFuture, PenstockFutureList
    from .results.store import ResultStore
    from .serializers import Serializer
    from .transactions import Transaction

__all__ = ["Task", "exponential_backoff", "task", "task_input_hash"]


class Task(Definition[P, R]):
    """A function whose calls are recorded, retried and run where the flow's task runner says."""

    OPTIONS: ClassVar[dict[str, Any]] = {
        **Definition.OPTIONS,
        "tags": (),
        "task_run_name": None,
        "retry_jitter_factor": None,
        "retry_condition_fn": None,
        "viz_return_value": UNSET,
        "cache_policy": ...,  # what was not said; None says no cache
        "cache_key_fn": None,
        "cache_expiration": None,
        "refresh_cache": None,
        "result_storage_key": None,
    }
    HOOKS: ClassVar[tuple[str, ...]] = (*Definition.HOOKS, "on_commit", "on_rollback")

    tags: frozenset[str]
    task_run_name: str | Callable[..., str] | None
    retry_jitter_factor: float | None
    retry_condition_fn: Callable[[Any, Any, Any], Any] | None
    viz_return_value: Any
    cache_policy: CachePolicy | EllipsisType | None
    cache_key_fn: Callable[[TaskRunContext, dict[str, Any]], str | None] | None
    cache_expiration: float | None  # seconds
    refresh_cache: bool | None
    result_storage_key: str | None
    on_commit_hooks: list[Callable[[Transaction], Any]]
    on_rollback_hooks: list[Callable[[Transaction], Any]]
    persists: bool  # by its own options
    keeps: bool  # whether a run has to think of results and rollbacks, wherever it runs

    def __init__(self, fn: Any, **options: Any) -> None:
        super().__init__(fn, **options)
        vars(self)["tags"] = frozenset(self.tags or ())
        self._settle_results()

    def _settle_results(self) -> None:
        """Work out whether the options ask for results to be kept."""
        what = f"task {self.name!r}"
        policy = self.cache_policy
        expiration: Any = self.cache_expiration
        if hasattr(expiration, "total_seconds"):
            vars(self)["cache_expiration"] = expiration.total_seconds()
        wants_policy = policy is not ... and policy is not None and not getattr(policy, "never", False)
        asks = wants_policy or any(
            option is not None
            for option in (self.cache_key_fn, self.result_storage_key, self.result_storage, self.result_serializer)
        )
        ignored = ""
        if self.persist_result is False and (wants_policy or self.cache_key_fn is not None):
            ignored = "persist_result=False: nothing is kept, so nothing is cached"
        elif wants_policy and self.cache_key_fn is not None:
            ignored = "cache_key_fn makes the key; cache_policy is not used"
        if ignored:
            from .logging import get_logger

            get_logger("tasks").warning("%s: %s", what, ignored)
        persists = asks if self.persist_result is None else self.persist_result
        vars(self).update(persists=persists, keeps=bool(persists or self.on_commit_hooks or self.on_rollback_hooks))

    def on_commit(self, hook: Callable[[Transaction], Any]) -> Callable[[Transaction], Any]:
        """Decorates a hook `(transaction)` to be called when the transaction of a run is committed."""
        self.on_commit_hooks.append(hook)
        vars(self)["keeps"] = True
        return hook

    def on_rollback(self, hook: Callable[[Transaction], Any]) -> Callable[[Transaction], Any]:
        """Decorates a hook `(transaction)` to be called when a run that completed is to be undone."""
        self.on_rollback_hooks.append(hook)
        vars(self)["keeps"] = True
        return hook

    @cached_property
    def source_key(self) -> str:
        """A hash of the function's source; of its code where there is no source."""
        import inspect
        from hashlib import sha256

        try:
            text = inspect.getsource(inspect.unwrap(self.fn))
        except (OSError, TypeError):
            return self.task_key
        return sha256(text.encode()).hexdigest()

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
        return_state, wait_for = call_options(self, kwargs)
        return task_runs.call(self, self.signature.bind(args, kwargs), return_state, wait_for)  # type: ignore[no-any-return]

    def submit(self, *args: Any, **kwargs: Any) -> PenstockFuture[R]:
        """Hand the task to the flow's task runner and go on; with `return_state=True`, wait for its state."""
        if (drawing := DRAWING.get()) is not None:
            return drawing.submit(self, args, kwargs)  # type: ignore[no-any-return]
        return_state, wait_for = call_options(self, kwargs)
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
        return_state, wait_for = call_options(self, kwargs)
        futures = task_runs.map_over(self, args, kwargs, wait_for)
        if return_state:
            futures.wait()
            return [future.state for future in futures]  # type: ignore[return-value]
        return futures

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> BackgroundRun[R]:
        """Have a worker run the task in the background, and go on: see docs/background-tasks.md."""
        from .background import delay

        return delay(self, args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        wait_for: Iterable[Any] | None = None,
    ) -> BackgroundRun[R]:
        """`delay`, with arguments as values, after the futures of `wait_for`."""
        from .background import delay

        return delay(self, args, kwargs, wait_for or ())

    def serve(self, *, limit: int | None = None, pool: str | None = None) -> None:
        """Be a worker for this task until Ctrl-C, `limit` runs at once (10)."""
        from .background import serve

        serve(self, limit=limit, pool=pool)


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
    cache_policy: CachePolicy | EllipsisType | None = ...,
    cache_key_fn: Callable[[TaskRunContext, dict[str, Any]], str | None] | None = None,
    cache_expiration: timedelta | float | None = None,
    refresh_cache: bool | None = None,
    persist_result: bool | None = None,
    result_storage: ResultStore | str | PathLike[str] | None = None,
    result_storage_key: str | None = None,
    result_serializer: Serializer | str | None = None,
    cache_result_in_memory: bool = True,
    on_running: Iterable[Hook] | None = None,
    on_completion: Iterable[Hook] | None = None,
    on_failure: Iterable[Hook] | None = None,
    on_commit: Iterable[Callable[[Transaction], Any]] | None = None,
    on_rollback: Iterable[Callable[[Transaction], Any]] | None = None,
) -> Callable[[Callable[P, R]], Task[P, R]]: ...


def task(fn: Any = None, /, **options: Any) -> Any:
    """Declare a function as a task: `@task` or `@task(retries=3)`."""
    if fn is not None:
        return Task(fn, **options)
    Task._refuse_unknown(options)  # where the mistake is, not where the function is

    def declare(function: Any) -> Task[Any, Any]:
        return Task(function, **options)

    return declare


def task_input_hash(context: TaskRunContext, arguments: dict[str, Any]) -> str | None:
    """For `cache_key_fn`: a key of the task and its arguments."""
    from .results.hashing import hash_of

    return hash_of((context.task.task_key, arguments))


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """For `retry_delay_seconds`: `backoff_factor`, then twice as much before each further retry."""
    from .api.retry import exponential

    given: Any = backoff_factor
    if isinstance(given, bool) or not isinstance(given, int | float) or not given >= 0:
        raise DefinitionError(
            f"exponential_backoff: backoff_factor must be a number of seconds of at least 0, not {backoff_factor!r}"
        )

    def delays(retries: int) -> list[float]:
        return exponential(backoff_factor, retries)

    return delays
