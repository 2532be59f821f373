"""Instants as people type them: `2026-01-31`, `2026-01-31T06:00`, `2026-01-31T06:00:00+01:00`."""

from __future__ import annotations

from datetime import UTC, datetime

import click


def parse_time(text: str, option: str) -> datetime:
    """The instant; one without zone is in UTC, a date its midnight. Raises BadParameter, which names the option."""
    try:
        time = datetime.fromisoformat(text.upper())
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: write it like 2026-01-31 or 2026-01-31T06:00:00Z", param_hint=option
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
