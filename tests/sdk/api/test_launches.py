from __future__ import annotations

import builders
from loopback_pod import environment as of_a_pod
from penstock.api import labels, launches


def test_a_runner_is_told_its_run_and_what_fences_it() -> None:
    run = builders.flow_run("Pending", attempt=3)
    told = launches.environment(run)
    assert told[labels.ENV_RUN] == "etl-1"
    assert told[labels.ENV_ATTEMPT] == "3"
    assert told[labels.ENV_DEPLOYMENT] == "etl"
    assert labels.ENV_STARTED not in told
    assert told.keys() | {labels.ENV_POD_NAME, labels.ENV_POD_UID} >= of_a_pod(run).keys()


def test_a_run_that_had_started_keeps_its_start() -> None:
    run = builders.flow_run("Pending", startTime="2026-01-01T06:00:00Z")
    assert launches.environment(run)[labels.ENV_STARTED] == "true"
