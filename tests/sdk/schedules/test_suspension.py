"""What of a deployment's spec was deployed, and what is only suspended."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.schedules.suspension import as_deployed

DAY = {"slug": "day", "cron": "0 6 * * *"}


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"tags": ["a"]}, id="nothing"),
        pytest.param({"tags": ["a"], "suspend": True}, id="the deployment"),
        pytest.param({"tags": ["a"], "schedules": []}, id="none of no schedules"),
        pytest.param({"tags": ["a"], "schedules": [{"slug": "gone", "suspend": True}]}, id="a schedule that is gone"),
    ],
)
def test_what_is_suspended_is_left_out(spec: dict[str, Any]) -> None:
    before = repr(spec)
    assert as_deployed(spec) == {"tags": ["a"]}
    assert repr(spec) == before


def test_a_schedule_that_is_suspended_is_deployed_all_the_same() -> None:
    assert as_deployed({"schedules": [{**DAY, "suspend": True}]}) == as_deployed({"schedules": [DAY]})
    assert as_deployed({"schedules": [DAY]}) != as_deployed({"schedules": [{**DAY, "cron": "0 7 * * *"}]})
