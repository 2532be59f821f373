"""Which store and serializer are meant where neither a task nor a flow says, and whether results are kept at all.

The settings `results_*` of `penstock.settings` say so, looked at each time.
"""

from __future__ import annotations

import os
from threading import Lock
from typing import TYPE_CHECKING, Any

from ..api import labels
from ..settings import get_current_settings

if TYPE_CHECKING:
    from ..serializers import Serializer
    from .store import ResultStore

FALLBACK = labels.ENV_RESULTS_FALLBACK  # set by the runner

_stores: dict[tuple[str, Any], ResultStore] = {}
_making = Lock()


def get_result_store() -> ResultStore:
    """The store of the task or flow run that the current code belongs to, else the default one."""
    from ..context import FLOW, TASK

    task, flow = TASK.get(), FLOW.get()
    storage, serializer = (flow.results.storage, flow.results.serializer) if flow is not None else (None, None)
    if task is not None:
        storage = storage if task.task.result_storage is None else task.task.result_storage
        serializer = serializer if task.task.result_serializer is None else task.task.result_serializer
    return store_for(storage, serializer)


def store_for(storage: Any, serializer: Serializer | str | None) -> ResultStore:
    """The store of these options of a task or flow; None stands for the environment's."""
    from .store import ResultStore

    if isinstance(storage, ResultStore):
        return storage if serializer is None else storage.with_serializer(serializer)
    settings = get_current_settings()
    how = serializer or settings.results_default_serializer
    named = storage or settings.results_storage
    key = (str(named or os.environ.get(FALLBACK) or f"{settings.home}/results"), how)
    if key not in _stores:
        with _making:  # each is made once, for it may hold connections, and a map asks from many threads
            if key not in _stores:
                if not named:
                    _tell_of_fallback(key[0])
                _stores[key] = ResultStore(key[0], serializer=how)
    return _stores[key]


def _tell_of_fallback(place: str) -> None:
    """The runner in a pod names a place that ends with the pod where nobody named any, which is worth a warning."""
    if FALLBACK in os.environ and not any(known == place for known, _ in _stores):
        from ..logging import get_logger

        get_logger("results").warning(
            "No result store is configured: results are kept in %s, and gone with this pod. "
            "Set spec.results.url of the WorkPool (or result_storage of the flow)",
            place,
        )


def get_default_persist_setting() -> bool:
    """Whether results are kept where neither task nor flow says."""
    return get_current_settings().results_persist_by_default
