"""What an attempt is told of results."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_operator.launch import pods
from penstock_operator.launch.pods import Defaults, Launch
from penstock_operator.launch.results import credentials, environment, sharing

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
    ],
    ids=[
        "nothing",
        "the pool's place",
        "the pool's place, the flow's wish",
        "the flow's wishes alone",
        "the flow's place goes first",
    ],
)
def test_environment(flow: Any, pool: Any, told: dict[str, str]) -> None:
    found = environment({"results": flow} if flow else {}, {"results": pool} if pool else {})
    assert {item["name"]: item["value"] for item in found} == told


@pytest.mark.parametrize(
    ("place", "pool", "told"),
    [
        ("file:///p", {"url": "file:///p", "shared": True}, ["true"]),
        ("file:///p", {"url": "file:///p", "shared": False}, ["false"]),
        ("file:///p", {"url": "file:///p"}, []),
        ("gs://flow", {"url": "file:///p", "shared": True}, []),
        (None, {"url": "file:///p", "shared": True}, []),
        ("gs://flow", None, []),
    ],
    ids=["shared", "not shared", "unsaid", "another place", "a place out of a Secret", "a pool without"],
)
def test_what_the_pool_says_of_its_own_place_counts_for_no_other(place: Any, pool: Any, told: list[str]) -> None:
    found = sharing({"results": pool} if pool else {}, [{"name": "A", "value": "1"}, {"name": STORAGE, "value": place}])
    assert found == [{"name": SHARED, "value": value} for value in told]


def test_the_pools_secret_comes_after_what_its_template_has() -> None:
    pool = {"results": {"url": "s3://pool", "secretRef": {"name": "keys"}}}
    others = [{"configMapRef": {"name": "mine"}}]
    assert credentials(pool, None) == [{"secretRef": {"name": "keys"}}]
    assert credentials(pool, others) == [*others, {"secretRef": {"name": "keys"}}]
    assert credentials({}, others) == others
    assert credentials({}, None) == []


def test_they_reach_the_flow_container_below_what_deployments_and_runs_set() -> None:
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
    pool = {"type": "Pod", "template": template, "results": {"url": "s3://pool", "shared": True}}
    pool["results"]["secretRef"] = {"name": "keys"}
    other = {"env": [{"name": STORAGE, "value": "s3://elsewhere"}, {"name": "PENSTOCK_LOG_LEVEL", "value": "DEBUG"}]}
    body = pods.pod(Launch(run, pool, (other,), Defaults("image")))
    (container,) = body["spec"]["containers"]
    told = {item["name"]: item.get("value") for item in container["env"]}
    assert (told[STORAGE], told[PERSIST], told["PENSTOCK_LOG_LEVEL"]) == ("s3://elsewhere", "true", "DEBUG")
    assert SHARED not in told
    assert container["envFrom"] == [{"configMapRef": {"name": "mine"}}, {"secretRef": {"name": "keys"}}]
