"""Views read what the API server sends, and have an answer where a field is missing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import flow_run, held, run_job, run_pod
from penstock.api.states import StateType
from penstock_operator.core.views import JobView, PodView, RunView, format_time, parse_time, with_microseconds

SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("", None, id="empty"),
        pytest.param("2026-01-01T06:00:00Z", SIX, id="seconds, as metav1.Time"),
        pytest.param("2026-01-01T06:00:00.000500Z", SIX + timedelta(microseconds=500), id="metav1.MicroTime"),
        pytest.param("2026-01-01T06:00:00.000000999Z", SIX, id="nanoseconds are cut"),
        pytest.param("2026-01-01T08:00:00+02:00", SIX, id="an offset, as a person may write it"),
        pytest.param("2026-01-01t06:00:00z", SIX, id="lower case, which the API server takes too"),
    ],
)
def test_a_timestamp_is_read(text: str | None, time: datetime | None) -> None:
    assert parse_time(text) == time


@given(st.datetimes(min_value=datetime(1900, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - hypothesis adds it
def test_a_time_that_is_written_is_read_back_whole(time: datetime) -> None:
    assert parse_time(format_time(time)) == time


def test_times_are_written_in_utc_with_microseconds() -> None:
    there = timezone(timedelta(hours=-5))
    assert format_time(datetime(2026, 1, 1, 1, 0, 0, 7, tzinfo=there)) == "2026-01-01T06:00:00.000007Z"


def test_a_time_of_any_precision_gets_the_microseconds_that_events_want() -> None:
    assert with_microseconds("2026-01-01T06:00:00Z") == "2026-01-01T06:00:00.000000Z"
    assert with_microseconds("2026-01-01t08:00:00.25+02:00") == "2026-01-01T06:00:00.250000Z"


def test_a_new_run_has_a_neutral_value_for_everything_unknown() -> None:
    run = RunView(flow_run())
    assert (run.namespace, run.name, run.uid, run.generation) == ("team", "etl-1", "run-uid", 1)
    assert (run.type, run.seq, run.entered, run.attempt, run.observed_seq) == (None, 0, None, 0, 0)
    assert (run.settled, run.cancelled, run.deleting, run.claimed_uid) == (False, False, False, None)
    assert (run.history, run.resolved, run.status, run.condition("Resolved")) == ([], {}, {}, None)


def test_a_run_under_way_tells_its_state_attempt_and_claim() -> None:
    condition = held("PodReady", False, "Unschedulable")
    body = flow_run(
        "Running",
        spec={"cancel": True},
        deleting=True,
        attempt=2,
        observedSeq=1,
        settled=True,
        pod={"name": "etl-1-2", "uid": "u"},
        conditions=[held("Resolved", True, "Accepted"), condition],
    )
    run = RunView(body)
    assert (run.type, run.seq, run.entered, run.attempt) == (StateType.RUNNING, 1, SIX, 2)
    assert (run.settled, run.cancelled, run.deleting, run.claimed_uid, run.observed_seq) == (True, True, True, "u", 1)
    assert run.condition("PodReady") == condition


@pytest.mark.parametrize(
    ("phase", "gone"),
    [("Pending", False), ("Running", False), ("Unknown", False), ("Succeeded", True), ("Failed", True)],
)
def test_a_pod_is_gone_when_its_phase_says_that_nothing_of_it_runs(phase: str, gone: bool) -> None:
    assert PodView(run_pod(phase)).gone is gone


def test_a_pod_of_which_the_kubelet_said_nothing_is_pending() -> None:
    pod = PodView({"metadata": {"name": "p", "uid": "u"}})
    assert (pod.phase, pod.node, pod.container(), pod.attempt, pod.deleting) == ("Pending", None, {}, 0, False)


def test_a_pod_tells_its_attempt_node_and_container() -> None:
    pod = PodView(run_pod(attempt=3, deleting=True, container={"running": {}}))
    assert (pod.name, pod.uid, pod.attempt, pod.node, pod.deleting) == ("etl-1-3", "pod-uid", 3, "node-1", True)
    assert pod.container()["state"] == {"running": {}}
    assert pod.container("sidecar") == {}


@pytest.mark.parametrize(
    ("conditions", "finished", "failed"),
    [
        pytest.param((), False, False, id="no condition yet"),
        pytest.param((held("Complete", True, ""),), True, False, id="complete"),
        pytest.param((held("Failed", True, "BackoffLimitExceeded"),), True, True, id="failed"),
        pytest.param((held("Failed", False, ""),), False, False, id="a condition that is False says nothing"),
        pytest.param((held("FailureTarget", True, "BackoffLimitExceeded"),), False, False, id="about to fail"),
        pytest.param((held("Suspended", True, ""),), False, False, id="suspended"),
    ],
)
def test_a_job_is_finished_when_a_condition_says_so(
    conditions: tuple[dict[str, str], ...], finished: bool, failed: bool
) -> None:
    job = JobView(run_job(*conditions))
    assert (job.finished, job.failure is not None) == (finished, failed)
    assert (job.name, job.uid, job.attempt, job.deleting) == ("etl-1-1", "job-uid", 1, False)
