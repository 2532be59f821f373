"""Deploying beside others, on a real API server: what they have set stays theirs, and all is refused or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api_client import ApiClient
from command_line import CommandLine
from operator_process import OperatorProcess
from penstock import readiness
from penstock_cluster import control_plane as planes

Json = dict[str, Any]
ETL = "from penstock import flow\n\n\n@flow\ndef etl(parts: int = 2):\n    pass\n"
PROJECT = """
pools:
  - {name: gpu, type: Pod, concurrencyLimit: 4}
deployments:
  - entrypoint: etl.py:etl
    name: nightly
    workPool: gpu
    parameters: {parts: 3}
    schedules:
      - {slug: night, cron: "0 2 * * *", timezone: Europe/Oslo}
  - {entrypoint: "etl.py:etl", name: weekly, tags: [slow]}
"""


@pytest.fixture(autouse=True)
def project(penstock: CommandLine) -> None:
    Path("etl.py").write_text(ETL)
    Path("penstock.yaml").write_text(PROJECT)


def spec(admin: ApiClient, namespace: str, name: str, kind: str = "FlowDeployment") -> Json:
    found: Json = admin.get(kind, namespace, name)["spec"]
    return found


class TestProject:
    """penstock.yaml as it is applied."""

    def test_all_of_it(self, penstock: CommandLine, admin: ApiClient, namespace: str) -> None:
        said = penstock.ok("deploy", "--all").splitlines()
        assert [line.split() for line in said[1:]] == [
            ["WorkPool", "gpu", "created"],
            ["Flow", "etl", "created"],
            ["FlowDeployment", "nightly", "created"],
            ["FlowDeployment", "weekly", "created"],
        ]
        found = spec(admin, namespace, "nightly")
        assert found["parameters"] == {"parts": 3}
        assert found["schedules"] == [{"slug": "night", "cron": {"expression": "0 2 * * *"}, "timezone": "Europe/Oslo"}]

    def test_one_of_it_from_another_folder(self, penstock: CommandLine, admin: ApiClient, namespace: str) -> None:
        Path("below").mkdir()
        Path("penstock.yaml").rename("below/shop.yaml")
        Path("etl.py").rename("below/etl.py")
        penstock.ok("deploy", "-f", "below/shop.yaml", "--name", "weekly", "--image", "registry/etl:7")
        assert [each["metadata"]["name"] for each in admin.list("FlowDeployment", namespace)["items"]] == ["weekly"]
        assert spec(admin, namespace, "weekly")["pod"] == {"image": "registry/etl:7"}

    def test_a_refused_object_leaves_all_as_it_was(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        Path("penstock.yaml").write_text(PROJECT.replace("parameters: {parts: 3}", "catchUp: All"))
        said = penstock.fails("deploy", "--all")
        assert "FlowDeployment nightly: " in said
        assert "catchUp: All needs startingDeadlineSeconds" in said
        assert said.endswith("Nothing was changed.\n")
        assert admin.list("Flow", namespace)["items"] == []


class TestDiff:
    """What would change."""

    def test_of_what_is_not_there_and_of_what_is(self, penstock: CommandLine, admin: ApiClient, namespace: str) -> None:
        said = penstock("deploy", "--all", "--diff")
        assert said.code == 3
        assert "--- FlowDeployment/nightly (not there)\n" in said.out
        assert admin.list("Flow", namespace)["items"] == []
        penstock.ok("deploy", "--all")
        unchanged = penstock("deploy", "--all", "--diff")
        assert (unchanged.code, unchanged.out) == (0, "")
        Path("penstock.yaml").write_text(PROJECT.replace("parts: 3", "parts: 4"))
        changed = penstock("deploy", "--all", "--diff")
        assert changed.code == 3
        lines = [line for line in changed.out.splitlines() if line[:1] in "+-"]
        assert lines == [
            "--- FlowDeployment/nightly in the cluster",
            "+++ FlowDeployment/nightly as deployed",
            "-  parts: 3",
            "+  parts: 4",
        ]
        assert spec(admin, namespace, "nightly")["parameters"] == {"parts": 3}


class TestOthers:
    """A deploy takes back what it said before, and nothing that others say."""

    def test_a_suspended_deployment_and_schedule_stay_so(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        penstock.ok("deploy", "--all")
        penstock.ok("deployments", "suspend", "nightly")
        found = spec(admin, namespace, "nightly")["schedules"]
        admin.merge("FlowDeployment", namespace, "nightly", {"spec": {"schedules": [{**found[0], "suspend": True}]}})
        Path("penstock.yaml").write_text(PROJECT.replace("0 2 * * *", "0 3 * * *"))
        penstock.ok("deploy", "--all")
        found = spec(admin, namespace, "nightly")
        assert found["suspend"] is True
        assert found["schedules"][0]["suspend"] is True
        assert found["schedules"][0]["cron"] == {"expression": "0 3 * * *"}

    def test_even_where_an_earlier_deploy_suspended_it_too(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        penstock.ok("deploy", "--name", "weekly", "--suspend")
        penstock.ok("deployments", "suspend", "weekly")
        penstock.ok("deploy", "--name", "weekly")
        assert spec(admin, namespace, "weekly")["suspend"] is True

    def test_what_somebody_else_has_set_is_told_by_field(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        penstock.ok("deploy", "--all")
        penstock.ok("deployments", "suspend", "nightly")
        admin.merge("FlowDeployment", namespace, "nightly", {"spec": {"workPool": "mine"}})
        said = penstock.fails("deploy", "--name", "nightly", "--no-suspend")
        assert "FlowDeployment nightly: spec." in said
        assert "spec.suspend (by penstock-suspend)" in said
        assert "spec.workPool (by " in said
        assert "take it over with --force. Nothing was changed." in said
        assert spec(admin, namespace, "nightly")["suspend"] is True
        penstock.ok("deploy", "--name", "nightly", "--no-suspend", "--force")
        found = spec(admin, namespace, "nightly")
        assert (found["suspend"], found["workPool"]) == (False, "gpu")

    def test_a_deployment_of_another_flow_is_not_taken(self, penstock: CommandLine) -> None:
        penstock.ok("deploy", "--name", "weekly")
        Path("other.py").write_text(ETL.replace("etl", "other"))
        said = penstock.fails("deploy", "other.py", "--deployment-name", "weekly", "--force")
        assert "deployment weekly runs flow etl, not other: choose another name, or delete it first" in said


def test_a_pipeline_sees_what_must_be_mended(
    penstock: CommandLine,
    control_plane: planes.ControlPlane,
    admin: ApiClient,
    namespace: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the exit code, with the real operator's word; also where only what is beside the deployment was changed."""
    monkeypatch.setattr(readiness, "READY_SECONDS", 60.0)
    with OperatorProcess(control_plane, tmp_path, "operator", namespace, f"{namespace}/operator") as operator:
        operator.until_it_leads()
        may_come = penstock("deploy", "etl.py", "--pool", "closed", "--image", "registry/etl:1")
        assert (may_come.code, "etl is not ready: WorkPoolNotFound: " in may_come.err) == (0, True), may_come
        pool = {"type": "Pod", "overrides": {"allow": ["env"]}}
        meta = {"name": "closed", "namespace": namespace}
        admin.create({"apiVersion": "penstock.dev/v1alpha1", "kind": "WorkPool", "metadata": meta, "spec": pool})
        monkeypatch.setattr(readiness, "READY_SECONDS", 5.0)
        refused = penstock("deploy", "etl.py", "--pool", "closed", "--image", "registry/etl:2")
        assert (refused.code, "etl is not ready: InvalidOverrides: " in refused.err) == (1, True), refused
        monkeypatch.setattr(readiness, "READY_SECONDS", 60.0)
        admin.merge("WorkPool", namespace, "closed", {"spec": {"overrides": {"allow": ["image"]}}})
        again = penstock("deploy", "etl.py", "--pool", "closed", "--image", "registry/etl:2")
        assert "unchanged" in again.out
        assert (again.code, "etl is ready" in again.err) == (0, True), again


def test_the_manifests_of_a_project_are_what_kubectl_takes(penstock: CommandLine) -> None:
    said = penstock.ok("build", "--all", "-o", "json")
    penstock.ok("deploy", "--all")
    assert "unchanged" in penstock.ok("deploy", "--all", "--dry-run")
    assert '"kind": "WorkPool"' in said
