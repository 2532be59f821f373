"""What tasks and flows say of their results: checked when they are declared, settled when a flow run starts.

A task's own option comes first, then that of the flow it runs in, then that of the flow around it, then the
environment (`settings`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import ConfigurationError, DefinitionError

if TYPE_CHECKING:
    from ..flows import Flow


class ResultOptions:
    """How the tasks of one flow run keep their results, unless they say otherwise."""

    __slots__ = ("persist", "serializer", "storage", "warned")

    def __init__(self, persist: bool = False, storage: Any = None, serializer: Any = None) -> None:
        self.persist, self.storage, self.serializer = persist, storage, serializer
        self.warned: set[tuple[str, str]] = set()  # tasks and arguments that a warning was given for

    def __reduce__(self) -> Any:
        return ResultOptions, (self.persist, self.storage, self.serializer)


def of_flow(flow: Flow[Any, Any], outer: ResultOptions | None) -> ResultOptions:
    """The options of a run of the flow, inside of another or not."""
    persist = flow.persist_result
    if persist is None and (flow.result_storage is not None or flow.result_serializer is not None):
        persist = True
    if persist is None and outer is not None:
        persist = outer.persist
    if persist is None:
        from .settings import get_default_persist_setting

        persist = get_default_persist_setting()
    storage, serializer = flow.result_storage, flow.result_serializer
    if outer is not None:
        storage = outer.storage if storage is None else storage
        serializer = outer.serializer if serializer is None else serializer
    return ResultOptions(persist, storage, serializer)


def described(flow: Flow[Any, Any]) -> dict[str, Any]:
    """What the decorator says of results, as far as a manifest can say it: `persist`, `storage`, `serializer`."""
    storage, serializer = flow.result_storage, flow.result_serializer
    given = {
        "persist": flow.persist_result,
        "storage": None if storage is None else getattr(storage, "url", str(storage)),
        "serializer": getattr(serializer, "name", serializer),
    }
    return {name: value for name, value in given.items() if value is not None}


def check(what: str, storage: Any, serializer: Any) -> None:
    """Refuse a storage or a serializer that cannot be. Raises DefinitionError."""
    from ..serializers import serializer as serializer_of
    from .urls import parse

    try:
        if serializer is not None:
            serializer_of(serializer)
        if isinstance(storage, str):
            parse(storage)
    except ConfigurationError as error:
        raise DefinitionError(f"{what}: {error}") from None
