"""Which result stores pods share."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.api.sharing import shared, shared_by_pods

STORES: dict[str, tuple[str | None, bool | None, bool]] = {
    "none": (None, True, False),
    "a bucket": ("s3://bucket/prefix", None, True),
    "another provider's": ("az://container?account=a", False, True),
    "memory": ("memory://x", True, False),
    "a folder that is said to be shared": ("file:///results", True, True),
    "a folder of which nothing is said": ("file:///results", None, False),
    "a path": ("/results", True, True),
    "a path of which nothing is said": ("results", None, False),
}


@pytest.mark.parametrize("name", STORES)
def test_which_stores_pods_share(name: str) -> None:
    url, declared, expected = STORES[name]
    assert shared(url, declared) is expected


@pytest.mark.parametrize(
    ("flow", "pool", "expected"),
    [
        (None, None, False),
        (None, {"url": "s3://b"}, True),
        ({"persist": True}, {"url": "s3://b"}, True),
        ({"storage": "s3://own"}, None, True),
        ({"storage": "file:///own"}, {"url": "file:///pools", "shared": True}, False),
        ({"storage": "file:///pools"}, {"url": "file:///pools", "shared": True}, True),
    ],
)
def test_the_flows_own_store_goes_first(flow: Any, pool: Any, expected: bool) -> None:
    """And what the pool says of its folder holds for that folder only."""
    assert shared_by_pods(flow, pool) is expected
