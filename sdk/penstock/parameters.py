"""A function's parameters: arguments bound to names, and values coerced by the annotations.

Called by the lives before user code starts; `parameter_schema` describes the same parameters for manifests. pydantic
does the work, but it is imported only for a value that is not already what its annotation says: a run in a pod whose
parameters are plain JSON never pays for it.
"""

from __future__ import annotations

import inspect
from types import GenericAlias, NoneType, UnionType
from typing import TYPE_CHECKING, Any

from .errors import DefinitionError, InvalidParameters, ParameterBind, ReservedArgument

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

RESERVED = ("return_state", "wait_for")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """How one function is called."""

    __slots__ = ("_defaults", "_names", "fn", "inspected", "variadic")

    def __init__(self, fn: Callable[..., Any], *, bound: bool = False) -> None:
        self.fn = fn
        try:
            self.inspected = inspect.signature(fn)
        except ValueError as error:  # some functions of C do not say how they are called
            raise DefinitionError(f"{error}; wrap it in a function of your own") from None
        if bound:  # of a method: the instance is given already
            parameters = list(self.inspected.parameters.values())
            self.inspected = self.inspected.replace(parameters=parameters[1:])
        kinds = self.inspected.parameters.values()
        for parameter in kinds:
            if parameter.name in RESERVED and parameter.kind in _NAMED:
                raise ReservedArgument(
                    f"parameter {parameter.name!r} of {getattr(fn, '__qualname__', fn)!r} has a name that calls of "
                    f"flows and tasks keep for themselves ({', '.join(RESERVED)}); rename it"
                )
        self._names = tuple(p.name for p in kinds if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD)
        self._defaults = {p.name: p.default for p in kinds if p.default is not inspect.Parameter.empty}
        self.variadic = any(p.kind not in _NAMED for p in kinds)  # cannot be called with keywords alone

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Every parameter's value by name, defaults included; `*args` is a tuple, `**kwargs` a dict, under its name."""
        names = self._names
        if not self.variadic and len(args) + len(kwargs) == len(names) == len(self.inspected.parameters):
            bound = dict(zip(names, args, strict=False))  # the common case, ten times faster than inspect's
            bound.update(kwargs)
            if len(bound) == len(names) and all(name in bound for name in names):
                return bound
        try:
            arguments = self.inspected.bind(*args, **kwargs)
        except TypeError as error:
            name = getattr(self.fn, "__qualname__", repr(self.fn))
            raise ParameterBind(f"{name}{self.inspected}: {error}") from None
        arguments.apply_defaults()
        return dict(arguments.arguments)

    def with_defaults(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """`parameters` given by name alone, as a manifest does, completed; unknown or missing names are errors."""
        positional: list[Any] = []
        named = dict(parameters)
        for parameter in self.inspected.parameters.values():
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY and parameter.name in named:
                positional.append(named.pop(parameter.name))
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL and parameter.name in named:
                positional.extend(named.pop(parameter.name))
            elif parameter.kind is inspect.Parameter.VAR_KEYWORD and isinstance(named.get(parameter.name), dict):
                named.update(named.pop(parameter.name))
        return self.bind(positional, named)

    def arguments(self, parameters: Mapping[str, Any]) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
        """The positional and named arguments that give the function these `parameters`."""
        if not self.variadic:
            return (), parameters
        bound = inspect.BoundArguments(self.inspected, dict(parameters))
        return bound.args, bound.kwargs

    def annotations(self) -> dict[str, Any]:
        """The annotated type of each parameter that has one, with names in quotes resolved."""
        import typing

        plain = {p.name: p.annotation for p in self.inspected.parameters.values() if p.annotation is not p.empty}
        if not any(isinstance(annotation, str) for annotation in plain.values()):
            return plain
        names = {
            name: _BUILTIN[annotation]
            for name, annotation in plain.items()
            if isinstance(annotation, str) and annotation in _BUILTIN
        }
        if len(names) == len(plain):
            return names
        try:
            hints = typing.get_type_hints(inspect.unwrap(self.fn), include_extras=True)
        except NameError as error:
            raise InvalidParameters(
                f"the annotations of {getattr(self.fn, '__qualname__', self.fn)!r} name something that cannot be "
                f"imported where it is defined: {error}; import it outside of TYPE_CHECKING"
            ) from None
        return {name: hints[name] for name in plain if name in hints}


_BUILTIN: dict[str, Any] = {
    kind.__name__: kind for kind in (int, str, float, bool, dict, list, bytes, set, tuple, frozenset)
}


def validate(signature: Signature, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """`parameters` coerced by their annotations (`"5"` for `int` is 5); raises `InvalidParameters` naming each path.

    A list, set or dict is a new one at each level that its annotation names, as pydantic makes it; other objects are
    the caller's own.
    """
    wrong: list[tuple[str, str]] = []
    valid: dict[str, Any] = {}
    for name, value, annotation in _annotated(signature, parameters):
        if fits(value, annotation):
            valid[name] = _own(value, annotation)
            continue
        valid[name] = _coerced(name, value, annotation, wrong)
    if wrong:
        text = "; ".join(f"{path}: {problem}" for path, problem in wrong)
        raise InvalidParameters(f"parameters do not fit the flow: {text}", tuple(wrong))
    return valid


def _annotated(signature: Signature, parameters: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    annotations = signature.annotations()
    rows = []
    for name, value in parameters.items():
        annotation = annotations.get(name, Any)
        kind = signature.inspected.parameters[name].kind
        if annotation is not Any and kind is inspect.Parameter.VAR_POSITIONAL:
            annotation = GenericAlias(tuple, (annotation, ...))
        elif annotation is not Any and kind is inspect.Parameter.VAR_KEYWORD:
            annotation = GenericAlias(dict, (str, annotation))
        rows.append((name, value, annotation))
    return rows


def fits(value: Any, annotation: Any) -> bool:
    """True where `value` certainly is what the annotation says, so that coercion would change nothing."""
    if annotation is Any or annotation is inspect.Parameter.empty:
        return True
    if annotation is None or annotation is NoneType:
        return value is None
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return type(value) is annotation and annotation in _EXACT
    origin = getattr(annotation, "__origin__", None)
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    if isinstance(annotation, UnionType) or str(origin) == "typing.Union":
        return any(fits(value, argument) for argument in arguments)
    if origin is list and len(arguments) == 1:
        return type(value) is list and all(fits(item, arguments[0]) for item in value)
    if origin is dict and len(arguments) == 2:
        return type(value) is dict and all(fits(k, arguments[0]) and fits(v, arguments[1]) for k, v in value.items())
    return False


def _own(value: Any, annotation: Any) -> Any:
    """`value`, which fits, with the containers that `annotation` names copied."""
    if type(value) not in _CONTAINERS or annotation is Any or annotation is inspect.Parameter.empty:
        return value
    arguments: tuple[Any, ...] = getattr(annotation, "__args__", ())
    origin = getattr(annotation, "__origin__", None)
    if isinstance(annotation, UnionType) or str(origin) == "typing.Union":
        return _own(value, next(argument for argument in arguments if fits(value, argument)))
    if origin is list:
        return [_own(item, arguments[0]) for item in value]
    if origin is dict:
        return {key: _own(item, arguments[1]) for key, item in value.items()}
    return value.copy()


_CONTAINERS = frozenset({list, dict, set})
_EXACT = frozenset({int, str, float, bool, bytes, dict, list, set, tuple, frozenset})


def _coerced(name: str, value: Any, annotation: Any, wrong: list[tuple[str, str]]) -> Any:
    from pydantic import PydanticUserError, ValidationError

    try:
        return type_adapter(annotation).validate_python(value)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_context=False):
            path = ".".join([name, *(str(part) for part in problem["loc"])])
            wrong.append((path, f"{problem['msg']} (got {_shown(problem['input'])})"))
    except PydanticUserError as error:
        wrong.append((name, f"its annotation {annotation!r} cannot be checked: {error.message}"))
    return value


def type_adapter(annotation: Any) -> Any:
    """What validates and describes values of this type; classes that pydantic does not know are checked as such."""
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)  # a model brings its own configuration


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
