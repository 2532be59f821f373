"""What an attempt is told of results: where they go and how, by environment. Pure; called by `pods`."""

from __future__ import annotations

from typing import Any

from penstock.api import labels

Body = dict[str, Any]


def environment(resolved: Body, pool: Body) -> list[Body]:
    """Settings of the runner: the flow's own words first, then those of the pool's spec."""
    flow, given = resolved.get("results") or {}, pool.get("results") or {}
    values: dict[str, str] = {}
    url = flow.get("storage") or given.get("url")
    if url:
        values[labels.ENV_RESULTS] = url
    if flow.get("persist") is not None:
        values[labels.ENV_RESULTS_PERSIST] = str(flow["persist"]).lower()
    if flow.get("serializer"):
        values[labels.ENV_RESULTS_SERIALIZER] = flow["serializer"]
    return [{"name": name, "value": value} for name, value in values.items()]


def sharing(pool: Body, environment: list[Body]) -> list[Body]:
    """Whether other pods reach the place of results, which the pool says of its own only."""
    given = pool.get("results") or {}
    place = next((item.get("value") for item in environment if item["name"] == labels.ENV_RESULTS), None)
    if place is None or place != given.get("url") or given.get("shared") is None:
        return []
    return [{"name": labels.ENV_RESULTS_SHARED, "value": str(given["shared"]).lower()}]


def credentials(pool: Body, others: list[Body] | None) -> list[Body]:
    """The container's `envFrom`: what its template says, then the Secret of the pool's storage."""
    secret = (pool.get("results") or {}).get("secretRef")
    mine = [{"secretRef": {"name": secret["name"]}}] if secret else []
    return [*(others or ()), *mine]
