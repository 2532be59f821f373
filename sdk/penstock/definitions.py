"""What flows and tasks have in common: a function, how it is called, and hooks. Only recorded; nothing here runs."""

from __future__ import annotations

import copy
import inspect
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from types import MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from .engine.retries import checked_delays
from .exceptions import DefinitionError
from .parameters import Signature

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from .engine.retries import Delays
    from .states import State

    Hook = Callable[[Any, Any, State[Any]], Any]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, eq=False, repr=False)
class Definition(Generic[P, R]):
    """A decorated function and its options, as they were written."""

    fn: Callable[P, R]
    name: str = field(default="", kw_only=True)
    description: str | None = field(default=None, kw_only=True)
    version: str | None = field(default=None, kw_only=True)
    retries: int = field(default=0, kw_only=True)
    retry_delay_seconds: float | Sequence[float] | Callable[[int], Sequence[float]] | None = field(
        default=None, kw_only=True
    )
    timeout_seconds: float | None = field(default=None, kw_only=True)
    log_prints: bool | None = field(default=None, kw_only=True)
    on_running_hooks: list[Hook] = field(default_factory=list, kw_only=True)
    on_completion_hooks: list[Hook] = field(default_factory=list, kw_only=True)
    on_failure_hooks: list[Hook] = field(default_factory=list, kw_only=True)

    def __post_init__(self) -> None:
        fn: Any = self.fn
        binds = "instance"
        if isinstance(fn, staticmethod | classmethod):
            binds = "nothing" if isinstance(fn, staticmethod) else "class"
            fn = fn.__func__
        what = f"{type(self).__name__.lower()} {self.name or getattr(fn, '__qualname__', repr(fn))!r}"
        if not callable(fn):
            raise DefinitionError(f"@{type(self).__name__.lower()} wants a function, not {fn!r}")
        name = self.name or self._default_name(fn)
        retries: Any = self.retries
        if not isinstance(retries, int) or retries < 0:
            raise DefinitionError(f"{what}: retries must be a whole number of at least 0, not {retries!r}")
        if self.timeout_seconds is not None and not self.timeout_seconds >= 0:
            raise DefinitionError(
                f"{what}: timeout_seconds must be at least 0 (0: no limit), not {self.timeout_seconds!r}"
            )
        called = fn if inspect.isroutine(fn) or inspect.isclass(fn) else fn.__call__
        isasyncgen, isgen = inspect.isasyncgenfunction(called), inspect.isgeneratorfunction(called)
        vars(self).update(  # the dataclass is frozen for everybody else
            fn=fn,
            name=name,
            description=self.description if self.description is not None else inspect.getdoc(fn),
            isasync=inspect.iscoroutinefunction(called) or isasyncgen,
            isgenerator=isgen or isasyncgen,
            signature=Signature(fn),
            delays=checked_delays(what, self.retry_delay_seconds, self.retries),
            __wrapped__=fn,
            __name__=getattr(fn, "__name__", name),
            __qualname__=getattr(fn, "__qualname__", name),
            __module__=getattr(fn, "__module__", None),
            __doc__=getattr(fn, "__doc__", None),
            _binds=binds,
        )

    isasync: bool = field(init=False)
    isgenerator: bool = field(init=False)
    signature: Signature = field(init=False)
    delays: Delays = field(init=False)

    @staticmethod
    def _default_name(fn: Any) -> str:
        name = getattr(fn, "__name__", None)
        if name is None:
            raise DefinitionError(f"{fn!r} has no __name__; give the decorator name=...")
        return str(name)

    @property
    def qualname(self) -> str:
        """The function's qualified name within its module."""
        return str(getattr(self.fn, "__qualname__", self.name))

    @cached_property
    def _bound_signature(self) -> Signature:
        return Signature(self.fn, bound=True)

    def __get__(self, instance: Any, owner: type | None = None) -> Self:
        """The definition as a method of `instance` (or of the class, for a class method)."""
        binds = vars(self)["_binds"]
        target = (owner if owner is not None else type(instance)) if binds == "class" else instance
        if target is None or binds == "nothing":
            return self
        bound = copy.copy(self)
        fn: Any = self.fn
        vars(bound).update(fn=MethodType(fn, target), signature=self._bound_signature, _binds="nothing")
        return bound

    def with_options(self, **options: Any) -> Self:
        """The same function with other options; those not named stay as they are."""
        known = {f.name.removesuffix("_hooks"): f.name for f in fields(self) if f.init and f.name != "fn"}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise DefinitionError(
                f"{type(self).__name__} has no option {', '.join(unknown)}; it has {', '.join(known)}"
            )
        changes = {known[name]: value for name, value in options.items()}
        for hooks in [name for name in known.values() if name.endswith("_hooks")]:
            changes[hooks] = list(changes.get(hooks, getattr(self, hooks)) or ())
        binds = vars(self)["_binds"]
        changed = replace(self, **changes)
        vars(changed)["_binds"] = binds
        return changed

    def on_running(self, hook: Hook) -> Hook:
        """Decorates a hook `(flow or task, run, state)` to be called whenever a run starts."""
        self.on_running_hooks.append(hook)
        return hook

    def on_completion(self, hook: Hook) -> Hook:
        """Decorates a hook `(flow or task, run, state)` to be called when a run Completed."""
        self.on_completion_hooks.append(hook)
        return hook

    def on_failure(self, hook: Hook) -> Hook:
        """Decorates a hook `(flow or task, run, state)` to be called when a run Failed for good."""
        self.on_failure_hooks.append(hook)
        return hook

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def call_options(kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """Take `return_state` and `wait_for`, which no function may have, out of a call's keywords."""
    return bool(kwargs.pop("return_state", False)), kwargs.pop("wait_for", None)
