"""Which result stores pods share: what one pod has written there, another one reads. Pure.

Asked before something is promised that rests on it: retries of runs, tasks in pods of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def shared(url: str | None, declared: bool | None) -> bool:
    """Whether pods share what is kept at `url`; of a folder only its pool knows (`declared`, `results.shared`)."""
    if not url or url.startswith("memory:"):
        return False
    return bool(declared) if url.startswith(("file:", "/")) or ":" not in url else True


def shared_by_pods(flow: Mapping[str, Any] | None, pool: Mapping[str, Any] | None) -> bool:
    """Whether runs share their store: of `spec.results` of the flow, which goes first, and of the pool."""
    asked, given = flow or {}, pool or {}
    url = asked.get("storage") or given.get("url")
    return shared(url, given.get("shared") if url == given.get("url") else None)
