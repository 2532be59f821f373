"""Wrappers that tell a call how to treat one argument. Removed before the function sees its value."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Annotation", "allow_failure", "opaque", "quote", "unmapped"]

T = TypeVar("T")


class Annotation(Generic[T]):
    """One wrapped value."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        self.value = value

    def unwrap(self) -> T:
        """The value itself."""
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(other.value == self.value)

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.value!r})"


class unmapped(Annotation[T]):  # noqa: N801 - used like a function, as in Prefect
    """`.map` gives this value to every run instead of iterating over it."""

    __slots__ = ()


class allow_failure(Annotation[T]):  # noqa: N801
    """The run starts even where this input failed: it then gets the exception, or None if the input never started."""

    __slots__ = ()


class quote(Annotation[T]):  # noqa: N801
    """The value is passed on unread: nothing looks into it for futures and states."""

    __slots__ = ()

    def unquote(self) -> T:
        """The value itself."""
        return self.value


class opaque(Annotation[T]):  # noqa: N801
    """As `quote`: the value is one piece, however it looks."""

    __slots__ = ()
