"""What flows and tasks have in common: a function, how it is called, and hooks. Only recorded; nothing here runs."""

from __future__ import annotations

import inspect
import sys
from functools import cached_property
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar

from . import options as rules
from .engine.retries import checked_delays
from .errors import DefinitionError
from .parameters import Signature
from .settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self

    from .engine.retries import Delays
    from .states import State

    Hook = Callable[[Any, Any, State[Any]], Any]

P = ParamSpec("P")
R = TypeVar("R")


class _Unset:
    """An option that was not given, where None says something; one for the process, pickled by its name."""

    def __repr__(self) -> str:
        return "unset"

    def __reduce__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


class Definition(Generic[P, R]):
    """A decorated function and its options, as they were written; never changed once made.

    No dataclass: generating three of those would double the time that `from penstock import flow` takes.
    """

    OPTIONS: ClassVar[dict[str, Any]] = {
        "name": None,
        "description": None,
        "version": None,
        "retries": 0,
        "retry_delay_seconds": None,
        "timeout_seconds": None,
        "log_prints": None,
        "persist_result": None,
        "result_storage": None,
        "result_serializer": None,
        "cache_result_in_memory": True,
    }
    HOOKS: ClassVar[tuple[str, ...]] = ("on_running", "on_completion", "on_failure")

    fn: Callable[P, R]
    name: str
    description: str | None
    version: str | None
    retries: int
    retry_delay_seconds: float | Sequence[float] | Callable[[int], Sequence[float]] | None
    timeout_seconds: float | None
    log_prints: bool | None
    persist_result: bool | None
    result_storage: Any
    result_serializer: Any
    cache_result_in_memory: bool
    on_running_hooks: list[Hook]
    on_completion_hooks: list[Hook]
    on_failure_hooks: list[Hook]
    isasync: bool
    isgenerator: bool
    signature: Signature
    delays: Delays

    def __init__(self, fn: Any, **options: Any) -> None:
        kind = type(self).__name__.lower()
        self._refuse_unknown(options)
        given = {**self.OPTIONS, **options}
        binds = "instance"
        if isinstance(fn, staticmethod | classmethod):
            binds = "nothing" if isinstance(fn, staticmethod) else "class"
            fn = fn.__func__
        if not callable(fn):
            raise DefinitionError(f"@{kind} wants a function, not {fn!r}")
        name = given["name"]
        if not name or not isinstance(name, str):
            name = self._default_name(fn)
        what = f"{kind} {name!r}"
        if options:
            rules.check(what, options)
        settings = get_current_settings()
        for option, default in (("retries", 0), ("retry_delay_seconds", None)):
            if options.get(option) is None:
                given[option] = getattr(settings, f"{kind}s_default_{option}") or default
        code = fn if inspect.isroutine(fn) or inspect.isclass(fn) or hasattr(fn, "func") else fn.__call__
        if given["result_storage"] is not None or given["result_serializer"] is not None:
            from .results.options import check

            check(what, given["result_storage"], given["result_serializer"])
        is_async_generator = inspect.isasyncgenfunction(code)
        values = {option: given[option] for option in self.OPTIONS}
        values.update((f"{hook}_hooks", list(given.get(hook) or ())) for hook in self.HOOKS)
        values.update(
            fn=fn,
            name=name,
            description=inspect.getdoc(fn) if given["description"] is None else given["description"],
            isasync=inspect.iscoroutinefunction(code) or is_async_generator,
            isgenerator=inspect.isgeneratorfunction(code) or is_async_generator,
            signature=Signature(fn),
            delays=checked_delays(what, given["retry_delay_seconds"], given["retries"]),
            _binds=binds,
            __wrapped__=fn,
            __doc__=getattr(fn, "__doc__", None),
            __module__=getattr(fn, "__module__", None),
            __name__=getattr(fn, "__name__", name),
            __qualname__=getattr(fn, "__qualname__", name),
        )
        vars(self).update(values)

    @classmethod
    def _refuse_unknown(cls, options: Iterable[str]) -> None:
        known = (*cls.OPTIONS, *cls.HOOKS)
        unknown = sorted(set(options).difference(known))
        if unknown:
            raise DefinitionError(
                f"@{cls.__name__.lower()} has no option {', '.join(unknown)}; it has {', '.join(known)}"
            )

    @staticmethod
    def _default_name(fn: Any) -> str:
        name = getattr(fn, "__name__", None)
        if name is None:
            raise DefinitionError(f"{fn!r} has no __name__; give the decorator name=...")
        return str(name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{self!r} cannot be changed; {name} is an option of with_options(...)")

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
        fn: Any = self.fn
        bound = object.__new__(type(self))
        vars(bound).update(vars(self), fn=MethodType(fn, target), signature=self._bound_signature, _binds="nothing")
        return bound

    def with_options(self, **options: Any) -> Self:
        """The same function with other options; those not named stay as they are."""
        self._refuse_unknown(options)
        mine = vars(self)
        kept = {option: mine.get(option) for option in self.OPTIONS}
        kept.update((hook, mine[f"{hook}_hooks"]) for hook in self.HOOKS)
        changed = type(self)(self.fn, **{**kept, **options})
        vars(changed).update(_binds=mine["_binds"], signature=self.signature)
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

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickled by name where it can be imported, with other options beside that of which it is a variant.

        Else whole, with what its function uses.
        """
        original = find_definition(self.fn)
        if original is self:
            return imported_definition, (self.__module__, self.qualname)
        if original is None:
            return super().__reduce_ex__(protocol)
        options = {name: value for name, value in vars(self).items() if name not in _OF_THE_FUNCTION}
        return _variant, (type(self), original, options)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


_OF_THE_FUNCTION = ("fn", "__wrapped__", "signature", "_bound_signature")


def _variant(kind: type[Definition[Any, Any]], original: Definition[Any, Any], options: dict[str, Any]) -> Any:
    """The definition with other options of the function of `original`; called when one is unpickled."""
    variant = object.__new__(kind)
    mine = vars(original)
    vars(variant).update({name: mine[name] for name in _OF_THE_FUNCTION if name in mine}, **options)
    return variant


def find_definition(fn: Any) -> Definition[Any, Any] | None:
    """The definition that an importable module holds of the function `fn`; None in the main script and for closures."""
    module = sys.modules.get(getattr(fn, "__module__", None) or "")
    if module is None or module.__name__ == "__main__":
        return None
    found: Any = module
    for part in getattr(fn, "__qualname__", "").split("."):  # a partial or a callable object has none
        found = vars(found).get(part) if hasattr(found, "__dict__") else None
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
        if found is None:
            return None
    return found if isinstance(found, Definition) and found.fn is fn else None


def imported_definition(module: str, qualname: str) -> Any:
    """The definition of that name, as `find_definition` found it; called when one is unpickled."""
    from importlib import import_module

    found: Any = import_module(module)
    for part in qualname.split("."):
        found = vars(found)[part]
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
    return found


def call_options(definition: Definition[Any, Any], kwargs: dict[str, Any]) -> tuple[bool, Any]:
    """Take `return_state` and `wait_for`, which no function may have, out of a call's keywords.

    Raises InvalidParameters where they cannot be.
    """
    return_state, wait_for = kwargs.pop("return_state", False), kwargs.pop("wait_for", None)
    if return_state is not False or wait_for is not None:
        rules.check_call(f"{type(definition).__name__.lower()} {definition.name!r}", return_state, wait_for)
    return return_state, wait_for
