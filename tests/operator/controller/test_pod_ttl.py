"""Pods of runs are deleted after their time, and not before they are needed no more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import run_pod
from controller_stage import Json, Kept, Play, ended, kept, played
from memory_cluster import Write
from penstock.api import labels, reasons
from penstock.errors import StorageUnavailable
from penstock.results.storage import open_storage
from penstock_operator.cluster import PODS, Unavailable
from penstock_operator.controller.pod_ttl import pod_deadline
from penstock_operator.core.views import PodView
from penstock_operator.launch.pods import DEFAULT_POD_TTL, TTL
from penstock_operator.reconcile import podlogs
from run_stage import NAMESPACE

SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)


def finished(at: str | None = "2026-01-01T06:10:00Z", ttl: str | None = "60", phase: str = "Succeeded") -> Json:
    container = {"terminated": {"exitCode": 0, "finishedAt": at}} if at else {"terminated": {"exitCode": 0}}
    pod = run_pod(phase, container=container, created="2026-01-01T06:00:00Z")
    if ttl is not None:
        pod["metadata"]["annotations"] = {TTL: ttl}
    return pod


@pytest.mark.parametrize(
    ("pod", "deadline"),
    [
        pytest.param(finished(), SIX + timedelta(seconds=660), id="from the end of its container"),
        pytest.param(finished(phase="Failed"), SIX + timedelta(seconds=660), id="failed or not"),
        pytest.param(finished(ttl="0"), SIX + timedelta(seconds=600), id="at once"),
        pytest.param(finished(at=None), SIX + timedelta(seconds=60), id="from its creation, where no end is told"),
        pytest.param(finished(ttl=None), SIX + timedelta(seconds=600 + DEFAULT_POD_TTL), id="by default"),
        pytest.param(finished(ttl="never"), SIX + timedelta(seconds=600 + DEFAULT_POD_TTL), id="no number"),
        pytest.param(finished(phase="Running"), None, id="while it runs, there is none"),
        pytest.param(run_pod("Pending"), None, id="nor before it starts"),
    ],
)
def test_when_a_pod_may_be_deleted(pod: Json, deadline: datetime | None) -> None:
    assert pod_deadline(PodView(pod)) == deadline


def test_the_last_of_its_containers_counts() -> None:
    pod = finished()
    later = {"name": "proxy", "state": {"terminated": {"exitCode": 0, "finishedAt": "2026-01-01T06:11:00Z"}}}
    pod["status"]["containerStatuses"].append(later)
    pod["status"]["containerStatuses"].append({"name": "third", "state": {}})
    assert pod_deadline(PodView(pod)) == SIX + timedelta(seconds=720)


@given(st.text(max_size=40) | st.integers().map(str))
def test_any_annotation_gives_a_deadline(text: str) -> None:
    found = pod_deadline(PodView(finished(ttl=text)))
    assert found is not None
    assert found >= SIX + timedelta(seconds=600)


def test_the_pod_of_a_settled_run_is_deleted_after_its_time() -> None:
    async def scenario(play: Play) -> None:
        await ended(play)
        await play.time_passes(59)
        assert play.stage.names("Pod") == ["run-1"]
        await play.time_passes(1)
        assert play.stage.names("Pod") == []
        assert len(play.controller.agenda.due) == 0

    played(scenario, pool={"podTTLSecondsAfterFinished": 60})


def test_a_pod_stays_until_its_run_is_settled() -> None:
    """Its end is not told yet: the pod is the evidence."""

    async def scenario(play: Play) -> None:
        def no_status(write: Write) -> None:
            if write.subresource == "status":
                raise Unavailable(503, "", "away")

        await play.claimed()
        play.stage.end_pod(code=1)
        undisturbed, play.cluster.before = play.cluster.before, no_status
        await play.quiet()
        await play.time_passes(3600)
        assert play.stage.names("Pod") == ["run-1"]
        play.cluster.before = undisturbed
        await play.time_passes(120)
        await play.state("Crashed", reasons.EXITED)
        await play.settled()
        await play.quiet()
        await play.time_passes(30)
        assert play.stage.names("Pod") == []

    played(scenario, pool={"podTTLSecondsAfterFinished": 60})


def test_the_pods_of_jobs_are_left_to_their_jobs() -> None:
    async def scenario(play: Play) -> None:
        play.stage.submit()
        await play.until(lambda: play.stage.get("Job", "run-1"), "the launch")
        pod = play.stage.make_pod_of_job()
        play.stage.start_pod(pod)
        play.stage.claim(pod)
        play.stage.enter("Completed", "Completed")
        play.stage.end_pod(pod)
        play.stage.end_job()
        await play.settled()
        await play.quiet()
        await play.time_passes(999_999)
        assert play.stage.names("Pod") == [pod]

    played(scenario, pool_type="Job")


def test_a_pod_is_not_deleted_before_its_log_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        def away(_: object) -> Any:
            raise StorageUnavailable("connection refused")

        monkeypatch.setattr(podlogs, "open_storage", away)
        scene.says(b"2026-01-01T06:00:00Z hello\n")
        await ended(play)
        await play.until(lambda: play.controller.logs._failures, "that the archive was asked")
        await play.time_passes(3600)
        assert play.stage.names("Pod") == ["run-1"]
        await play.until(lambda: play.controller.settled.held(NAMESPACE), "that its run is held, too")
        monkeypatch.setattr(podlogs, "open_storage", open_storage)
        play.controller.log_keeping.due.fire(play.clock())
        await play.until(lambda: play.stage.names("Pod") == [], "its deletion, at once")
        assert scene.archived() == ["hello"]

    kept(scenario)


def test_a_pod_is_not_kept_for_its_log_for_more_than_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        def away(_: object) -> Any:
            raise StorageUnavailable("connection refused")

        monkeypatch.setattr(podlogs, "open_storage", away)
        scene.says(b"2026-01-01T06:00:00Z hello\n")
        await ended(play)
        await play.time_passes(86_390)
        assert play.stage.names("Pod") == ["run-1"]
        await play.time_passes(60)
        assert play.stage.names("Pod") == []

    kept(scenario)


def test_a_job_whose_log_is_kept_is_deleted_by_the_operator() -> None:
    async def scenario(scene: Kept, play: Play) -> None:
        play.stage.submit()
        await play.until(lambda: play.stage.get("Job", "run-1"), "the launch")
        pod = play.stage.make_pod_of_job()
        scene.says(b"2026-01-01T06:00:00Z hello\n", pod=pod)
        play.stage.start_pod(pod)
        play.stage.claim(pod)
        play.stage.enter("Completed", "Completed")
        play.stage.end_pod(pod)
        play.stage.end_job()
        await play.settled()
        await play.until(scene.archived, "its log")
        await play.quiet()
        assert play.stage.names("Job") == ["run-1"]
        await play.time_passes(60)
        assert (play.stage.names("Job"), play.stage.names("Pod")) == ([], [])

    kept(scenario, "Job")


def test_a_pod_that_is_no_runs_is_left_alone_though_it_carries_our_label() -> None:
    async def scenario(play: Play) -> None:
        pod = finished()
        pod["metadata"] = {"name": "stranger", "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}}
        await play.cluster.create(PODS, NAMESPACE, pod)
        play.cluster.set_status(PODS, NAMESPACE, "stranger", phase="Succeeded")
        await play.quiet()
        await play.time_passes(999_999)
        assert play.stage.names("Pod") == ["stranger"]

    played(scenario)


def test_a_namesake_of_a_deleted_pod_is_not_deleted_in_its_place() -> None:
    async def scenario(play: Play) -> None:
        await ended(play)
        first = play.stage.get("Pod", "run-1")
        assert first is not None
        play.stage.remove("Pod", "run-1")
        play.stage.create({**first, "status": {}})
        await play.quiet()
        await play.time_passes(999_999)
        assert play.stage.names("Pod") == ["run-1"]

    played(scenario, pool={"podTTLSecondsAfterFinished": 60})
