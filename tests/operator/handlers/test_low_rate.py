"""kopf's handlers name a key and do nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import kopf
import pytest

from penstock.api import labels
from penstock_operator.handlers import low_rate
from penstock_operator.reconcile.sources import Key


def handlers() -> tuple[list[Any], list[tuple[str, Key, str | None]]]:
    touched: list[tuple[str, Key, str | None]] = []
    registry = kopf.OperatorRegistry()
    low_rate.register(registry, lambda *told: touched.append(told))
    return list(registry._watching._handlers), touched


@pytest.mark.parametrize(("plural", "kind"), low_rate.KINDS.items())
def test_an_event_of_each_low_rate_kind_touches_its_key(plural: str, kind: str) -> None:
    found, touched = handlers()
    (handler,) = [h for h in found if h.selector.any_name == plural or h.selector.plural == plural]
    assert (handler.selector.group, handler.selector.version) == (labels.GROUP, labels.VERSION)
    meta = {"uid": "u", "generation": 3}
    for type_ in ("MODIFIED", "DELETED"):
        asyncio.run(handler.fn(name="a", namespace="n", body={}, meta=meta, event={"type": type_}))
    assert touched == [(kind, Key("n", "a"), "u/3"), (kind, Key("n", "a"), None)]


def test_there_are_no_handlers_that_would_need_annotations_or_finalizers() -> None:
    """Only `on.event`: change-detecting handlers, daemons and timers would write into the objects."""
    registry = kopf.OperatorRegistry()
    low_rate.register(registry, lambda _kind, _key, _version: None)
    assert list(registry._changing._handlers) == []
    assert list(registry._spawning._handlers) == []
    assert len(list(registry._watching._handlers)) == len(low_rate.KINDS)
