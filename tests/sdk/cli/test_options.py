"""Options that commands share: where the command goes to, and which namespace it means."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from command_line import CommandLine
from https_server import TEAM, Cluster, Reply

EMPTY = Reply({"metadata": {}, "items": []})


def asked(cluster: Cluster) -> str:
    """The namespace of the newest request."""
    return cluster.last.path.split("/")[5]


@pytest.fixture
def anywhere(cluster: Cluster) -> Cluster:
    """Whatever namespace is asked for: there are no runs."""
    cluster.answer = lambda _: EMPTY
    return cluster


def test_the_namespace_is_that_of_the_context(penstock: CommandLine, cluster: Cluster) -> None:
    cluster.has("flowruns")
    assert penstock("runs").err == "No runs in namespace team.\n"
    assert cluster.last.path == f"{TEAM}/flowruns"


def test_the_environment_names_another(
    penstock: CommandLine, anywhere: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_NAMESPACE", "other")
    penstock.ok("runs")
    assert asked(anywhere) == "other"


@pytest.mark.parametrize("words", [("-n", "third"), ("--namespace", "third"), ("--namespace=third",)], ids=" ".join)
def test_the_option_wins(
    words: tuple[str, ...], penstock: CommandLine, anywhere: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_NAMESPACE", "other")
    penstock.ok("runs", *words)
    assert asked(anywhere) == "third"


def test_another_context_and_another_kubeconfig(
    penstock: CommandLine, anywhere: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.loads(Path(os.environ["KUBECONFIG"]).read_text())
    body["contexts"].append({"name": "y", "context": {"cluster": "c", "user": "u", "namespace": "of-y"}})
    Path("mine").write_text(json.dumps(body))
    monkeypatch.delenv("KUBECONFIG")
    penstock.ok("runs", "--kubeconfig", "mine", "--context", "y")
    assert asked(anywhere) == "of-y"
    said = penstock.fails("runs", "--kubeconfig", "mine", "--context", "z")
    assert said == "error: kubeconfig context 'z' does not exist; there is x, y\n"
