"""The pod of a worker: its agent alone has a token, user code none, and no template changes that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.api import labels
from penstock_operator.launch import workers
from penstock_operator.launch.pods import Defaults, InvalidTemplate

Json = dict[str, Any]

GOLDEN = Path(__file__).parent / "goldens" / "worker.yaml"
DEFAULTS = Defaults("registry.example/penstock:1")


def pool(template: Any = None, **spec: Any) -> Json:
    meta = {"name": "warm", "namespace": "team", "uid": "p-uid"}
    given = {} if template is None else {"template": template}
    return {"metadata": meta, "spec": {"type": "Process", "worker": {"concurrency": 4}, **given, **spec}}


def pod(template: Any = None, number: int = 0, **spec: Any) -> Json:
    return workers.pod(pool(template, **spec), number, "print", DEFAULTS)


def container(body: Json, name: str) -> Json:
    (found,) = (c for c in body["spec"]["containers"] if c["name"] == name)
    return dict(found)


def variables(of: Json) -> Json:
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in of["env"]}


def test_the_whole_pod_is_as_it_was_read_and_approved() -> None:
    spec = {"image": "flows:1", "results": {"url": "s3://b/r", "secretRef": {"name": "s3"}}}
    body = pod(worker={"concurrency": 4, "preload": ["pandas", "etl"]}, **spec)
    assert body == yaml.safe_load(GOLDEN.read_text())


def test_each_number_has_a_name_of_its_own() -> None:
    names = [pod(number=number)["metadata"]["name"] for number in (0, 1, 0)]
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize(
    "template",
    [
        {"spec": {"containers": [{"name": "agent", "image": "evil:1", "command": ["sh"], "env": []}]}},
        {"spec": {"shareProcessNamespace": True, "hostPID": True}},
        {"spec": {"automountServiceAccountToken": True, "serviceAccountName": "cluster-admin"}},
        {"spec": {"restartPolicy": "Never"}},
        {"spec": {"volumes": [{"name": workers.TOKEN, "emptyDir": {}}]}},
        {"spec": {"containers": [{"name": "flow", "volumeMounts": [{"name": workers.TOKEN, "mountPath": "/token"}]}]}},
        {"metadata": {"labels": {labels.POOL: "other"}, "annotations": {labels.WORKER_NUMBER: "7"}}},
    ],
    ids=str,
)
def test_a_template_does_not_touch_who_holds_the_token(template: Json) -> None:
    found, usual = pod(template), pod()
    for body in (found, usual):
        body["spec"]["volumes"].sort(key=lambda volume: str(volume["name"]))
    assert found == usual


def test_the_template_is_that_of_the_container_of_user_code() -> None:
    mine = {"name": "flow", "resources": {"limits": {"memory": "1Gi"}}, "env": [{"name": "A", "value": "1"}]}
    body = pod({"metadata": {"labels": {"team": "data"}}, "spec": {"containers": [mine], "nodeSelector": {"gpu": "1"}}})
    flow = container(body, "flow")
    assert flow["resources"] == {"limits": {"memory": "1Gi"}}
    assert variables(flow)["A"] == "1"
    assert "A" not in variables(container(body, "agent"))
    assert body["spec"]["nodeSelector"] == {"gpu": "1"}
    assert body["metadata"]["labels"]["team"] == "data"


@pytest.mark.parametrize(
    ("spec", "template", "image"),
    [
        ({}, None, "registry.example/penstock:1"),
        ({"image": "flows:1"}, None, "flows:1"),
        ({}, {"spec": {"containers": [{"name": "flow", "image": "flows:2"}]}}, "flows:2"),
    ],
)
def test_both_containers_are_of_one_image(spec: Json, template: Json | None, image: str) -> None:
    body = pod(template, **spec)
    assert {c["image"] for c in body["spec"]["containers"]} == {image}


@pytest.mark.parametrize(
    "template", [{"spec": {"containers": "flow"}}, {"spec": {"containers": [{"image": "x"}]}}, {"spec": [1]}], ids=str
)
def test_a_template_of_another_shape_is_refused(template: Any) -> None:
    with pytest.raises(InvalidTemplate, match=r"spec\.template"):
        pod(template)


json = st.recursive(
    st.none() | st.booleans() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "spec", "containers", "volumes", "env", "flow", "agent"]), inner)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["metadata", "spec"]), json))
def test_whatever_a_template_says_user_code_gets_no_token(template: Json) -> None:
    try:
        body = pod(template)
    except InvalidTemplate:
        return
    spec = body["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not spec.get("shareProcessNamespace")
    assert container(body, "agent")["command"] == workers.AGENT


def test_a_run_is_told_what_a_pod_would_be() -> None:
    given = {"results": {"url": "s3://b/r", "shared": True}}
    resolved = {"results": {"persist": True}}
    overrides = [
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "1"}]},
        {},
        {"env": [{"name": "B", "value": "2"}]},
    ]
    assert workers.variables(resolved, given, overrides) == [
        {"name": "PENSTOCK_RESULTS_STORAGE", "value": "s3://b/r"},
        {"name": "PENSTOCK_RESULTS_PERSIST_BY_DEFAULT", "value": "true"},
        {"name": "A", "value": "1"},
        {"name": "B", "value": "2"},
        {"name": "PENSTOCK_RESULTS_SHARED", "value": "true"},
    ]
    assert workers.variables({}, {}, []) == []
