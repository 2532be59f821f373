"""What may be said of a deployment in Python, once and typed: for `flow.to_deployment`, `flow.deploy` and `flow.serve`.

It is no signature, for three of them would say it. What a field of FlowDeployment means, its model in `api` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from .api.flowdeployment import HistoryLimits, InfraRetries


class Fields(TypedDict, total=False):
    """Fields of a FlowDeployment that go by their own names, in snake case; a mapping has those of its model."""

    description: str | None
    version: str | None
    priority: int | None
    catch_up: Literal["None", "Latest", "All"] | None
    starting_deadline_seconds: int | None
    pending_deadline_seconds: int | None
    active_deadline_seconds: int | None
    infra_retries: InfraRetries | Mapping[str, Any] | None
    requirements: Sequence[str] | None
    history_limits: HistoryLimits | Mapping[str, Any] | None
    ttl_seconds_after_finished: int | None
    labels: Mapping[str, str] | None


class DeploymentOptions(Fields, total=False):
    """And those that have Prefect's names."""

    parameters: Mapping[str, Any] | None
    interval: timedelta | float | Iterable[timedelta | float] | None
    """One or several, as `cron` and `rrule`."""
    cron: str | Iterable[str] | None
    rrule: str | Iterable[str] | None
    max_runs: int | None
    """After so many runs each schedule of `interval`, `cron` and `rrule` ends."""
    schedule: Any
    """One of `schedules`."""
    schedules: Iterable[Any] | None
    """Of `penstock.schedules`, or as they stand in a manifest."""
    paused: bool | None
    """`suspend`."""
    tags: Iterable[str] | None
    concurrency_limit: int | Mapping[str, Any] | None
    """A number, or `{"limit": 1, "collision_strategy": "CANCEL_NEW"}`."""
    work_queue_name: str | None
    job_variables: Mapping[str, Any] | None
    """Changes to the pod, of which the pool takes those it allows: `image`, `env` and what else `pod` has."""
    from_image: bool
    """The code is in the image."""
