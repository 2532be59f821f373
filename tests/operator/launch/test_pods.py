"""The pod of an attempt: restricted by default, opened only by its pool, and Penstock's own parts fixed."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import changed, flow_run, resolved, run_state
from penstock.api import labels
from penstock_operator.launch import pods
from penstock_operator.launch.pods import (
    COMMAND,
    DEFAULT_POD_TTL,
    RESERVED_SPEC,
    TTL,
    Defaults,
    InvalidTemplate,
    Launch,
)

Json = dict[str, Any]

GOLDEN = Path(__file__).parent / "goldens" / "pod.yaml"
DEFAULTS = Defaults("registry.example/penstock:1", "IfNotPresent", "penstock-run")
MINE = "spec.containers.0."


def launch(
    template: Any = None, *overrides: Json, pool: Json | None = None, run: Json | None = None, **facts: Any
) -> Launch:
    """An attempt; `facts` are what the run was resolved to."""
    body = run or flow_run("Pending", resolved=resolved(**facts))
    spec = {"type": "Pod", **({} if template is None else {"template": template}), **(pool or {})}
    return Launch(body, spec, overrides, DEFAULTS)


def at(body: Json, path: str) -> Any:
    """The value at a dotted path."""
    value: Any = body
    for part in path.split("."):
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def flow_container(**fields: Any) -> Json:
    """A pool's template that says something of the flow's container."""
    return {"spec": {"containers": [{"name": labels.CONTAINER, **fields}]}}


def variables(body: Json) -> Json:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in at(body, MINE + "env")}


def named(items: list[Json], name: str) -> Json:
    (found,) = [item for item in items if item["name"] == name]
    return found


def test_a_whole_pod_as_it_is_checked_in() -> None:
    """Pool, deployment and run each change something; the rest is Penstock's own."""
    template = {
        "metadata": {"labels": {"team": "data", "tier": "pool"}, "annotations": {"example.com/owner": "data"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "imagePullSecrets": [{"name": "registry"}],
            "initContainers": [{"name": "fetch", "image": "registry.example/fetch:1"}],
            "containers": [
                {
                    "name": "flow",
                    "env": [{"name": "REGION", "value": "north"}, {"name": "LEVEL", "value": "low"}],
                    "volumeMounts": [{"name": "cache", "mountPath": "/cache"}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                },
                {"name": "proxy", "image": "registry.example/proxy:1"},
            ],
            "volumes": [{"name": "cache", "persistentVolumeClaim": {"claimName": "cache"}}],
        },
    }
    deployment = {
        "labels": {"tier": "deployment"},
        "env": [{"name": "REGION", "value": "south"}],
        "resources": {"limits": {"memory": "1Gi"}},
    }
    run = {"env": [{"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}}]}
    assert pods.pod(launch(template, deployment, run)) == yaml.safe_load(GOLDEN.read_text())


def test_a_pod_meets_the_restricted_standard_by_default() -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards, Restricted, control by control."""
    spec = pods.pod(launch())["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert "privileged" not in container["securityContext"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
    assert {kind for volume in spec["volumes"] for kind in volume} == {"name", "emptyDir", "configMap"}
    assert "hostPort" not in str(container)


def test_a_read_only_root_leaves_a_place_to_write() -> None:
    container = at(pods.pod(launch()), "spec.containers.0")
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.securityContext.runAsUser", 1000),
        ("spec.securityContext.fsGroup", 1000),
        ("spec.terminationGracePeriodSeconds", 300),
        ("spec.enableServiceLinks", True),
        ("spec.hostNetwork", True),
        ("spec.priorityClassName", "batch"),
        ("spec.topologySpreadConstraints", [{"maxSkew": 1, "topologyKey": "zone"}]),
    ],
)
def test_a_pool_may_open_what_is_restricted(path: str, value: Any) -> None:
    """The pool is its administrator's; what the API server thinks of it, a dry run tells the pool."""
    usual, body = pods.pod(launch()), pods.pod(launch(changed({}, {path: value})))
    assert at(body, path) == value
    assert changed(body, {path: 0}) == changed(usual, {path: 0})


@pytest.mark.parametrize("field", sorted(RESERVED_SPEC))
def test_a_template_cannot_change_what_claiming_and_retries_rest_on(field: str) -> None:
    assert pods.pod(launch({"spec": {field: "changed"}})) == pods.pod(launch())


def test_the_service_account_is_the_pools_or_the_operators() -> None:
    assert at(pods.pod(launch()), "spec.serviceAccountName") == "penstock-run"
    assert at(pods.pod(launch(pool={"serviceAccountName": "own"})), "spec.serviceAccountName") == "own"


@pytest.mark.parametrize("given", [{}, {"spec": {}}, {"metadata": {}}, {"metadata": None, "spec": None}, None])
def test_an_empty_template_is_none(given: Json | None) -> None:
    assert pods.pod(launch(given)) == pods.pod(launch())


@pytest.mark.parametrize("maps", ["labels", "annotations"])
def test_empty_maps_of_a_template_are_none(maps: str) -> None:
    assert pods.pod(launch({"metadata": {maps: None}})) == pods.pod(launch())


def test_of_a_templates_metadata_only_labels_and_annotations_count() -> None:
    given = {"metadata": {"name": "x", "namespace": "other", "finalizers": ["x/y"], "ownerReferences": []}}
    assert pods.pod(launch(given)) == pods.pod(launch())


# The order: Penstock's own, the pool, the deployment, the run, what is reserved.


@pytest.mark.parametrize(
    ("layers", "image"),
    [
        pytest.param(("resolved", "template"), "resolved", id="what the run was resolved to comes first"),
        pytest.param((None, "template"), "template", id="then the pool's template"),
        pytest.param((None, None), DEFAULTS.image, id="then the operator's own"),
    ],
)
def test_where_the_image_comes_from(layers: tuple[str | None, str | None], image: str) -> None:
    facts, template = layers
    body = pods.pod(launch(flow_container(image=template) if template else {}, image=facts))
    assert at(body, MINE + "image") == image


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ({"imagePullPolicy": "Always"}, MINE + "imagePullPolicy"),
        ({"resources": {"limits": {"memory": "1Gi"}}}, MINE + "resources"),
        ({"nodeSelector": {"disk": "ssd"}}, "spec.nodeSelector"),
        ({"tolerations": [{"key": "spot"}]}, "spec.tolerations"),
        ({"affinity": {"nodeAffinity": {}}}, "spec.affinity"),
        ({"priorityClassName": "batch"}, "spec.priorityClassName"),
        ({"runtimeClassName": "gvisor"}, "spec.runtimeClassName"),
    ],
)
def test_an_override_stands_in_its_place_and_changes_nothing_else(override: Json, path: str) -> None:
    usual, body = pods.pod(launch()), pods.pod(launch({}, override))
    (value,) = override.values()
    assert at(body, path) == value
    assert changed(body, {path: 0}) == changed(usual, {path: 0})


def test_an_image_override_is_in_what_the_run_was_resolved_to() -> None:
    assert pods.pod(launch({}, {"image": "other"})) == pods.pod(launch())


@pytest.mark.parametrize(
    ("field", "layers", "wanted"),
    [
        (
            "resources",
            [{"limits": {"cpu": "1", "memory": "1Gi"}}, {"limits": {"memory": "2Gi"}}, {"limits": {"memory": "3Gi"}}],
            {"limits": {"cpu": "1", "memory": "3Gi"}},
        ),
        ("imagePullPolicy", ["Never", "Always", "IfNotPresent"], "IfNotPresent"),
    ],
)
def test_the_pool_comes_first_then_the_deployment_then_the_run(field: str, layers: list[Any], wanted: Any) -> None:
    pool, deployment, run = layers
    body = pods.pod(launch(flow_container(**{field: pool}), {field: deployment}, {field: run}))
    assert at(body, MINE + field) == wanted


def test_variables_are_merged_by_name_the_later_wins() -> None:
    def env(**values: str) -> list[Json]:
        return [{"name": name, "value": value} for name, value in values.items()]

    template = flow_container(env=env(A="pool", B="pool", C="pool"))
    found = variables(pods.pod(launch(template, {"env": env(B="deployment", C="deployment")}, {"env": env(C="run")})))
    assert (found["A"], found["B"], found["C"]) == ("pool", "deployment", "run")


def test_selectors_are_merged_and_tolerations_replaced() -> None:
    template = {"spec": {"nodeSelector": {"a": "1", "b": "1"}, "tolerations": [{"key": "pool"}]}}
    body = pods.pod(launch(template, {"nodeSelector": {"b": "2"}, "tolerations": [{"key": "run"}]}))
    assert at(body, "spec.nodeSelector") == {"a": "1", "b": "2"}
    assert at(body, "spec.tolerations") == [{"key": "run"}]


def test_a_template_may_add_containers_and_volumes_beside_penstocks_own() -> None:
    template = {
        "spec": {
            "containers": [{"name": "proxy", "image": "p"}],
            "volumes": [{"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}}],
        }
    }
    spec = pods.pod(launch(template))["spec"]
    assert [container["name"] for container in spec["containers"]] == ["flow", "proxy"]
    assert spec["containers"][1] == {"name": "proxy", "image": "p"}
    assert {volume["name"] for volume in spec["volumes"]} == {"tmp", "penstock-code", "cache"}


def test_a_template_may_put_the_scratch_space_elsewhere() -> None:
    template = {"spec": {"volumes": [{"name": "tmp", "ephemeral": {}}]}}
    assert named(at(pods.pod(launch(template)), "spec.volumes"), "tmp") == {"name": "tmp", "ephemeral": {}}


# What is reserved.


def test_the_pod_is_named_and_owned_so_that_it_is_made_once() -> None:
    meta = pods.pod(launch())["metadata"]
    assert (meta["name"], meta["namespace"]) == ("etl-1-1", "team")
    assert meta["ownerReferences"] == [
        {
            "apiVersion": labels.API_VERSION,
            "kind": "FlowRun",
            "name": "etl-1",
            "uid": "run-uid",
            "controller": True,
            "blockOwnerDeletion": False,
        }
    ]


def test_a_pod_of_another_attempt_has_another_name() -> None:
    run = flow_run("Pending", attempt=12, resolved=resolved())
    body = pods.pod(launch(run=run))
    assert body["metadata"]["name"] == "etl-1-12"
    assert body["metadata"]["labels"][labels.ATTEMPT] == "12"
    assert variables(body)[labels.ENV_ATTEMPT] == "12"


OWN_LABELS = {
    "app.kubernetes.io/managed-by": "penstock",
    "penstock.dev/run": "etl-1",
    "penstock.dev/attempt": "1",
    "penstock.dev/flow": "etl",
    "penstock.dev/pool": "default",
    "penstock.dev/deployment": "etl",
}


@pytest.mark.parametrize(
    ("spec", "admitted", "said"),
    [
        pytest.param({}, None, None, id="its labels say it all"),
        pytest.param({}, {"queue": "fast", "tags": ["gpu"]}, '{"queue": "fast", "tags": ["gpu"]}', id="queue and tags"),
        pytest.param({"task": {"entrypoint": "m:t"}, "parent": {"awaited": True}}, None, "null", id="it holds none"),
        pytest.param({"task": {"entrypoint": "m:t"}}, None, None, id="a task that nobody waits for"),
    ],
)
def test_a_pod_says_what_its_run_holds_slots_of(spec: Json, admitted: Json | None, said: str | None) -> None:
    usual = launch()
    run = {**usual.run, "spec": {**usual.run["spec"], **spec}}
    run["status"] = {**run["status"], **({"admitted": admitted} if admitted else {})}
    annotations = pods.pod(replace(usual, run=run))["metadata"]["annotations"]
    assert annotations.get(labels.ADMITTED) == said


def test_labels_and_annotations_of_penstock_are_its_own() -> None:
    """Pods are found, counted and deleted by them."""
    forged = {
        "labels": dict.fromkeys([*OWN_LABELS, "penstock.dev/schedule"], "forged"),
        "annotations": {TTL: "0", "penstock.dev/cause": "forged"},
    }
    usual = pods.pod(launch())
    assert usual["metadata"]["labels"] == OWN_LABELS
    assert usual["metadata"]["annotations"] == {TTL: str(DEFAULT_POD_TTL)}
    assert pods.pod(launch({"metadata": copy.deepcopy(forged)}, forged, forged)) == usual


def test_no_other_keys_are_lost() -> None:
    keys = {"team": "a", "penstock.development/x": "b", "my-penstock.dev/x": "c", "penstock.dev": "d"}
    for body in (pods.pod(launch({"metadata": {"labels": keys}})), pods.pod(launch({}, {"labels": keys}))):
        assert body["metadata"]["labels"] == OWN_LABELS | keys


def test_a_run_without_a_deployment_has_no_label_of_one() -> None:
    facts = resolved()
    del facts["deployment"]
    body = pods.pod(launch({"metadata": {"labels": {labels.DEPLOYMENT: "x"}}}, run=flow_run("Pending", resolved=facts)))
    assert labels.DEPLOYMENT not in body["metadata"]["labels"]
    assert "PENSTOCK_DEPLOYMENT" not in variables(body)


def test_the_name_of_a_flow_is_cut_to_a_label() -> None:
    name = "a" * 61 + "-." + "b" * 40
    run = flow_run("Pending", resolved=resolved(flow={"name": name, "uid": "u", "generation": 1}))
    assert at(pods.pod(launch(run=run)), "metadata.labels")[labels.FLOW] == "a" * 61


def test_the_runner_is_told_what_to_run() -> None:
    run = flow_run("Pending", attempt=3, resolved=resolved(), state=run_state("Pending", 5))
    found = variables(pods.pod(launch(run=run)))
    assert found == {
        "PENSTOCK_NAMESPACE": "team",
        "PENSTOCK_RUN": "etl-1",
        "PENSTOCK_RUN_UID": "run-uid",
        "PENSTOCK_ATTEMPT": "3",
        "PENSTOCK_SEQ": "5",
        "PENSTOCK_ENTRYPOINT": "flow:etl",
        "PENSTOCK_DEPLOYMENT": "etl",
        "PENSTOCK_CODE": "/var/run/penstock/code/flow.py",
        "PENSTOCK_POD_NAME": {"fieldRef": {"fieldPath": "metadata.name"}},
        "PENSTOCK_POD_UID": {"fieldRef": {"fieldPath": "metadata.uid"}},
    }


def test_what_the_runner_is_told_cannot_be_forged() -> None:
    forged = [{"name": name, "value": "forged"} for name in variables(pods.pod(launch()))]
    body = pods.pod(launch(flow_container(env=forged), {"env": forged}))
    assert variables(body) == variables(pods.pod(launch()))


def test_the_code_is_mounted_where_the_runner_reads_it() -> None:
    spec = pods.pod(launch())["spec"]
    assert named(spec["volumes"], "penstock-code") == {
        "name": "penstock-code",
        "configMap": {"name": "penstock-code-abc"},
    }
    mount = named(spec["containers"][0]["volumeMounts"], "penstock-code")
    assert mount == {"name": "penstock-code", "mountPath": labels.CODE_DIR, "readOnly": True}


def test_the_code_cannot_be_exchanged() -> None:
    """A run names the digest of its code, and that code it runs."""
    mounts = [{"name": "other", "mountPath": labels.CODE_DIR, "subPath": "x"}]
    template = flow_container(volumeMounts=mounts)
    template["spec"]["volumes"] = [{"name": "penstock-code", "emptyDir": {}}, {"name": "other", "emptyDir": {}}]
    spec, usual = pods.pod(launch(template))["spec"], pods.pod(launch())["spec"]
    assert named(spec["volumes"], "penstock-code") == named(usual["volumes"], "penstock-code")
    assert spec["containers"][0]["volumeMounts"] == usual["containers"][0]["volumeMounts"]


def test_code_of_an_image_is_not_mounted() -> None:
    body = pods.pod(launch(code={"kind": "image"}))
    assert "penstock-code" not in str(body)
    assert labels.ENV_CODE not in variables(body)


def test_the_command_is_the_runner_unless_the_pool_has_its_own() -> None:
    assert at(pods.pod(launch()), MINE + "command") == COMMAND == ["python3", "-m", "penstock.runner"]
    own = ["/opt/python", "-m", "penstock.runner"]
    assert at(pods.pod(launch(flow_container(command=own))), MINE + "command") == own


@pytest.mark.parametrize(("ttl", "told"), [(None, "3600"), (0, "0"), (60, "60")])
def test_the_pod_says_how_long_it_stays(ttl: int | None, told: str) -> None:
    body = pods.pod(launch(pool={} if ttl is None else {"podTTLSecondsAfterFinished": ttl}))
    assert body["metadata"]["annotations"] == {TTL: told}


# What is no template.

BAD: dict[str, Any] = {
    "a list": [1],
    "a text": "spec",
    "a number": 3,
    "a spec that is a list": {"spec": [1]},
    "a spec that is a text": {"spec": "x"},
    "metadata that are a list": {"metadata": [1]},
    "labels that are a list": {"metadata": {"labels": ["a"]}},
    "containers that are a map": {"spec": {"containers": {"flow": {}}}},
    "containers that are null": {"spec": {"containers": None}},
    "a container that is a text": {"spec": {"containers": ["flow"]}},
    "a container whose name is a map": {"spec": {"containers": [{"name": {}}]}},
    "volumes that are a map": {"spec": {"volumes": {"a": {}}}},
    "volumes that are texts": {"spec": {"volumes": ["a"]}},
    "variables that are a map": flow_container(env={"A": "b"}),
    "variables that are texts": flow_container(env=["A=b"]),
    "mounts that are a map": flow_container(volumeMounts={"/x": "x"}),
    "mounts that are numbers": flow_container(volumeMounts=[1]),
}


@pytest.mark.parametrize("template", BAD.values(), ids=BAD)
def test_what_cannot_be_merged_is_refused(template: Any) -> None:
    with pytest.raises(InvalidTemplate, match=r"spec\.template is no pod template"):
        pods.pod(launch(template))


def test_a_refusal_says_what_is_wrong() -> None:
    with pytest.raises(
        InvalidTemplate, match=r"containers\[0\]\.env must be a list of objects, each with its name, and is"
    ):
        pods.pod(launch(flow_container(env={"A": "b"})))


FIELDS = ["metadata", "spec", "labels", "annotations", "containers", "volumes", "env", "volumeMounts", "name", "image"]
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["flow", "tmp", "", "x"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=20,
)


@given(junk)
@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_gives_a_pod_with_its_reserved_parts_or_is_refused(template: Any) -> None:
    usual = pods.pod(launch())
    before = copy.deepcopy(template)
    try:
        body = pods.pod(launch(template))
    except InvalidTemplate:
        return
    finally:
        assert template == before
    flow = named([c for c in at(body, "spec.containers") if c], "flow")
    told = variables(usual).keys()
    assert [item for item in flow["env"] if item["name"] in told] == at(usual, MINE + "env")
    assert flow["image"] == at(usual, MINE + "image")
    meta = body["metadata"]
    assert meta == {**usual["metadata"], "labels": meta["labels"], "annotations": meta["annotations"]}
    assert meta["labels"].items() >= OWN_LABELS.items()
    assert meta["annotations"][TTL] == str(DEFAULT_POD_TTL)
    for field in RESERVED_SPEC:
        assert body["spec"].get(field) == usual["spec"].get(field)
