"""Where logs may go: what a pool may name, and what of a pod makes the address."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import builders
from penstock.api import labels
from penstock.results.urls import parse
from penstock_operator.core import podlogs
from penstock_operator.core.podlogs import GIVE_UP, NotAllowed
from penstock_operator.core.views import PodView

S3 = parse("s3://team-archive/penstock?region=eu-central-1&endpoint=https://s3.example")
FILE = parse("file:///archive")
UID = "0a1b2c3d-0000-4000-8000-000000000001"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        pytest.param(str(S3), str(S3), id="the place itself"),
        pytest.param("s3://team-archive/penstock", str(S3), id="its options are the administrator's"),
        pytest.param("s3://team-archive/penstock/", str(S3), id="a slash at the end"),
        pytest.param("s3://team-archive/penstock/a/b-1", str(S3.child("a/b-1")), id="below it"),
        pytest.param(
            "s3://team-archive/penstock/a?endpoint=https://s3.example&region=eu-central-1",
            str(S3.child("a")),
            id="the same options in another order",
        ),
        pytest.param("file:///archive/x", "file:///archive/x", id="a folder"),
    ],
)
def test_a_pool_may_name_an_allowed_place_or_one_below(url: str, place: str) -> None:
    assert str(podlogs.place(url, (FILE, S3))) == place


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("s3://other/penstock", id="another bucket"),
        pytest.param("s3://team-archive", id="above it"),
        pytest.param("s3://team-archive/penstock2", id="beside it, with the same beginning"),
        pytest.param("s3://team-archive/penstock/../other", id="beside it, by way of it"),
        pytest.param("s3://team-archive/penstock/./x", id="a dot"),
        pytest.param("s3://team-archive/penstock//x", id="an empty step"),
        pytest.param("s3://team-archive/penstock/%2e%2e/x", id="encoded dots"),
        pytest.param("s3://team-archive/penstock/a?endpoint=https://evil.example", id="another endpoint"),
        pytest.param("s3://team-archive/penstock/a?region=eu-central-1", id="an option less"),
        pytest.param("gs://team-archive/penstock", id="another provider"),
        pytest.param("file:///archive/../etc", id="out of the folder"),
        pytest.param("file:///archive/%2e%2e/etc", id="out of the folder, encoded"),
        pytest.param("/archive", id="no URL"),
        pytest.param("http://archive/", id="no place of ours"),
        pytest.param("s3://key:hunter2@team-archive/penstock", id="credentials"),
    ],
)
def test_and_no_other(url: str) -> None:
    with pytest.raises(NotAllowed) as refused:
        podlogs.place(url, (FILE, S3))
    assert str(refused.value).startswith("spec.logs.archive.url")
    assert "hunter2" not in str(refused.value)


def test_the_remedy_is_said() -> None:
    with pytest.raises(NotAllowed, match=r"use one of them, or a path below: file:///archive$"):
        podlogs.place("file:///x", (FILE,))
    with pytest.raises(NotAllowed, match=r"none is; see archive\.logs of the chart"):
        podlogs.place("file:///x", ())


@given(st.text(alphabet="/.%\\ab", max_size=20))
def test_nothing_leads_out_of_the_place(path: str) -> None:
    try:
        found = podlogs.place(f"file:///archive/{path}", (FILE,))
    except NotAllowed:
        return
    assert (found.path + "/").startswith("/archive/")
    assert not {"..", ".", ""} & set(found.path.split("/")[1:])


def pod(name: str = "etl-1-2", uid: str = UID, phase: str = "Succeeded", **more: Any) -> PodView:
    spec = {"env": [{"name": labels.ENV_RUN_UID, "value": uid}]}
    body = builders.run_pod(phase, attempt=2, spec=spec, **more)
    body["metadata"]["name"] = name
    return PodView(body)


def test_a_log_has_its_address_from_the_pods_creation() -> None:
    found = podlogs.address(pod(created="2026-01-01T23:59:59-02:00"))
    assert found is not None
    assert found.path == f"logs/date=2026-01-02/team/etl-1-{UID}-2.jsonl.gz"


def test_a_jobs_pods_are_told_apart() -> None:
    found = podlogs.address(pod("etl-1-2-x7k2p"))
    assert found is not None
    assert (found.attempt, found.pod) == (2, "x7k2p")


@pytest.mark.parametrize("uid", ["", "../x", "uid-1"])
def test_a_pod_that_is_of_no_run_has_none(uid: str) -> None:
    assert podlogs.address(pod(uid=uid)) is None


@pytest.mark.parametrize(
    ("container", "ran"),
    [(None, False), ({"waiting": {}}, False), ({"running": {}}, True), ({"terminated": {}}, True)],
)
def test_only_what_has_run_has_a_log(container: Any, ran: bool) -> None:
    assert podlogs.has_run(pod(container=container)) is ran


def test_a_pod_is_not_kept_for_ever() -> None:
    end = datetime(2026, 1, 1, 6, 10, tzinfo=UTC)
    ended = pod(container={"terminated": {"finishedAt": "2026-01-01T06:10:00Z"}})
    assert podlogs.waits(ended, end + GIVE_UP - timedelta(seconds=1))
    assert not podlogs.waits(ended, end + GIVE_UP)
    assert podlogs.waits(pod(phase="Running"), end + 2 * GIVE_UP), "one that runs has not ended"
