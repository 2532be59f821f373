"""Retention and the archive on a real API server: what goes, what is kept of it, and what a restart knows.

No garbage collector runs here: what Kubernetes deletes after a run is told by the deletion's own words.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import builders
from api_client import ApiClient, Refused
from archive_contract import ArchiveContract
from command_line import CommandLine
from penstock.api import names, taskrecords
from penstock.archive.reading import Archive as Reading
from penstock.results.storage import Storage, open_storage
from penstock.results.urls import parse
from penstock_cluster.control_plane import ControlPlane, tls
from penstock_operator.cluster import ApiCluster, Connection
from penstock_operator.controller.controller import Controller
from penstock_operator.core.retention import Ceiling
from penstock_operator.core.views import format_time
from penstock_operator.launch.pods import Defaults
from penstock_operator.reconcile import copies, retention
from penstock_operator.reconcile.archive import Archive
from penstock_operator.reconcile.sources import Key
from storage_servers import AzureServer, S3Server

Json = dict[str, Any]
PATIENCE = 60.0
OPEN = Ceiling(None, None)

pytestmark = pytest.mark.usefixtures("storage_credentials")


class Office:
    """A namespace full of runs that have ended, and operators that come and go."""

    def __init__(self, admin: ApiClient, plane: ControlPlane, namespace: str) -> None:
        self.admin, self.plane, self.namespace = admin, plane, namespace

    def ended(self, name: str, ago: float = 600, state: str = "Completed", **spec: Any) -> Json:
        """A run that ended so many seconds ago and is settled; made by the administrator, status and all."""
        body = builders.flow_run(state, spec=spec)
        body["metadata"] = {"name": name, "namespace": self.namespace}
        status = body.pop("status")
        end = format_time(datetime.now(UTC) - timedelta(seconds=ago))
        self.admin.create(body)
        status |= {"endTime": end, "settled": True, "observedSeq": status["state"]["seq"]}
        return self.admin.merge("FlowRun", self.namespace, name, {"status": status}, "status")

    def deployment(self, **spec: Any) -> None:
        body = builders.good("FlowDeployment", "etl", self.namespace)
        body["spec"] = {"flowRef": {"name": "etl"}, **spec}
        self.admin.create(body)

    def left(self) -> list[str]:
        items = self.admin.list("FlowRun", self.namespace)["items"]
        return sorted(body["metadata"]["name"] for body in items)

    @asynccontextmanager
    async def operator(self, ceiling: Ceiling = OPEN, archive: str = "") -> AsyncIterator[Controller]:
        """An operator process; leaving it kills it."""
        async with ApiCluster(Connection(self.plane.url, tls(self.plane.folder / "pki"))) as cluster:
            controller = Controller(
                cluster,
                Defaults("registry.example/penstock:1"),
                namespaces=(self.namespace,),
                ceiling=ceiling,
                archive=Archive.at(cluster, archive) if archive else None,
            )
            running = asyncio.create_task(controller.run())
            try:
                yield controller
                assert not running.done(), running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        await asyncio.sleep(0.2)  # TLS connections close a little after their session

    async def until(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not await asyncio.to_thread(condition):
            assert time.monotonic() < deadline, f"{what} did not happen; left: {self.left()}"
            await asyncio.sleep(0.05)

    async def leaves(self, *names: str) -> None:
        await self.until(lambda: self.left() == sorted(names), f"that only {names} are left")

    def deletions(self) -> list[Json]:
        """The operator's deletions of runs, from the API server's audit log."""
        found = []
        for entry in self.plane.audited():
            target = entry.get("objectRef") or {}
            where = (target.get("namespace"), target.get("resource"), entry["verb"])
            if where == (self.namespace, "flowruns", "delete") and "aiohttp" in entry.get("userAgent", ""):
                found.append(entry)
        return found


@pytest.fixture
def office(admin: ApiClient, control_plane: ControlPlane, namespace: str) -> Office:
    return Office(admin, control_plane, namespace)


def played(scenario: Callable[[], Awaitable[None]]) -> None:
    async def play() -> None:
        await scenario()

    asyncio.run(play())


def test_runs_go_when_their_time_has_come_also_that_which_came_while_no_operator_was_there(office: Office) -> None:
    office.ended("long-ago", ago=600, ttlSecondsAfterFinished=60)
    office.ended("soon", ago=0, ttlSecondsAfterFinished=8)
    office.ended("later", ago=0, ttlSecondsAfterFinished=3600)
    office.ended("never", ago=10**6)

    async def scenario() -> None:
        async with office.operator() as controller:
            await office.leaves("later", "never", "soon")
            await office.leaves("later", "never")
            assert len(controller.settled) == 2

    played(scenario)
    assert [entry["objectRef"]["name"] for entry in office.deletions()] == ["long-ago", "soon"]


def test_a_deployment_keeps_its_newest_and_an_edit_of_it_counts_at_once(office: Office) -> None:
    office.deployment(historyLimits={"successful": 2, "failed": 1})
    for n in range(4):
        office.ended(f"good-{n}", ago=100 - n)
        office.ended(f"bad-{n}", ago=100 - n, state="Crashed")

    async def scenario() -> None:
        async with office.operator() as controller:
            await office.leaves("bad-3", "good-2", "good-3")
            office.admin.merge(
                "FlowDeployment", office.namespace, "etl", {"spec": {"historyLimits": {"successful": 1}}}
            )
            controller.touch("FlowDeployment", Key(office.namespace, "etl"))  # as kopf's handler does
            await office.leaves("bad-3", "good-3")

    played(scenario)


def test_a_namespace_keeps_no_more_than_its_ceiling_and_a_restart_counts_what_is_there(office: Office) -> None:
    for n in range(7):
        office.ended(f"r{n}", ago=100 - n)

    async def scenario() -> None:
        async with office.operator(Ceiling(5, None)) as controller:
            await office.leaves("r2", "r3", "r4", "r5", "r6")
            office.ended("r7", ago=1)
            await office.leaves("r3", "r4", "r5", "r6", "r7")
            office.admin.delete("FlowRun", office.namespace, "r4")  # by somebody else: it counts no more
            await office.until(lambda: len(controller.settled) == 4, "that the deletion is heard of")
            office.ended("r8", ago=0)
            await office.until(lambda: len(controller.settled) == 5, "that the run is heard of")
            await asyncio.sleep(5)
            assert office.left() == ["r3", "r5", "r6", "r7", "r8"]
        office.ended("r9", ago=0)
        async with office.operator(Ceiling(5, None)):
            await office.leaves("r5", "r6", "r7", "r8", "r9")

    played(scenario)


def test_a_child_stays_while_its_parent_is_under_way(office: Office) -> None:
    """A parent that is started again looks for the children it has made, and would run them again."""
    parent = builders.flow_run(spec={"scheduledTime": "2999-01-01T00:00:00Z"})
    parent["metadata"] = {"name": "parent", "namespace": office.namespace}
    uid = office.admin.create(parent)["metadata"]["uid"]
    family = {"name": "parent", "uid": uid, "awaited": True}
    office.ended("child", parent=family, ttlSecondsAfterFinished=0)
    office.ended("stranger", ttlSecondsAfterFinished=0)

    async def scenario() -> None:
        async with office.operator(Ceiling(0, None)):
            await office.until(lambda: "stranger" not in office.left(), "the stranger's deletion")
            assert "child" in office.left()
            office.admin.merge("FlowRun", office.namespace, "parent", {"spec": {"cancel": True}})
            await office.leaves()

    played(scenario)
    assert [entry["objectRef"]["name"] for entry in office.deletions()] == ["stranger", "child", "parent"]


# The archive.


def page(office: Office, run: Json) -> None:
    class Row:
        id, task, key, name, state, state_name = "t-1", "load", "load-k", "load-0", "COMPLETED", "Completed"
        attempts, created, started, ended, upstream = 1, 1_767_250_800.0, 1_767_250_801.0, 1_767_250_802.0, ()
        cache_key = message = None

    meta = {"name": f"{run['metadata']['name']}-page", "namespace": office.namespace}
    body = {"apiVersion": builders.API_VERSION, "kind": "TaskRunPage", "metadata": meta}
    about = {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]}
    body |= {"run": about, "attempt": 1, "number": 0, "records": 1, "encoding": taskrecords.ENCODING}
    body |= {"data": taskrecords.encode([Row]), "summary": [{"task": "load", "states": {"Completed": 1}}]}
    office.admin.create(body)


def event(office: Office, run: Json) -> None:
    regarding = {"apiVersion": builders.API_VERSION, "kind": "FlowRun", "namespace": office.namespace}
    regarding |= {"name": run["metadata"]["name"], "uid": run["metadata"]["uid"]}
    meta = {"name": f"e{uuid.uuid4().hex[:8]}", "namespace": office.namespace}
    meta["labels"] = {"penstock.dev/run": run["metadata"]["name"]}  # type: ignore[assignment]
    body = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": meta, "regarding": regarding}
    body |= {"eventTime": format_time(datetime.now(UTC)), "type": "Normal", "reason": "FlowRunCompleted"}
    body |= {"action": "Completed", "reportingController": "test", "reportingInstance": "test"}
    office.admin.create(body)


@pytest.fixture(params=["file", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty archive."""
    if request.param == "file":
        return f"file://{tmp_path}/archive"
    found: str = request.getfixturevalue("s3").bucket()
    return found


def test_the_whole_record_of_a_run_is_archived_before_it_is_deleted(
    office: Office, url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = office.ended("done", ttlSecondsAfterFinished=0, parameters={"day": "2026-01-01"})
    page(office, run)
    event(office, run)
    office.ended("failed", state="Failed")

    async def scenario() -> None:
        async with office.operator(archive=url):
            await office.leaves("failed")
            await office.until(lambda: len(Reading.at(url).runs(office.namespace, lambda _: True, 9)) == 2, "archive")

    played(scenario)
    reading = Reading.at(url)
    address = reading.find(office.namespace, "done")
    assert address is not None
    lines = reading.lines(address)
    assert [line["kind"] for line in lines] == ["FlowRun", "TaskRunPage", "TaskRun", "Event"]
    assert lines[0]["object"]["spec"] == run["spec"]
    assert (lines[0]["object"]["kind"], lines[0]["object"]["status"]["settled"]) == ("FlowRun", True)
    assert lines[2]["object"]["name"] == "load-0"

    penstock = CommandLine(monkeypatch, capsys)
    monkeypatch.setenv("KUBECONFIG", str(office.admin.kubeconfig))
    where = ("-n", office.namespace, "--archived", "--archive", url)
    listed = json.loads(penstock("runs", "-s", "completed", "-o", "json", *where).out)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["done"]
    shown = penstock("show", "done", *where).out
    assert "load: 1 Completed" in shown
    assert 'day = "2026-01-01"' in shown


def test_an_archive_out_of_reach_keeps_the_runs_until_it_is_back(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAX_BACKOFF", 2.0)
    mine = S3Server(tmp_path)
    mine.start()
    url = mine.bucket()
    for n in range(3):
        office.ended(f"r{n}", ttlSecondsAfterFinished=0)

    def told() -> object:
        return [
            event
            for event in office.admin.list("Event", office.namespace)["items"]
            if event["reason"] == "FlowRunNotArchived"
        ]

    async def scenario() -> None:
        async with office.operator(Ceiling(0, None), archive=url):
            await office.until(told, "an Event")
            assert office.left() == ["r0", "r1", "r2"]
            mine.start()
            await office.leaves()

    mine.stop()
    try:
        played(scenario)
        assert len(Reading.at(url).runs(office.namespace, lambda _: True, 9)) == 3
    finally:
        mine.stop()


class TestArchiveInS3(ArchiveContract):
    """An archive in a bucket."""

    @pytest.fixture
    def storage(self, s3: S3Server) -> Storage:
        return open_storage(parse(s3.bucket(), "archive"))


class TestArchiveInAzure(ArchiveContract):
    """An archive in a container."""

    @pytest.fixture
    def storage(self) -> Iterator[Storage]:
        mine = AzureServer()
        mine.start()
        yield open_storage(parse(mine.bucket(), "archive"))
        mine.stop()


def test_the_operators_account_may_do_all_that_retention_asks_for(
    office: Office, admin: ApiClient, policies: None
) -> None:
    """By its own words: what it may not is Forbidden."""
    rights = {("penstock.dev", "flowruns", "delete"), ("penstock.dev", "taskrunpages", "list")}
    for group, resource, verb in rights | {("events.k8s.io", "events", "list")}:
        spec = {
            "user": "system:serviceaccount:penstock-system:penstock-operator",
            "resourceAttributes": {"namespace": office.namespace, "group": group, "resource": resource, "verb": verb},
        }
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        answer = admin.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", json=review)
        assert answer["status"]["allowed"], (resource, verb)


@pytest.mark.parametrize("kind", ["ConfigMap", "ControllerRevision"])
def test_the_operators_account_deletes_only_copies_of_its_own(office: Office, policies: None, kind: str) -> None:
    version = {"ConfigMap": "v1", "ControllerRevision": "apps/v1"}[kind]
    plural = f"{kind.lower()}s"
    root = f"/{'api' if version == 'v1' else 'apis'}/{version}/namespaces/{office.namespace}/{plural}"
    operator = {"Impersonate-User": "system:serviceaccount:penstock-system:penstock-operator"}
    operator["Impersonate-Group"] = "system:serviceaccounts"
    for name, labels in (("theirs", {}), ("own", {"app.kubernetes.io/managed-by": "penstock"})):
        meta = {"name": name, "namespace": office.namespace, "labels": labels}
        body = {"apiVersion": version, "kind": kind, "metadata": meta}
        body |= {"data": {}} if kind == "ConfigMap" else {"data": {}, "revision": 1}
        office.admin.request("POST", root, json=body)
    with pytest.raises(Refused, match="deletes only what it has made"):
        office.admin.request("DELETE", f"{root}/theirs", headers=operator)
    office.admin.request("DELETE", f"{root}/own", headers=operator)
    office.admin.request("DELETE", f"{root}/theirs")  # everybody else as ever


def test_copies_that_no_run_names_go_in_time(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "UNREFERENCED", timedelta(seconds=4))
    monkeypatch.setattr(copies, "AGAIN", timedelta(seconds=1))
    digest = names.content_digest("x")
    made = {"name": names.code_config_map(digest), "namespace": office.namespace}
    made |= {"labels": {"app.kubernetes.io/managed-by": "penstock"}}  # type: ignore[dict-item]
    made |= {"annotations": {"penstock.dev/code-digest": digest}}  # type: ignore[dict-item]
    office.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": made, "data": {"flow.py": "x"}})
    run = office.ended("run")
    status = run["status"]
    status["resolved"]["code"]["configMap"] = made["name"]
    office.admin.merge("FlowRun", office.namespace, "run", {"status": status}, "status")

    def kept() -> bool:
        items = office.admin.list("ConfigMap", office.namespace)["items"]
        return made["name"] in [item["metadata"]["name"] for item in items]

    async def scenario() -> None:
        async with office.operator():
            await asyncio.sleep(8)
            assert kept()
            office.admin.delete("FlowRun", office.namespace, "run")
            await office.until(lambda: not kept(), "the deletion of the code")

    played(scenario)


def test_what_is_under_a_name_of_an_earlier_run_is_not_deleted(office: Office) -> None:
    """Deletions carry the uid they mean."""
    office.ended("a", ttlSecondsAfterFinished=0)

    async def scenario() -> None:
        async with office.operator():
            await office.leaves()

    played(scenario)
    (entry,) = office.deletions()
    options = entry.get("requestObject")
    assert options is None or (options["propagationPolicy"], bool(options["preconditions"]["uid"])) == (
        "Background",
        True,
    )
    with pytest.raises(Refused):
        office.admin.get("FlowRun", office.namespace, "a")
