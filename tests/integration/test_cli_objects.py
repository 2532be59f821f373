"""What the command does with each kind, against a real API server and beside a real kubectl."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from api_client import ApiClient
from command_line import CommandLine
from penstock_cluster import binaries

Json = dict[str, Any]
ETL = "from penstock import flow\n\n\n@flow\ndef etl(parts: int = 2):\n    pass\n"


def kubectl(home: Path, *words: str) -> str:
    """What the real one prints in the test's namespace."""
    program = binaries.ensure(binaries.KUBERNETES_ONLY) / "kubectl"
    done = subprocess.run(
        [program, "-n", os.environ["PENSTOCK_NAMESPACE"], *words],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def cells(text: str) -> list[list[str]]:
    """A table without its spaces; ages may differ by a second, and are left out."""
    rows = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    return [[cell for cell in row if not re.fullmatch(r"\d+[smh]", cell)] for row in rows]


@pytest.fixture
def team(penstock: CommandLine) -> CommandLine:
    """A pool, two queues and a deployment."""
    Path("etl.py").write_text(ETL)
    penstock.ok("pools", "create", "gpu", "--type", "Pod", "--limit", "3", "--description", "has: four")
    penstock.ok("queues", "create", "fast", "--pool", "gpu", "--priority", "1", "--match-tag", "hot")
    penstock.ok("queues", "create", "slow", "--pool", "gpu", "--suspend", "--match-label", "team=a")
    penstock.ok("deploy", "etl.py", "--pool", "gpu")
    return penstock


@pytest.mark.parametrize("wide", [(), ("-o", "wide")], ids=["plain", "wide"])
@pytest.mark.parametrize(
    ("command", "kind"), [("pools", "wp"), ("queues", "wq"), ("deployments", "fd"), ("flows", "fl")]
)
def test_the_table_is_kubectls(
    command: str, kind: str, wide: tuple[str, ...], team: CommandLine, tmp_path: Path
) -> None:
    assert cells(team.ok(command, *wide)) == cells(kubectl(tmp_path, "get", kind, *wide))


def test_programs_get_the_objects(team: CommandLine, admin: ApiClient, namespace: str) -> None:
    stored = admin.get("WorkPool", namespace, "gpu")
    del stored["metadata"]["managedFields"]
    assert json.loads(team.ok("pools", "-o", "json"))["items"] == [stored]
    assert yaml.safe_load(team.ok("pools", "show", "gpu", "-o", "yaml")) == stored
    assert team.ok("queues", "-o", "name").split() == ["workqueue.penstock.dev/fast", "workqueue.penstock.dev/slow"]


def test_only_those_that_are_asked_for(team: CommandLine, admin: ApiClient, namespace: str) -> None:
    admin.merge("WorkQueue", namespace, "fast", {"metadata": {"labels": {"team": "a"}}})
    assert team.ok("queues", "-l", "team=a", "-o", "name") == "workqueue.penstock.dev/fast\n"
    assert team.ok("deployments", "--pool", "gpu", "-o", "name") == "flowdeployment.penstock.dev/etl\n"
    said = team("deployments", "--pool", "default")
    assert (said.code, said.out, said.err) == (0, "", f"No such deployments in namespace {namespace}\n")


def test_where_there_are_none_the_remedy_is_told(penstock: CommandLine, namespace: str) -> None:
    said = penstock("pools", "ls")
    assert said.err == f"No pools in namespace {namespace}; make one with `penstock pools create NAME`\n"
    assert json.loads(penstock.ok("pools", "-o", "json"))["items"] == []


def test_a_pool_is_shown_with_its_queues(team: CommandLine) -> None:
    said = team.ok("pools", "show", "wp/gpu")
    assert re.search(r"^Name: +gpu$", said, re.MULTILINE)
    assert re.search(r"^  description: .has: four.$", said, re.MULTILINE)
    assert re.search(r"^  fast +gpu +1 ", said, re.MULTILINE)


def test_a_deployment_is_shown_with_its_newest_runs(team: CommandLine) -> None:
    team.ok("deployments", "run", "etl", "--name", "monday")
    said = team.ok("deployments", "show", "etl")
    assert re.search(r"^  monday +etl ", said, re.MULTILINE)


def test_what_is_not_there_is_told_with_what_is(team: CommandLine, namespace: str) -> None:
    said = team.fails("pools", "show", "gpo")
    assert said == f"error: there is no pool gpo in namespace {namespace}; did you mean gpu?\n"


def test_a_name_that_is_taken_is_told(team: CommandLine) -> None:
    said = team.fails("pools", "create", "gpu")
    assert "workpool.penstock.dev/gpu exists already: change it with `kubectl edit workpool gpu`" in said


@pytest.mark.parametrize(
    ("command", "kind", "name"),
    [("pools", "WorkPool", "gpu"), ("queues", "WorkQueue", "fast"), ("deployments", "FlowDeployment", "etl")],
)
def test_suspended_and_resumed(
    command: str, kind: str, name: str, team: CommandLine, admin: ApiClient, namespace: str
) -> None:
    assert team.ok(command, "suspend", name).endswith(f"/{name} is suspended\n")
    assert admin.get(kind, namespace, name)["spec"]["suspend"] is True
    assert team.ok(command, "resume", name).endswith(f"/{name} is resumed\n")
    assert admin.get(kind, namespace, name)["spec"]["suspend"] is False


def test_one_that_fails_keeps_no_other_from_it(team: CommandLine, admin: ApiClient, namespace: str) -> None:
    said = team("queues", "delete", "fats", "slow")
    assert (said.code, said.out) == (1, "workqueue.penstock.dev/slow deleted\n")
    assert "did you mean fast?" in said.err
    assert [body["metadata"]["name"] for body in admin.list("WorkQueue", namespace)["items"]] == ["fast"]


def test_kubectl_completes_its_plugin(team: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """kubectl finds `kubectl_complete-penstock` on the PATH and asks it, with the words so far."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    program = binaries.ensure(binaries.KUBERNETES_ONLY) / "kubectl"
    words = ["__complete", "penstock", "pools", "show", "g"]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["gpu", ":4"]
