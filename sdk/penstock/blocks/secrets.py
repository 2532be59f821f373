"""A block's content as two parts, and back: plain JSON, and secret values by the path of their field.

Called by `core`. Pure: it knows nothing of where either part is kept. A secret is bytes, as a Secret of Kubernetes
holds it; a text stands there as it is, anything else as JSON.
"""

from __future__ import annotations

import json
import re
import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Secret, SecretBytes, SecretStr
from pydantic_core import to_json

from ..errors import InvalidResource

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
MAX_PATH = 200  # it is a file's name where the block is mounted

Parts = tuple[dict[str, Any], dict[str, bytes]]


def split(model: BaseModel) -> Parts:
    """The plain part, without the secret fields, and the secrets by path: `password`, `login.password`."""
    secrets: dict[str, bytes] = {}
    return _split(model, "", secrets), secrets


def _split(model: BaseModel, path: str, secrets: dict[str, bytes]) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, info in type(model).model_fields.items():
        key, value = info.serialization_alias or info.alias or name, getattr(model, name)
        if not _secret_inside(value):
            plain.update(model.model_dump(mode="json", include={name}, by_alias=True))
            continue
        found = _part(value, f"{path}{key}", secrets)
        if found is not None:
            plain[key] = found
    return plain


def _part(value: Any, path: str, secrets: dict[str, bytes]) -> Any:
    """What of a value with secrets in it is plain; None for a secret itself."""
    if _is_secret(value):
        if len(path) > MAX_PATH or not all(_PART.fullmatch(part) for part in path.split(".")):
            raise InvalidResource(
                f"field {path!r} is secret, and its name becomes a file's: letters, digits, dashes and underscores, "
                f"at most {MAX_PATH}; for other names use a SecretDict"
            )
        secrets[path] = _bytes(value.get_secret_value())
        return None
    if isinstance(value, BaseModel):
        return _split(value, f"{path}.", secrets)
    if isinstance(value, dict):
        plain = {}
        for key, item in value.items():
            if not _secret_inside(item):
                plain[key] = json.loads(to_json(item))
            elif "." in str(key):
                raise InvalidResource(f"field {path}: the key {key!r} of a secret has a dot; use a SecretDict")
            elif (found := _part(item, f"{path}.{key}", secrets)) is not None:
                plain[key] = found
        return plain
    raise InvalidResource(f"field {path}: secrets in a {type(value).__name__} cannot be saved; use a SecretDict")


def _is_secret(value: Any) -> bool:
    return hasattr(value, "get_secret_value")


def _secret_inside(value: Any) -> bool:
    if _is_secret(value):
        return True
    if isinstance(value, BaseModel):
        return any(_secret_inside(getattr(value, name)) for name in type(value).model_fields)
    if isinstance(value, dict):
        return any(map(_secret_inside, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(_secret_inside, value))


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else to_json(value)


def joined(model: type[BaseModel], plain: dict[str, Any], secrets: dict[str, bytes]) -> dict[str, Any]:
    """What the model is validated from: the plain part with the secrets in their places."""
    whole: dict[str, Any] = json.loads(json.dumps(plain))
    for path, value in secrets.items():
        *parents, last = path.split(".")
        target = whole
        for part in parents:
            inner = target.setdefault(part, {})
            if not isinstance(inner, dict):
                raise InvalidResource(f"secret {path!r}: the block's data has no mapping at {part!r}")
            target = inner
        target[last] = _value(value, _annotation(model, [*parents, last]))
    return whole


def _value(raw: bytes, annotation: Any) -> Any:
    """Texts for the types that are texts, JSON for the others."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    if annotation is Any or any(kind in (SecretStr, SecretBytes, str, bytes) for kind in _flat(annotation)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _annotation(model: Any, path: list[str]) -> Any:
    """The type of the field at `path`; Any where none can be told."""
    found: Any = model
    for part in path:
        step: Any = Any
        for kind in _flat(found):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                for name, info in kind.model_fields.items():
                    if part in (name, info.alias, info.serialization_alias):
                        step = info.annotation
            elif get_origin(kind) is dict:
                step = get_args(kind)[1]
        found = step
    return found


def _flat(annotation: Any) -> list[Any]:
    """The alternatives of a type."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _flat(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [kind for part in get_args(annotation) for kind in _flat(part)]
    return [annotation, *get_args(annotation)] if origin is Secret else [annotation]
