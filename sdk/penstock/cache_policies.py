"""When a task's earlier result may stand for running it again: what its cache key is made of.

A policy makes a key of a task run's inputs and surroundings, or None where there is to be no cache. `+` takes what
both make, `- "argument"` leaves an argument out. The engine asks for the key before the task runs; a record under it
is the task's result.

    @task(cache_policy=INPUTS + TASK_SOURCE - "debug", cache_expiration=timedelta(hours=1))
"""

from __future__ import annotations

from copy import copy
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from .context import FLOW
from .errors import ConfigurationError, UnhashableInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from .context import TaskRunContext
    from .locking.protocol import LockManager
    from .results.store import ResultStore

    KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str | None]

__all__ = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CacheKeyFnPolicy",
    "CachePolicy",
    "CompoundCachePolicy",
    "IsolationLevel",
]


class IsolationLevel(Enum):
    """What others may do with a key while a task that writes it is under way."""

    READ_COMMITTED = "READ_COMMITTED"  # run the same at the same time; the last result stays
    SERIALIZABLE = "SERIALIZABLE"  # wait for it, then take its result; needs a lock manager

    @classmethod
    def _missing_(cls, value: object) -> IsolationLevel:
        raise ConfigurationError(f"isolation_level must be one of {', '.join(cls.__members__)}, not {value!r}")


class CachePolicy:
    """The base. A subclass says in `compute_key` what its key is made of; None is no key."""

    key_storage: ResultStore | str | None = None
    isolation_level: IsolationLevel | None = None
    lock_manager: LockManager | None = None

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """The key of a task run, before it runs. Raises UnhashableInput."""
        raise NotImplementedError

    @staticmethod
    def from_cache_key_fn(cache_key_fn: KeyFunction) -> CacheKeyFnPolicy:
        """The policy whose key is what the function gives."""
        return CacheKeyFnPolicy(cache_key_fn)

    def configure(
        self,
        key_storage: ResultStore | str | None = None,
        lock_manager: LockManager | None = None,
        isolation_level: IsolationLevel | str | None = None,
    ) -> Self:
        """The same policy with its keys kept apart from results, or with locks around them."""
        changed = copy(self)
        if key_storage is not None:
            changed.key_storage = key_storage
        if lock_manager is not None:
            changed.lock_manager = lock_manager
        if isolation_level is not None:
            changed.isolation_level = IsolationLevel(isolation_level)
        if changed.isolation_level is IsolationLevel.SERIALIZABLE and changed.lock_manager is None:
            raise ConfigurationError(
                "isolation level SERIALIZABLE needs a lock manager: configure(lock_manager=…) with one that everyone "
                "who shares the keys can reach (penstock.locking)"
            )
        return changed

    def __add__(self, other: CachePolicy) -> CachePolicy:
        if not isinstance(other, CachePolicy):
            return NotImplemented
        if isinstance(other, _None):
            return self
        if isinstance(self, _None):
            return other
        return CompoundCachePolicy((self, other))

    def __sub__(self, argument: str) -> CachePolicy:
        if not isinstance(argument, str):
            raise TypeError(f"only the name of an argument can be taken out of a cache policy, not {argument!r}")
        return self + Inputs((argument,))

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return type(self).__name__.strip("_")


class Inputs(CachePolicy):
    """The arguments, but for the excluded ones. No key where none are left."""

    def __init__(self, exclude: Iterable[str] = ()) -> None:
        self.exclude = frozenset(exclude)

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """One hash of each argument, by name."""
        return _of_arguments({name: value for name, value in (inputs or {}).items() if name not in self.exclude})

    def __sub__(self, argument: str) -> CachePolicy:
        if not isinstance(argument, str):
            return super().__sub__(argument)
        changed = copy(self)
        changed.exclude = self.exclude | {argument}
        return changed


class TaskSource(CachePolicy):
    """The source of the task's function."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """A hash of the text, or of the bytecode where there is no text."""
        return task_ctx.task.source_key


class FlowParameters(CachePolicy):
    """The parameters of the flow run that the task runs in."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """One hash of each parameter, by name; no key outside of flows."""
        return _of_arguments(flow_parameters or {})


class RunId(CachePolicy):
    """The flow run: its retries, its attempts in pods and the runs that retry it find each other's results."""

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """What the flow run keeps its results under; outside of flows the task run's own id."""
        flow = FLOW.get()
        if flow is not None and flow.run.id == task_ctx.run.flow_run_id:
            return flow.run.results_id
        return task_ctx.run.flow_run_id or task_ctx.run.id


class CacheKeyFnPolicy(CachePolicy):
    """What a function of yours makes of `(context, parameters)`."""

    def __init__(self, cache_key_fn: KeyFunction) -> None:
        if not callable(cache_key_fn):
            raise ConfigurationError(f"cache_key_fn must be a function of (context, parameters), not {cache_key_fn!r}")
        self.cache_key_fn = cache_key_fn

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """The function's own key, as it is."""
        key = self.cache_key_fn(task_ctx, inputs)
        if key is not None and not isinstance(key, str):
            raise TypeError(f"cache_key_fn must return a str or None, not a {type(key).__name__}")
        return key


class CompoundCachePolicy(CachePolicy):
    """What several policies make, whatever their order. One that makes no key counts for nothing."""

    policies: tuple[CachePolicy, ...]

    def __init__(self, policies: Iterable[CachePolicy]) -> None:
        parts: list[CachePolicy] = []
        for policy in policies:
            parts += policy.policies if isinstance(policy, CompoundCachePolicy) else [policy]
            self._take_over(policy)
        inputs = [part for part in parts if isinstance(part, Inputs)]
        if len(inputs) > 1:  # an argument that one leaves out is left out
            merged = Inputs(frozenset().union(*(part.exclude for part in inputs)))
            parts = [merged, *(part for part in parts if not isinstance(part, Inputs))]
        self.policies = tuple(parts)

    def _take_over(self, policy: CachePolicy) -> None:
        for name in ("key_storage", "isolation_level", "lock_manager"):
            mine, theirs = getattr(self, name), getattr(policy, name)
            if theirs is None:
                continue
            if mine is not None and mine != theirs:
                raise ConfigurationError(
                    f"two cache policies with different {name} cannot be added: configure the sum instead"
                )
            setattr(self, name, theirs)

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """A hash of the sorted keys of all."""
        keys = [policy.compute_key(task_ctx, inputs, flow_parameters, **kwargs) for policy in self.policies]
        made = sorted(key for key in keys if key is not None)
        return sha256("\0".join(made).encode()).hexdigest() if made else None

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.policies))


class _None(CachePolicy):
    """No cache: every call runs."""

    never = True  # asks for no result to be kept

    def compute_key(
        self,
        task_ctx: TaskRunContext,
        inputs: dict[str, Any],
        flow_parameters: Mapping[str, Any] | None,
        **kwargs: Any,
    ) -> str | None:
        """Never a key."""
        return None

    def __sub__(self, argument: str) -> CachePolicy:
        return self


def _of_arguments(arguments: Mapping[str, Any]) -> str | None:
    from .results.hashing import hash_of

    found = sha256()
    for name in sorted(arguments):
        try:
            found.update(f"{name}\0{hash_of(arguments[name])}\0".encode())
        except Exception as error:
            raise UnhashableInput(name, str(error) or type(error).__name__) from error
    return found.hexdigest() if arguments else None


INPUTS = Inputs()
TASK_SOURCE = TaskSource()
FLOW_PARAMETERS = FlowParameters()
RUN_ID = RunId()
NO_CACHE = NONE = _None()
DEFAULT = INPUTS + TASK_SOURCE + RUN_ID
