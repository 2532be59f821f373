"""Values to bytes and back. Called by the result store and by cache keys; knows nothing of where bytes are kept.

A serializer is found again by its name, which stands in the header of every record: "pickle", "json",
"compressed/pickle", "compressed/json", or the `type` of a subclass of yours that has been imported.
"""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Any, ClassVar

from .errors import ConfigurationError, SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "CompressedJSONSerializer",
    "CompressedPickleSerializer",
    "CompressedSerializer",
    "JSONSerializer",
    "PickleSerializer",
    "Serializer",
    "serializer",
]

_known: dict[str, type[Serializer]] = {}


class Serializer(abc.ABC):
    """Turns values into bytes and back. A subclass that sets `type` is found under that name."""

    type: ClassVar[str] = ""

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if cls.__dict__.get("type"):
            _known[cls.type] = cls

    @property
    def name(self) -> str:
        """What a record's header says, and `serializer` finds again."""
        return self.type

    @abc.abstractmethod
    def dumps(self, obj: Any) -> bytes:
        """The value as bytes. Raises SerializationError."""

    @abc.abstractmethod
    def loads(self, blob: bytes) -> Any:
        """The value of these bytes. Raises SerializationError."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class PickleSerializer(Serializer):
    """cloudpickle: nearly every Python value, to be read by the same Python version. Only load what you trust."""

    type = "pickle"

    def __init__(self, picklelib: str = "cloudpickle") -> None:
        self.picklelib = picklelib
        if picklelib != "cloudpickle":  # which is ours, and costs time to import
            _module(picklelib, "dumps", "loads")

    def dumps(self, obj: Any) -> bytes:
        """The value as a pickle."""
        try:
            return bytes(_module(self.picklelib, "dumps", "loads").dumps(obj))
        except Exception as error:
            raise SerializationError(
                f"a {_kind(obj)} cannot be pickled: {_said(error)}; "
                f"return what can be (a path instead of an open file), or set persist_result=False"
            ) from error

    def loads(self, blob: bytes) -> Any:
        """The value of a pickle."""
        try:
            return _module(self.picklelib, "dumps", "loads").loads(blob)
        except Exception as error:
            raise SerializationError(
                f"a pickle cannot be loaded: {_said(error)}; install what it was made with in the same version"
            ) from error


class JSONSerializer(Serializer):
    """JSON, for other programs to read. Tuples come back as lists and keys of dicts as strings, as JSON has it.

    What JSON has no word for (dates, sets, bytes, dataclasses, pydantic models, enums) becomes an object that names
    its class, and comes back as it was. `object_encoder` and `object_decoder` replace that.
    """

    type = "json"

    def __init__(
        self,
        object_encoder: Callable[[Any], Any] | None = None,
        object_decoder: Callable[[dict[str, Any]], Any] | None = None,
        dumps_kwargs: Mapping[str, Any] | None = None,
        loads_kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        self.object_encoder = object_encoder or encoded
        self.object_decoder = object_decoder or decoded
        self.dumps_kwargs, self.loads_kwargs = dict(dumps_kwargs or {}), dict(loads_kwargs or {})

    def dumps(self, obj: Any) -> bytes:
        """The value as UTF-8 JSON."""
        import json

        try:
            return json.dumps(obj, default=self.object_encoder, **self.dumps_kwargs).encode()
        except Exception as error:
            raise SerializationError(
                f"a {_kind(obj)} cannot be written as JSON: {_said(error)}; "
                f"return JSON values, or use the pickle serializer"
            ) from error

    def loads(self, blob: bytes) -> Any:
        """The value of UTF-8 JSON."""
        import json

        try:
            return json.loads(blob, object_hook=self.object_decoder, **self.loads_kwargs)
        except Exception as error:
            raise SerializationError(f"JSON cannot be read back: {_said(error)}") from error


_CLASS, _DATA = "__class__", "data"


def encoded(obj: Any) -> dict[str, Any]:
    """A value that JSON has no word for, as an object that names its class. Raises TypeError for what pydantic knows
    no schema of."""
    from pydantic import PydanticSchemaGenerationError, TypeAdapter

    kind = type(obj)
    try:
        adapter = TypeAdapter(kind)
    except PydanticSchemaGenerationError:
        raise TypeError(f"JSON has no word for a {_kind(obj)}") from None
    return {_CLASS: f"{kind.__module__}:{kind.__qualname__}", _DATA: adapter.dump_python(obj, mode="json")}


def decoded(found: dict[str, Any]) -> Any:
    """The value of an object that `encoded` made; any other object as it is."""
    name = found.get(_CLASS)
    if not isinstance(name, str) or found.keys() != {_CLASS, _DATA}:
        return found
    from importlib import import_module

    from pydantic import TypeAdapter

    module, _, qualname = name.partition(":")
    target: Any = import_module(module)
    for part in qualname.split("."):
        target = getattr(target, part)
    return TypeAdapter(target).validate_python(found[_DATA])


class CompressedSerializer(Serializer):
    """What another serializer makes, compressed."""

    type = "compressed"

    def __init__(self, serializer: Serializer | str = "pickle", compressionlib: str = "zlib") -> None:
        self.serializer, self.compressionlib = _serializer(serializer), compressionlib
        _module(compressionlib, "compress", "decompress")

    @property
    def name(self) -> str:
        """`compressed/pickle`; another library than zlib stands behind it: `compressed/pickle:lzma`."""
        library = "" if self.compressionlib == "zlib" else f":{self.compressionlib}"
        return f"compressed/{self.serializer.name}{library}"

    def dumps(self, obj: Any) -> bytes:
        """The value as compressed bytes."""
        return bytes(_module(self.compressionlib, "compress").compress(self.serializer.dumps(obj)))

    def loads(self, blob: bytes) -> Any:
        """The value of compressed bytes."""
        try:
            plain = _module(self.compressionlib, "decompress").decompress(blob)
        except Exception as error:
            raise SerializationError(f"bytes that {self.compressionlib} did not write: {_said(error)}") from error
        return self.serializer.loads(plain)


class CompressedPickleSerializer(CompressedSerializer):
    """`compressed/pickle`."""

    def __init__(self, compressionlib: str = "zlib") -> None:
        super().__init__("pickle", compressionlib)


class CompressedJSONSerializer(CompressedSerializer):
    """`compressed/json`."""

    def __init__(self, compressionlib: str = "zlib") -> None:
        super().__init__("json", compressionlib)


def serializer(wanted: Serializer | str) -> Serializer:
    """The serializer of this name, or the one given. Raises ConfigurationError."""
    if isinstance(wanted, Serializer):
        return wanted
    if not isinstance(wanted, str):
        raise ConfigurationError(f"a serializer is a name or a Serializer, not {wanted!r}")
    kind, _, inner = wanted.partition("/")
    if kind == "compressed" and inner:
        inner, _, library = inner.partition(":")
        return CompressedSerializer(serializer(inner), library or "zlib")
    if kind != "compressed" and wanted in _known:
        return _known[wanted]()
    names = sorted(name for name in _known if name != "compressed")
    raise ConfigurationError(
        f"there is no serializer {wanted!r}; there are {', '.join(names)}, and compressed/… of each. "
        f"One of your own is known once the module that defines it is imported"
    )


_serializer = serializer  # for where a parameter has that name


def _module(name: str, *needed: str) -> Any:
    from importlib import import_module

    try:
        module = import_module(name)
    except ImportError as error:
        raise ConfigurationError(f"the serializer's module {name!r} cannot be imported: {error}") from error
    missing = [part for part in needed if not hasattr(module, part)]
    if missing:
        raise ConfigurationError(f"{name!r} has no {' and no '.join(missing)}, which a serializer needs")
    return module


def _kind(obj: Any) -> str:
    return f"{type(obj).__module__}.{type(obj).__qualname__}".removeprefix("builtins.")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
