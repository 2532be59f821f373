"""Which store and serializer are meant where neither a task nor a flow says, and whether results are kept at all.

Read from the environment each time:

    PENSTOCK_RESULTS_STORAGE              URL or path of the store; ~/.penstock/results when unset
    PENSTOCK_RESULTS_DEFAULT_SERIALIZER   "pickle" when unset
    PENSTOCK_RESULTS_PERSIST_BY_DEFAULT   keep every result; false when unset
    PENSTOCK_TASKS_REFRESH_CACHE          run every task whatever the cache holds, and write anew; false when unset
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..exceptions import ConfigurationError

if TYPE_CHECKING:
    from ..serializers import Serializer
    from .store import ResultStore

STORAGE = "PENSTOCK_RESULTS_STORAGE"
SERIALIZER = "PENSTOCK_RESULTS_DEFAULT_SERIALIZER"
PERSIST = "PENSTOCK_RESULTS_PERSIST_BY_DEFAULT"
FALLBACK = "PENSTOCK_RESULTS_FALLBACK"
REFRESH = "PENSTOCK_TASKS_REFRESH_CACHE"
HERE = "~/.penstock/results"

_stores: dict[tuple[str, Any], ResultStore] = {}


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
    how = serializer or os.environ.get(SERIALIZER) or "pickle"
    key = (str(storage or os.environ.get(STORAGE) or _fallback()), how)
    store = _stores.get(key)
    if store is None:  # made once: it may hold connections
        store = _stores[key] = ResultStore(key[0], serializer=how)
    return store


def _fallback() -> str:
    """The place where nobody named one. The runner in a pod names one that ends with it, which is worth a warning."""
    place = os.environ.get(FALLBACK)
    if place is None:
        return HERE
    if not any(known == place for known, _ in _stores):
        from ..logging import get_logger

        get_logger("results").warning(
            "No result store is configured: results are kept in %s, and gone with this pod. "
            "Set spec.results.url of the WorkPool (or result_storage of the flow)",
            place,
        )
    return place


def get_default_persist_setting() -> bool:
    """Whether results are kept where neither task nor flow says."""
    return flag(PERSIST)


def flag(name: str) -> bool:
    """A setting that is true or false; false when unset."""
    text = os.environ.get(name)
    if not text:
        return False
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigurationError(f"{name} must be true or false, not {text!r}")
