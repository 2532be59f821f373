"""A duration is read at a glance, and fits into its field."""

import pytest

from penstock.api.durations import shown
from penstock.api.runstatus import FlowRunStatus


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0s"), (0, "0s"), (4.9, "4s"), (59.99, "59s"), (60, "1m00s"), (200, "3m20s"), (3599, "59m59s"),
        (3600, "1h00m"), (7500, "2h05m"), (360_000, "100h00m"),
    ],
)  # fmt: skip
def test_a_duration_is_read_at_a_glance(seconds: float, text: str) -> None:
    assert shown(seconds) == text
    FlowRunStatus.model_validate({"duration": text})
