"""History and rollback, with the operator's reconcilers keeping what was deployed on a real API server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_client import ApiClient
from command_line import CommandLine
from penstock_cluster.control_plane import ControlPlane, tls
from penstock_operator.cluster import ApiCluster, Connection
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.controller import utc_now
from penstock_operator.reconcile.flowdeployments import FlowDeployments
from penstock_operator.reconcile.flows import Flows
from penstock_operator.reconcile.revisions import Revisions
from penstock_operator.reconcile.schedules import Schedules
from penstock_operator.reconcile.sources import Key

ETL = "from penstock import flow\n\n\n@flow\ndef etl(parts: int = 2):\n    pass\n"
Json = dict[str, Any]
Deploy = Callable[..., None]


@pytest.fixture
def deploy(penstock: CommandLine, control_plane: ControlPlane, admin: ApiClient, namespace: str) -> Callable[..., None]:
    """Deploy `etl.py`, and have the operator look at it."""
    Path("etl.py").write_text(ETL)

    def seen(kind: str) -> bool:
        body = admin.get(kind, namespace, "etl")
        return (body.get("status") or {}).get("observedGeneration") == body["metadata"]["generation"]

    async def look() -> None:
        connection = Connection(control_plane.url, tls(control_plane.folder / "pki"))
        async with ApiCluster(connection) as cluster:
            revisions = Revisions(cluster)  # as after a restart: it remembers nothing
            cache = ObjectCache()  # in which there is no deployment, so that it is read
            schedules = Schedules(cluster, cache, utc_now, lambda _: None, lambda _: None)
            for kind, reconciler in (
                ("Flow", Flows(cluster, utc_now, revisions)),
                ("FlowDeployment", FlowDeployments(cluster, cache, utc_now, revisions, schedules)),
            ):
                while not seen(kind):  # its reads may be older than the deploy; events bring it back to them
                    await reconciler.reconcile(Key(namespace, "etl"))

    def deploy(*words: str) -> None:
        if words != ("nothing",):
            penstock.ok("deploy", "etl.py", *words)
        asyncio.run(look())

    return deploy


def spec(admin: ApiClient, namespace: str, kind: str = "FlowDeployment") -> Json:
    found: Json = admin.get(kind, namespace, "etl")["spec"]
    return found


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


class TestOverrides:
    """Changes to the pod that no schema checks are checked by the API server, before a run meets them."""

    def affinity(self, operator: str) -> Json:
        term = {"matchExpressions": [{"key": "gpu", "operator": operator}]}
        required = {"nodeSelectorTerms": [term]}
        return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}

    def test_what_makes_no_pod_is_told_by_its_path(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        allowed = {"type": "Pod", "overrides": {"allow": ["affinity"]}}
        api = "penstock.dev/v1alpha1"
        meta = {"name": "default", "namespace": namespace}
        admin.create({"apiVersion": api, "kind": "WorkPool", "metadata": meta, "spec": allowed})
        penstock.ok("deploy", "etl.py")
        for operator, status in (("Near", "False"), ("Exists", "True")):
            pod = {"affinity": self.affinity(operator)}
            admin.merge("FlowDeployment", namespace, "etl", {"spec": {"pod": pod}})
            deploy("nothing")
            found = admin.get("FlowDeployment", namespace, "etl")["status"]["conditions"][0]
            assert found["status"] == status, found
            if status == "False":
                assert found["reason"] == "InvalidOverrides"
                assert "spec.pod makes no valid pod of WorkPool default: " in found["message"]
                assert "matchExpressions[0].operator" in found["message"]


class TestHistory:
    """What was deployed, oldest first."""

    def test_each_deploy_and_what_it_changed(self, deploy: Deploy, penstock: CommandLine) -> None:
        deploy("--version", "1")
        deploy("--version", "2", "-t", "a")
        deploy("--version", "2", "-t", "a")
        assert [row[:-1] for row in table(penstock.ok("deployments", "history", "etl"))] == [
            ["REVISION", "CHANGED", "VERSION"],
            ["1", "1"],
            ["2", "*", "tags,", "version", "2"],
        ]
        found = json.loads(penstock.ok("deployments", "history", "etl", "-o", "json"))["items"]
        assert [each["kind"] for each in found] == ["ControllerRevision"] * 2
        assert yaml.safe_load(penstock.ok("deployments", "history", "etl", "--revision", "2"))["tags"] == ["a"]
        assert "there is no revision 7; there are 1, 2" in penstock.fails(
            "deployments", "history", "etl", "--revision", "7"
        )

    def test_of_a_namesake_of_earlier_none_is_shown(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deploy("-t", "a")
        penstock.ok("deployments", "delete", "etl")
        deploy("-t", "b")
        assert len(table(penstock.ok("deployments", "history", "etl"))) == 2


class TestRollback:
    """Back to what was deployed before."""

    def test_to_the_one_before_and_to_any(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deploy("-t", "a", "-p", "parts=3")
        deploy("-t", "b", "--queue", "q")
        deploy("-t", "c")
        said = penstock.ok("rollback", "etl")
        assert said == "flowdeployment.penstock.dev/etl is rolled back to revision 2: queue, tags\n"
        found = spec(admin, namespace)
        assert (found["tags"], found["queue"]) == (["b"], "q")
        penstock.ok("rollback", "fd/etl", "--to-revision", "1")
        found = spec(admin, namespace)
        assert (found["tags"], found["parameters"], "queue" in found) == (["a"], {"parts": 3}, False)
        deploy("nothing")
        assert table(penstock.ok("deployments", "history", "etl"))[-1][1] == "*"

    def test_what_is_suspended_stays_so(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deploy("-t", "a")
        deploy("-t", "b")
        penstock.ok("deployments", "suspend", "etl")
        penstock.ok("rollback", "etl")
        found = spec(admin, namespace)
        assert (found["tags"], found["suspend"]) == (["a"], True)

    def test_a_suspended_schedule_that_was_not_there_yet_is_found_suspended_by_the_next_deploy(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        def project(*slugs: str) -> None:
            schedules = [{"slug": slug, "cron": "@daily"} for slug in slugs]
            deployments = [{"entrypoint": "etl.py:etl", "schedules": schedules}]
            Path("penstock.yaml").write_text(yaml.safe_dump({"deployments": deployments}))
            penstock.ok("deploy", "--all")
            deploy("nothing")

        project("a")
        project("a", "c")
        penstock.ok("schedules", "suspend", "etl", "c")
        penstock.ok("rollback", "etl", "--to-revision", "1")
        a, c = spec(admin, namespace)["schedules"]
        assert (a["slug"], c) == ("a", {"slug": "c", "suspend": True})
        project("a", "c")
        assert [each.get("suspend") for each in spec(admin, namespace)["schedules"]] == [None, True]
        penstock.ok("schedules", "resume", "etl", "c")
        assert [each.get("suspend") for each in spec(admin, namespace)["schedules"]] == [None, False]

    def test_the_next_deploy_is_not_refused(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deploy("-t", "a")
        deploy("-t", "b")
        penstock.ok("rollback", "etl")
        deploy("-t", "c")
        assert spec(admin, namespace)["tags"] == ["c"]

    def test_the_code_goes_back_with_its_flow(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deploy()
        Path("etl.py").write_text(ETL + "# broken\n")
        deploy()
        said = penstock.fails("rollback", "etl")
        assert "no other revision is kept; its code is of flow etl: penstock rollback flow/etl" in said
        assert penstock.ok("rollback", "flow/etl").endswith("is rolled back to revision 1: code\n")
        assert spec(admin, namespace, "Flow")["code"]["source"]["text"] == ETL
        assert len(table(penstock.ok("flows", "history", "etl"))) == 3

    def test_looking_first_changes_nothing(
        self, deploy: Deploy, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deploy("-t", "a")
        deploy("-t", "b")
        said = penstock("rollback", "etl", "--diff")
        assert said.code == 3
        assert '-  - "b"' in said.out
        assert '+  - "a"' in said.out
        assert penstock.ok("rollback", "etl", "--dry-run").endswith("tags (dry run)\n")
        assert spec(admin, namespace)["tags"] == ["b"]
