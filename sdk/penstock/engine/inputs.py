"""Futures and states inside of arguments: found in any container, and replaced by what they hold.

Called by the lives before user code starts and after it returns. A value that holds neither is given back as it is,
the same object; a large list of plain values costs one pass in C.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from ..annotations import Annotation, allow_failure, opaque, quote
from ..api.states import StateName, StateType
from ..errors import InvalidParameters, UpstreamNotReady
from ..futures import PenstockFuture
from ..states import State, state_exception

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Input = PenstockFuture[Any] | State[Any]
    Replace = Callable[[Input, bool], Any]

PLAIN = frozenset({int, str, float, bool, bytes, complex, type(None)})


def visit(value: Any, replace: Replace, *, tolerant: bool = False, unwrap: bool = True, inside: Any = ()) -> Any:
    """`value` with every future and state in it put through `replace(it, failure is allowed)`.

    Looked into are lists, tuples, sets, deques, keys and values of dictionaries, dataclasses and pydantic models.
    """
    kind = type(value)
    if kind in PLAIN:
        return value
    if isinstance(value, PenstockFuture | State):
        return replace(value, tolerant)
    if isinstance(value, Annotation):
        if not unwrap:
            return value
        if isinstance(value, quote | opaque):
            return value.value
        return visit(value.value, replace, tolerant=tolerant or isinstance(value, allow_failure), inside=inside)
    if not _is_container(value, kind) or id(value) in inside:
        return value
    inside = (*inside, id(value))

    def deeper(item: Any) -> Any:
        return visit(item, replace, tolerant=tolerant, unwrap=unwrap, inside=inside)

    if isinstance(value, _ITERABLES):
        if PLAIN.issuperset(map(type, value)):
            return value
        return _rebuilt_sequence(value, [deeper(item) for item in value])
    if isinstance(value, dict):
        if PLAIN.issuperset(map(type, value.values())) and PLAIN.issuperset(map(type, value)):
            return value
        return _with_items(value, [(deeper(key), deeper(item)) for key, item in value.items()])
    extra = getattr(value, "__pydantic_extra__", None) or {}
    names = getattr(kind, "__dataclass_fields__", None) or {**vars(value), **extra}
    fields = {name: item for name in names if type(item := getattr(value, name, None)) not in PLAIN}
    return _with_fields(value, fields, {name: deeper(item) for name, item in fields.items()})


_ITERABLES = (list, tuple, set, frozenset, deque)


def _is_container(value: Any, kind: type) -> bool:
    return isinstance(value, (*_ITERABLES, dict)) or (
        not isinstance(value, type) and (hasattr(kind, "__dataclass_fields__") or hasattr(kind, "__pydantic_fields__"))
    )


def _same(old: Any, new: Any) -> bool:
    return all(a is b for a, b in zip(old, new, strict=True))


def _rebuilt_sequence(value: Any, items: list[Any]) -> Any:
    if _same(value, items):
        return value
    if hasattr(value, "_fields"):  # a named tuple
        return type(value)(*items)
    if isinstance(value, deque):
        return deque(items, value.maxlen)
    kind = list if isinstance(value, list) and type(value) is not list else type(value)  # a subclass may want more
    try:
        return kind(items)
    except TypeError as error:
        raise _not_hashable(error, kind) from None


def _with_items(value: dict[Any, Any], items: list[tuple[Any, Any]]) -> Any:
    same_keys = _same(value, (key for key, _ in items))
    if same_keys and _same(value.values(), (item for _, item in items)):
        return value
    import copy

    changed = copy.copy(value)  # keeps a defaultdict's factory, an OrderedDict's order
    if not same_keys:
        changed.clear()
    try:
        changed.update(items)
    except TypeError as error:
        raise _not_hashable(error, type(value)) from None
    return changed


def _not_hashable(error: TypeError, kind: type) -> InvalidParameters:
    return InvalidParameters(
        f"a result of an upstream run cannot stand in a {kind.__name__}, where its future stood: {error}; "
        "pass the future in a list, or as a value"
    )


def _with_fields(value: Any, old: Mapping[str, Any], new: Mapping[str, Any]) -> Any:
    if _same(old.values(), new.values()):
        return value
    import copy

    changed = copy.copy(value)
    extra = getattr(changed, "__pydantic_extra__", None) or {}
    for name, item in new.items():
        if name in extra:
            extra[name] = item
        else:
            object.__setattr__(changed, name, item)  # frozen dataclasses are values too
    return changed


def find(value: Any) -> list[tuple[Input, bool]]:
    """Every future and state in `value`, each with whether its failure is allowed."""
    found: list[tuple[Input, bool]] = []

    def note(held: Input, tolerant: bool) -> Input:
        found.append((held, tolerant))
        return held

    visit(value, note)
    return found


def identity(held: Input) -> str | None:
    """The id of the run that this input comes from."""
    return held.task_run_id if isinstance(held, PenstockFuture) else held.run_id


def data_of(held: Input, tolerant: bool) -> Any:
    """What a run that ended gave; raises `UpstreamNotReady` where nothing may be built on it.

    With `tolerant` a failure is an input too: its exception, or None for a run that never started.
    """
    state = held.state if isinstance(held, PenstockFuture) else held
    if state.type is StateType.COMPLETED:
        return state.value()
    if tolerant and state.type is StateType.FAILED:
        return state_exception(state)
    if tolerant and state.type is StateType.PENDING and state.name == StateName.NOT_READY:
        return None
    what = f"task run {held.name}" if isinstance(held, PenstockFuture) else "an upstream run"
    raise UpstreamNotReady(f"{what} is {state.name}, not Completed; wrap it in allow_failure(...) to run all the same")


def resolve(value: Any) -> Any:
    """`value` with futures and states replaced by their results; all of them are done."""
    return visit(value, data_of)


def resolve_all(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`resolve` of each parameter."""
    return {name: resolve(value) for name, value in parameters.items()}


def blocks(held: Input) -> bool:
    """Whether its value has to be read from the result store."""
    return (held.state if isinstance(held, PenstockFuture) else held).is_stored_only


def to_states(value: Any) -> Any:
    """`value` with futures replaced by their states; all of them are done. Quoted values stay quoted."""

    def state_of(held: Input, _tolerant: bool) -> State[Any]:
        return held.state if isinstance(held, PenstockFuture) else held

    return visit(value, state_of, unwrap=False)
