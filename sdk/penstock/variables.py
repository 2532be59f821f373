"""Variables: small JSON values by name, for flows and people. `Variable.get("region", default="north")`.

Outside of a run's pod an environment variable `PENSTOCK_VARIABLE_<NAME>` overrides what is kept in files.
"""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

from . import resources
from .api import names
from .dispatch import dispatch, in_a_thread
from .errors import InvalidResource, ResourceError, ResourceExists, ResourceNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .resources import Body, Resources

__all__ = ["Variable"]

MAX_NAME = 253
MAX_VALUE = 5000  # characters of JSON
MAX_TAGS, MAX_TAG = 64, 128
ENVIRONMENT = "PENSTOCK_VARIABLE_"
_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?")


class Variable:
    """A variable as it is kept."""

    __slots__ = ("name", "tags", "value")

    def __init__(self, name: str, value: Any, tags: Iterable[str] = ()) -> None:
        self.name, self.value, self.tags = name, value, list(tags)

    def __eq__(self, other: object) -> bool:
        mine = (self.name, self.value, self.tags)
        return isinstance(other, Variable) and mine == (other.name, other.value, other.tags)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Variable(name={self.name!r}, value={self.value!r}, tags={self.tags!r})"

    @classmethod
    def get(cls, name: str, default: Any = None) -> Any:
        """The value of a variable; `default` where there is none."""
        return dispatch(read, name, default)

    @classmethod
    async def aget(cls, name: str, default: Any = None) -> Any:
        """`get` for async callers."""
        return await in_a_thread(read, name, default)

    @classmethod
    def set(cls, name: str, value: Any, tags: Iterable[str] | None = None, overwrite: bool = False) -> Variable:
        """Keep a JSON value. Raises ResourceExists where there is one and `overwrite` is not given."""
        return dispatch(write, name, value, tags, overwrite)

    @classmethod
    async def aset(cls, name: str, value: Any, tags: Iterable[str] | None = None, overwrite: bool = False) -> Variable:
        """`set` for async callers."""
        return await in_a_thread(write, name, value, tags, overwrite)

    @classmethod
    def unset(cls, name: str) -> bool:
        """Delete a variable; whether it was there."""
        return dispatch(remove, name)

    @classmethod
    async def aunset(cls, name: str) -> bool:
        """`unset` for async callers."""
        return await in_a_thread(remove, name)


def read(name: str, default: Any = None, where: Resources | None = None) -> Any:
    """The value of a variable in the current place, or the given one."""
    object_name = _object_name(name)
    if where is None and not resources.in_pod():
        text = os.environ.get(ENVIRONMENT + object_name.replace("-", "_").upper())
        if text is not None:
            return _from_text(text)
    body = (where or resources.current()).get("variables", object_name)
    return default if body is None else body["spec"].get("value")


def write(
    name: str, value: Any, tags: Iterable[str] | None = None, overwrite: bool = False, where: Resources | None = None
) -> Variable:
    """Keep a value in the current place, or the given one."""
    object_name, where = _object_name(name), where or resources.current()
    spec: Body = {"value": _checked(name, value)}
    if tags is not None:
        spec["tags"] = _checked_tags(name, tags)
    for _ in range(5):  # it may come and go between our tries
        try:
            made = where.create(resources.body_of("Variable", object_name, spec))
        except ResourceExists as error:
            if not overwrite:
                raise ResourceExists(
                    f"variable {name} exists in {where.place}: give overwrite=True to change it"
                ) from error
        else:
            return of_body(made, name)
        try:
            fields = {f"/spec/{field}": content for field, content in spec.items()}
            return of_body(where.change("variables", object_name, fields), name)
        except ResourceNotFound:
            continue
    raise ResourceError(f"variable {name} is created and deleted by others all the time; try again")


def exists(name: str, where: Resources | None = None) -> bool:
    """Whether there is a variable of that name in the current place, or the given one."""
    return (where or resources.current()).get("variables", _object_name(name)) is not None


def remove(name: str, where: Resources | None = None) -> bool:
    """Delete a variable in the current place, or the given one; whether it was there."""
    return (where or resources.current()).delete("variables", _object_name(name))


def of_body(body: Body, name: str | None = None) -> Variable:
    """The variable that an object holds."""
    spec = body["spec"]
    return Variable(name or body["metadata"]["name"], spec.get("value"), spec.get("tags") or ())


def _object_name(name: Any) -> str:
    if not isinstance(name, str) or len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise InvalidResource(
            f"variable name {name!r}: lower-case letters, digits, dashes and underscores (which are the same), "
            f"at most {MAX_NAME}, with a letter or a digit first and last"
        )
    return names.variable(name)


def _checked(name: str, value: Any) -> Any:
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidResource(f"variable {name}: value is no JSON ({error}): convert it first") from error
    if len(text) > MAX_VALUE:
        raise InvalidResource(
            f"variable {name}: value has {len(text)} characters of JSON, and may have {MAX_VALUE}: "
            "keep it in object storage, and its URL in the variable"
        )
    return json.loads(text)


def _checked_tags(name: str, tags: Iterable[Any]) -> list[str]:
    found = [tags] if isinstance(tags, str) else list(tags)
    if len(found) > MAX_TAGS or not all(isinstance(tag, str) and 0 < len(tag) <= MAX_TAG for tag in found):
        raise InvalidResource(f"variable {name}: tags are at most {MAX_TAGS} texts of at most {MAX_TAG} characters")
    return found


def _from_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
