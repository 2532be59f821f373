"""What an attempt is told of results."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_operator.launch import pods
from penstock_operator.launch.pods import Defaults, Launch
from penstock_operator.launch.results import credentials, environment

STORAGE, PERSIST = "PENSTOCK_RESULTS_STORAGE", "PENSTOCK_RESULTS_PERSIST_BY_DEFAULT"
SHARED, SERIALIZER = "PENSTOCK_RESULTS_SHARED", "PENSTOCK_RESULTS_DEFAULT_SERIALIZER"


@pytest.mark.parametrize(
    ("flow", "pool", "told"),
    [
        (None, None, {}),
        (None, {"url": "s3://pool"}, {STORAGE: "s3://pool"}),
        ({"persist": True}, {"url": "s3://pool"}, {STORAGE: "s3://pool", PERSIST: "true"}),
        ({"persist": False, "serializer": "json"}, None, {PERSIST: "false", SERIALIZER: "json"}),
        ({"storage": "gs://flow"}, {"url": "file:///p", "shared": True}, {STORAGE: "gs://flow"}),
        (None, {"url": "file:///p", "shared": True}, {STORAGE: "file:///p", SHARED: "true"}),
        (None, {"url": "file:///p", "shared": False}, {STORAGE: "file:///p", SHARED: "false"}),
    ],
    ids=[
        "nothing",
        "the pool's place",
        "the pool's place, the flow's wish",
        "the flow's wishes alone",
        "the flow's place goes first, and what the pool says of its own does not count for it",
        "a folder that pods share",
        "a folder that they do not",
    ],
)
def test_environment(flow: Any, pool: Any, told: dict[str, str]) -> None:
    found = environment({"results": flow} if flow else {}, {"results": pool} if pool else {})
    assert {item["name"]: item["value"] for item in found} == told


def test_the_pools_secret_comes_after_what_its_template_has() -> None:
    pool = {"results": {"url": "s3://pool", "secretRef": {"name": "keys"}}}
    others = [{"configMapRef": {"name": "mine"}}]
    assert credentials(pool, None) == [{"secretRef": {"name": "keys"}}]
    assert credentials(pool, others) == [*others, {"secretRef": {"name": "keys"}}]
    assert credentials({}, others) == others
    assert credentials({}, None) == []


def test_they_reach_the_flow_container_and_cannot_be_overridden() -> None:
    run = {
        "metadata": {"name": "r", "namespace": "n", "uid": "u"},
        "spec": {},
        "status": {
            "attempt": 1,
            "state": {"seq": 1},
            "resolved": {
                "flow": {"name": "f"},
                "pool": {"name": "p"},
                "poolType": "Pod",
                "entrypoint": "m:f",
                "code": {"kind": "image"},
                "results": {"persist": True},
            },
        },
    }
    template = {"spec": {"containers": [{"name": "flow", "envFrom": [{"configMapRef": {"name": "mine"}}]}]}}
    pool = {"type": "Pod", "template": template, "results": {"url": "s3://pool", "secretRef": {"name": "keys"}}}
    other = {"env": [{"name": STORAGE, "value": "s3://elsewhere"}, {"name": "MINE", "value": "1"}]}
    body = pods.pod(Launch(run, pool, (other,), Defaults("image")))
    (container,) = body["spec"]["containers"]
    told = {item["name"]: item.get("value") for item in container["env"]}
    assert (told[STORAGE], told[PERSIST], told["MINE"]) == ("s3://pool", "true", "1")
    assert container["envFrom"] == [{"configMapRef": {"name": "mine"}}, {"secretRef": {"name": "keys"}}]
