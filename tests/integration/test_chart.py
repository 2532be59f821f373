"""The Helm chart: what it renders is accepted by a real API server, and asks for no more rights than its mode needs."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_client import ApiClient
from penstock_cluster import binaries

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]


def rendered(*values: str) -> list[Json]:
    """All objects of the chart with these values set."""
    words = [str(binaries.ensure() / "helm"), "template", "release", "charts/penstock", "--namespace", "system"]
    words += [word for value in values for word in ("--set", value)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [body for body in yaml.safe_load_all(done.stdout) if body]


def of_kind(objects: list[Json], kind: str) -> list[Json]:
    return [body for body in objects if body["kind"] == kind]


def rules(body: Json) -> set[tuple[str, str, str]]:
    """Every right that a role gives, one by one."""
    return {
        (group, resource, verb)
        for rule in body["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("operator.watchNamespaces={team-a,team-b}", "runs.namespaces={team-a,team-b}"),
        ("policies.enabled=false", "aggregatedRoles.enabled=false", "metrics.service=false"),
    ],
    ids=["as it comes", "in two namespaces", "without the cluster-wide parts"],
)
def test_the_api_server_accepts_every_object(admin: ApiClient, crds: None, values: tuple[str, ...]) -> None:
    kubectl = str(binaries.ensure(binaries.KUBERNETES_ONLY) / "kubectl")
    objects = rendered(*values)
    for namespace in {body["metadata"].get("namespace") for body in objects} - {None}:
        admin.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    done = subprocess.run(
        [kubectl, "--kubeconfig", str(admin.kubeconfig), "apply", "--server-side", "--dry-run=server", "-f", "-"],
        input=yaml.safe_dump_all(objects),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_an_operator_of_some_namespaces_has_no_cluster_role() -> None:
    objects = rendered("operator.watchNamespaces={team-a,team-b}", "aggregatedRoles.enabled=false")
    assert of_kind(objects, "ClusterRole") == []
    assert of_kind(objects, "ClusterRoleBinding") == []
    operators = [role for role in of_kind(objects, "Role") if role["metadata"]["name"] == "release-operator"]
    assert [role["metadata"]["namespace"] for role in operators] == ["team-a", "team-b"]


@pytest.mark.parametrize("values", [(), ("operator.watchNamespaces={team-a}",)], ids=["everywhere", "in one namespace"])
def test_the_operator_may_touch_its_own_lease_and_those_of_workers(values: tuple[str, ...]) -> None:
    leases = [
        (role["metadata"], rule.get("resourceNames"), rule["verbs"])
        for kind in ("Role", "ClusterRole")
        for role in of_kind(rendered(*values), kind)
        for rule in role["rules"]
        if "leases" in rule["resources"] and "operator" in role["metadata"]["name"]
    ]
    own = [(names, verbs) for meta, names, verbs in leases if meta["name"] == "release-operator-lease"]
    assert own == [(["release-operator"], ["get", "patch"]), (None, ["create"])]
    others = [(names, verbs) for meta, names, verbs in leases if meta["name"] == "release-operator"]
    assert others == [(None, ["get", "list", "watch", "patch", "delete"])], "a policy keeps these to workers"
    (deployment,) = of_kind(rendered(*values), "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["PENSTOCK_OPERATOR_LEASE"] == "system/release-operator"


def test_there_are_two_operators_of_which_one_may_be_disrupted() -> None:
    objects = rendered()
    (deployment,), (budget,) = of_kind(objects, "Deployment"), of_kind(objects, "PodDisruptionBudget")
    assert deployment["spec"]["replicas"] == 2
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"] == deployment["spec"]["selector"]
    (term,) = deployment["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    assert term["podAffinityTerm"]["labelSelector"] == deployment["spec"]["selector"]
    alone = rendered("operator.replicas=1", "operator.affinity.nodeAffinity.x=y")
    assert of_kind(alone, "PodDisruptionBudget") == []
    assert of_kind(alone, "Deployment")[0]["spec"]["template"]["spec"]["affinity"] == {"nodeAffinity": {"x": "y"}}


def test_no_role_has_wildcards_and_nobody_reads_secrets() -> None:
    """`view` may read all of Penstock's kinds; every other right is named."""
    for role in (*of_kind(rendered(), "ClusterRole"), *of_kind(rendered(), "Role")):
        for group, resource, verb in rules(role):
            assert resource != "secrets", role["metadata"]["name"]
            assert "*" not in (group, verb), role["metadata"]["name"]
            assert resource != "*" or (group == "penstock.dev" and verb in ("get", "list", "watch"))


def test_runs_may_neither_make_pods_nor_change_what_is_wanted_of_them() -> None:
    (role,) = [role for role in of_kind(rendered(), "Role") if role["metadata"]["name"] == "penstock-run"]
    given = rules(role)
    assert ("penstock.dev", "flowruns/status", "patch") in given
    assert not {right for right in given if right[1] in ("pods", "jobs", "configmaps", "secrets")}
    assert not {right for right in given if right[1] == "flowruns" and right[2] in ("update", "patch", "delete")}


def test_an_agent_may_what_its_runs_may_and_read_their_source_and_its_pool() -> None:
    roles = {role["metadata"]["name"]: rules(role) for role in of_kind(rendered(), "Role")}
    more = {("", "configmaps", "get"), ("penstock.dev", "workpools", "get")}
    assert roles["penstock-worker"] - roles["penstock-run"] == more
    assert roles["penstock-run"] < roles["penstock-worker"]


@pytest.mark.parametrize("where", ["operator.watchNamespaces=null", "operator.watchNamespaces={team-a}"])
def test_logs_of_pods_are_read_only_where_they_are_to_be_archived(where: str) -> None:
    right = ("", "pods/log", "get")

    def given(*values: str) -> tuple[bool, str | None]:
        objects = rendered(where, *values)
        roles = [body for kind in ("Role", "ClusterRole") for body in of_kind(objects, kind)]
        (deployment,) = of_kind(objects, "Deployment")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {entry["name"]: entry.get("value") for entry in container["env"]}
        operators = [body for body in roles if body["metadata"]["name"] == "release-operator"]
        return any(right in rules(body) for body in operators), environment.get("PENSTOCK_OPERATOR_LOG_ARCHIVES")

    assert given("archive.url=s3://a/b") == (False, None)
    assert given("archive.url=s3://a/b", "archive.logs=true") == (True, "s3://a/b")
    assert given("archive.logs=true", "archive.logPlaces={s3://c,s3://d}") == (True, "s3://c,s3://d")
    both = given("archive.url=s3://a/b", "archive.logs=true", "archive.logPlaces={s3://c}")
    assert both == (True, "s3://a/b,s3://c")


def test_the_operators_pod_is_restricted_and_knows_its_settings() -> None:
    (deployment,) = of_kind(rendered("image.repository=registry.example/p", "image.tag=1"), "Deployment")
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["image"] == "registry.example/p:1"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert environment["PENSTOCK_OPERATOR_IMAGE"] == "registry.example/p:1"
    assert environment["PENSTOCK_OPERATOR_NAMESPACES"] == ""
    assert {"limits", "requests"} <= set(container["resources"])
