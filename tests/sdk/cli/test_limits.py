"""`penstock limits`: what is made, changed and told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, Request, refusal

CLAIM = {"runUid": "u", "attempt": 1, "since": "2026-01-01T06:00:00Z"}
DB = {
    "apiVersion": "penstock.dev/v1alpha1",
    "kind": "ConcurrencyLimit",
    "metadata": {"name": "db", "namespace": "team", "creationTimestamp": "2026-01-01T05:00:00Z"},
    "spec": {"limit": 3, "taskTag": "sql", "description": "The database."},
    "status": {
        "active": 3,
        "queued": 5,
        "claims": [{**CLAIM, "run": "etl-1", "active": 3, "queued": 5}],
    },
}
API = {
    "apiVersion": "penstock.dev/v1alpha1",
    "kind": "ConcurrencyLimit",
    "metadata": {"name": "api", "namespace": "team", "annotations": {"mine": "1"}},
    "spec": {"limit": 10, "slotDecayPerSecond": 0.5},
}


def written(cluster: Cluster) -> list[tuple[str, str, Any]]:
    return [(r.method, r.path.removeprefix(TEAM), r.body) for r in cluster.requests if r.method != "GET"]


def test_limits_are_listed(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("concurrencylimits", DB, API)
    head, api, db = penstock("limits").out.splitlines()
    assert head.split() == ["NAME", "LIMIT", "ACTIVE", "QUEUED", "AGE"]
    assert db.split()[:4] == ["db", "3", "3", "5"]
    assert api.split()[:2] == ["api", "10"]
    items = json.loads(penstock("limits", "ls", "-o", "json").out)["items"]
    assert [(item["kind"], item["metadata"]["name"]) for item in items] == [
        ("ConcurrencyLimit", "api"),
        ("ConcurrencyLimit", "db"),
    ]
    assert penstock("limits", "ls", "-o", "name").out.splitlines() == [
        "concurrencylimit.penstock.dev/api",
        "concurrencylimit.penstock.dev/db",
    ]


def test_who_holds_and_who_waits_is_shown(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("concurrencylimits", DB)
    out = penstock("limits", "show", "db").out
    assert "The database." in out
    assert out.splitlines()[-1].split()[:4] == ["etl-1", "1", "3", "5"]
    missing = penstock("limits", "show", "other")
    assert missing.code == 1
    assert "there is no limit other in namespace team" in missing.err


@pytest.mark.parametrize(
    ("words", "name", "spec"),
    [
        (["db", "3"], "db", {"limit": 3}),
        (["My_API", "10/s"], "my-api", {"limit": 10, "slotDecayPerSecond": 10.0}),
        (["slow", "3@0.5"], "slow", {"limit": 3, "slotDecayPerSecond": 0.5}),
        (["gpus", "0", "--task-tag", "gpu"], "gpus", {"limit": 0, "taskTag": "gpu"}),
        (["db", "1", "--description", "x", "--tag", "y"], "db", {"limit": 1, "tag": "y", "description": "x"}),
    ],
)
def test_a_limit_is_made(
    words: list[str], name: str, spec: dict[str, Any], penstock: CommandLine, cluster: Cluster
) -> None:
    cluster.replies[f"{TEAM}/concurrencylimits"] = Reply({}, 201)
    assert penstock("limits", "create", *words).out == f"concurrencylimit.penstock.dev/{name} created\n"
    (made,) = written(cluster)
    assert (made[2]["metadata"], made[2]["spec"]) == ({"name": name}, spec)


def test_a_limit_that_exists_is_changed_only_where_that_is_meant(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("concurrencylimits", DB)

    def exists(request: Request) -> Reply:
        return refusal(409, "AlreadyExists", "exists", name="db") if request.method == "POST" else Reply(DB)

    cluster.replies[f"{TEAM}/concurrencylimits"] = exists
    said = penstock("limits", "create", "db", "5")
    assert said.code == 1
    assert "exists already: change it with --overwrite" in said.err
    assert penstock("limits", "create", "db", "5", "--overwrite").out == "concurrencylimit.penstock.dev/db changed\n"
    assert written(cluster)[-1][2] == [{"op": "add", "path": "/spec", "value": {"limit": 5}}]


@pytest.mark.parametrize("slots", ["three", "10/week", "-1", "3@", "1.5"])
def test_what_is_no_limit_is_refused_with_the_remedy(slots: str, penstock: CommandLine, cluster: Cluster) -> None:
    said = penstock("limits", "create", "db", "--", slots)
    assert said.code == 2
    assert "write slots (3), a rate (10/s, 100/m, 1000/h, 5000/d)" in said.err
    assert not written(cluster)


def test_limits_are_deleted(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("concurrencylimits", DB)
    said = penstock("limits", "delete", "db", "other")
    assert (said.code, said.out) == (1, "concurrencylimit.penstock.dev/db deleted\n")
    assert "there is no limit other in namespace team" in said.err


def test_a_rate_is_reset_and_other_limits_say_how_slots_come_back(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("concurrencylimits", DB, API)
    assert penstock("limits", "reset", "api").out == "concurrencylimit.penstock.dev/api reset\n"
    ((_, path, (operation,)),) = written(cluster)
    assert path == "/concurrencylimits/api"
    assert operation["path"] == "/metadata/annotations"
    assert operation["value"].keys() == {"mine", "penstock.dev/reset-at"}
    said = penstock("limits", "reset", "db")
    assert said.code == 1
    assert "penstock cancel etl-1" in said.err
