"""Where results are kept, and how. Used by the engine, by caches and transactions, and by the runner in a pod.

    store = ResultStore.from_url("s3://bucket/prefix", serializer="json")
    store.write("totals", {"rows": 3})
    store.read("totals")

`urls` says which place a URL means, `folder`, `memory` and `objects` are the places, `record` is what stands in them,
`store` puts records there and gets them back. Nothing here knows of flows, tasks or Kubernetes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .record import ResultRecord as ResultRecord
    from .store import ResultStore as ResultStore
    from .store import StoredResult as StoredResult

_HOMES = {
    "ResultRecord": "record",
    "ResultStore": "store",
    "StoredResult": "store",
}

__all__ = ["ResultRecord", "ResultStore", "StoredResult"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{home}", __name__), name)
