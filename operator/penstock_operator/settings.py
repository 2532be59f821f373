"""Settings of the operator: one object, read once from the environment at start and passed down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from penstock.errors import ConfigurationError
from penstock.results import urls

PREFIX = "PENSTOCK_OPERATOR_"
LEASE_TEXT = re.compile(r"[a-z0-9-]{1,63}/[a-z0-9.-]{1,253}")
BOUNDS = {
    "workers": (1, 256),
    "late_after_seconds": (1, 86_400),
    "retention_max_runs": (0, 1_000_000),
    "retention_max_days": (0, 36_500),
    "probe_port": (0, 65535),
    "metrics_port": (0, 65535),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Each field is set by PENSTOCK_OPERATOR_<NAME>."""

    namespaces: tuple[str, ...] = ()
    """Namespaces that are watched, comma-separated; all when empty, which needs a ClusterRole."""

    image: str = "penstock:latest"
    """Image of runs whose flow, deployment and pool name none. The chart sets the operator's own."""

    image_pull_policy: str = "IfNotPresent"
    """imagePullPolicy of runs, unless a pool or override says otherwise."""

    service_account: str = "penstock-run"
    """ServiceAccount of runs, unless their pool names another. The chart makes it."""

    workers: int = 16
    """Runs that are reconciled at the same time; each holds at most one API call."""

    lease: str = ""
    """Lease by which one of several operators acts, as namespace/name; empty: this is the only one, and it acts."""
    retention_max_runs: int = 1000
    """Settled runs that a namespace keeps at most; 0 for no bound. At the budget of 6 KiB a run, 6 MiB of etcd."""

    retention_max_days: int = 30
    """Days after their end at which runs are deleted whatever else is said; 0 for no bound."""

    archive: str = ""
    """URL at which runs are kept when they are deleted (s3://, gs://, az://, file://); nowhere when empty.
    Credentials never stand in it: they come from the environment, or from the pod's identity."""

    late_after_seconds: int = 15
    """Seconds past its time after which a run that could not start is called Late."""

    log_archives: tuple[str, ...] = ()
    """URLs at and below which pools may have the logs of their runs kept (`spec.logs.archive`), comma-separated; none
    when empty. The operator writes there with its own credentials, and needs the right to read logs of pods."""

    log_level: str = "INFO"
    """DEBUG, INFO, WARNING or ERROR."""

    log_format: str = "json"
    """json (one object a line) or plain."""

    probe_port: int = 8080
    """Port of /healthz; 0 for none."""

    metrics_port: int = 9090
    """Port of /metrics; 0 for none."""


class InvalidSetting(ValueError):
    """A setting cannot be read; the message names its variable and what it takes."""


def read(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment. Raises `InvalidSetting`."""
    values: dict[str, Any] = {}
    for field in fields(Settings):
        name = PREFIX + field.name.upper()
        text = environment.get(name)
        if text is None or text == "":
            continue
        if isinstance(field.default, int):
            if not text.isdecimal():
                raise InvalidSetting(f"{name}={text!r}: a whole number is wanted")
            low, high = BOUNDS[field.name]
            if not low <= int(text) <= high:
                raise InvalidSetting(f"{name}={text!r}: at least {low} and at most {high} is wanted")
            values[field.name] = int(text)
        elif isinstance(field.default, tuple):
            values[field.name] = tuple(part.strip() for part in text.split(",") if part.strip())
        else:
            values[field.name] = text
    settings = Settings(**values)
    for name, allowed in (
        ("log_level", ("DEBUG", "INFO", "WARNING", "ERROR")),
        ("log_format", ("json", "plain")),
        ("image_pull_policy", ("Always", "IfNotPresent", "Never")),
    ):
        if getattr(settings, name) not in allowed:
            variable = PREFIX + name.upper()
            raise InvalidSetting(f"{variable}={getattr(settings, name)!r}: one of {', '.join(allowed)} is wanted")
    if settings.lease and not LEASE_TEXT.fullmatch(settings.lease):
        raise InvalidSetting(f"{PREFIX}LEASE={settings.lease!r}: namespace/name of a Lease is wanted")
    archives = [("ARCHIVE", settings.archive)] * bool(settings.archive)
    for name, url in (*archives, *(("LOG_ARCHIVES", url) for url in settings.log_archives)):
        try:
            urls.parse(url, "archive")
        except ConfigurationError as error:  # which repeats no credentials
            raise InvalidSetting(f"{PREFIX}{name}: {error}") from None
    return settings
