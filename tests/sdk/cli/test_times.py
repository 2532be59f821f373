"""Instants as people type them."""

from __future__ import annotations

import click
import pytest

from penstock.cli.times import parse_time


@pytest.mark.parametrize(
    ("text", "expected"),
    {
        "2026-01-31": "2026-01-31T00:00:00+00:00",
        "2026-01-31T06:00": "2026-01-31T06:00:00+00:00",
        "2026-01-31t06:00:00z": "2026-01-31T06:00:00+00:00",
        "2026-01-31T06:00:00+02:00": "2026-01-31T04:00:00+00:00",
    }.items(),
)
def test_times(text: str, expected: str) -> None:
    assert parse_time(text, "--from").isoformat() == expected


def test_what_is_none_is_refused_with_the_remedy() -> None:
    with pytest.raises(click.BadParameter, match="'noon': write it like 2026-01-31"):
        parse_time("noon", "--from")
