"""Where the log of a pod goes: the place that its pool wants, if the administrator allows it there.

The operator writes with its own credentials, so a pool's author must not be able to have it write, or send a request,
just anywhere. Called by `reconcile.podlogs` and `reconcile.workpools`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from penstock.api import labels
from penstock.archive.logs import LogAddress
from penstock.errors import ConfigurationError
from penstock.results import urls
from penstock.results.urls import StorageUrl

from .views import Body, PodView, parse_time

GIVE_UP = timedelta(hours=24)  # after its end a pod waits no longer for an archive that cannot be reached
PLAIN = re.compile(r"(/[A-Za-z0-9._=+~-]+)*")


class NotAllowed(ValueError):
    """The pool's place is none that the administrator allows; the message says what to do."""


def place(url: str, allowed: Iterable[StorageUrl]) -> StorageUrl:
    """The place of a pool's `logs.archive.url`: one that is allowed, or lies below it. Raises NotAllowed.

    Options, an endpoint among them, are those of the allowed place; what a pool says of them must be the same.
    """
    try:
        wanted = urls.parse(url, "archive of logs") if "://" in url else None
    except ConfigurationError as error:
        raise NotAllowed(f"spec.logs.archive.url: {error}") from None
    if wanted is None:
        raise NotAllowed("spec.logs.archive.url: no URL; write one such as s3://bucket/prefix")
    steps = wanted.path.split("/")
    if PLAIN.fullmatch(wanted.path) and not {".", ".."} & set(steps):
        for one in allowed:
            root = one.path.rstrip("/")
            same = (wanted.scheme, wanted.bucket) == (one.scheme, one.bucket)
            below = wanted.path == root or wanted.path.startswith(f"{root}/")
            if same and below and wanted.options in ({}, one.options):
                return StorageUrl(one.scheme, one.bucket, wanted.path, one.options)
    known = ", ".join(str(one) for one in allowed)
    remedy = f"use one of them, or a path below: {known}" if known else "none is; see archive.logs of the chart"
    raise NotAllowed(f"spec.logs.archive.url is not at a place that the administrator allows for logs: {remedy}")


def wanted(pod: PodView) -> str | None:
    """The URL that the pool of a pod had when the pod was made."""
    url: str | None = (pod.metadata.get("annotations") or {}).get(labels.LOGS_ARCHIVE)
    return url


def address(pod: PodView) -> LogAddress | None:
    """Where below it the log goes; fixed when the pod is created. None for what is no pod of a run."""
    run = str((pod.metadata.get("labels") or {}).get(labels.RUN))
    created = parse_time(pod.metadata.get("creationTimestamp"))
    uid = next((str(e.get("value")) for e in _environment(pod.body) if e["name"] == labels.ENV_RUN_UID), "")
    number = str((pod.metadata.get("labels") or {}).get(labels.ATTEMPT))
    if created is None or not number.isdecimal() or len(number) > 9:
        return None
    suffix = pod.name.removeprefix(f"{run}-{number}").removeprefix("-")
    day = created.astimezone(UTC).date().isoformat()
    return LogAddress(day, str(pod.metadata["namespace"]), run, uid, int(number), suffix).checked()


def _environment(body: Body) -> list[Body]:
    containers = (body.get("spec") or {}).get("containers") or []
    return next((c.get("env") or [] for c in containers if c["name"] == labels.CONTAINER), [])


def has_run(pod: PodView) -> bool:
    """Whether the container of user code was started, so that there is a log."""
    state = pod.container().get("state") or {}
    return "running" in state or "terminated" in state


def ended(pod: PodView) -> datetime | None:
    """When the last of its containers ended, else when it was made; None while it has not ended."""
    if not pod.gone:
        return None
    ends = [
        parse_time((c.get("state") or {}).get("terminated", {}).get("finishedAt"))
        for c in pod.status.get("containerStatuses") or []
    ]
    return max((end for end in ends if end), default=None) or parse_time(pod.metadata.get("creationTimestamp"))


def waits(pod: PodView, now: datetime) -> bool:
    """Whether its log is still worth waiting for."""
    end = ended(pod)
    return end is None or now < end + GIVE_UP
