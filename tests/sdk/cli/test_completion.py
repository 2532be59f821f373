"""What shells complete, and how kubectl is answered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, refusal
from penstock.cli.completion import SHELLS, kubectl

Asked = Callable[..., list[str]]


@pytest.fixture
def asked(penstock: CommandLine, capsys: pytest.CaptureFixture[str]) -> Asked:
    def ask(*words: str) -> list[str]:
        capsys.readouterr()
        kubectl(list(words))
        return capsys.readouterr().out.splitlines()

    return ask


def having(cluster: Cluster, plural: str, *names: str) -> None:
    cluster.has(plural, *({"metadata": {"name": n, "creationTimestamp": "2026-01-01T00:00:00Z"}} for n in names))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_calls_the_command(shell: str, penstock: CommandLine) -> None:
    assert "_PENSTOCK_COMPLETE" in penstock.ok("completion", shell)


def test_bash_completes_with_it(tmp_path: Path) -> None:
    """In a real bash: the script is read, and its function asked what fits."""
    penstock = Path(sys.executable).parent / "penstock"
    script = f"""
PATH={penstock.parent}:$PATH
eval "$(penstock completion bash)"
COMP_WORDS=(penstock depl); COMP_CWORD=1
_penstock_completion penstock depl penstock
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["deploy", "deployments"]


def test_kubectl_is_told_commands_and_their_help(asked: Asked) -> None:
    found = asked("pool")
    assert [line.split("\t")[0] for line in found] == ["pools", ":4"]
    assert "\t" in found[0]


def test_names_are_completed_from_the_cluster(asked: Asked, cluster: Cluster) -> None:
    having(cluster, "workpools", "gpu", "default")
    assert asked("pools", "show", "g") == ["gpu", ":4"]
    assert cluster.last.path == f"{TEAM}/workpools"


def test_in_the_namespace_that_was_given(asked: Asked, cluster: Cluster) -> None:
    asked("pools", "show", "-n", "other", "")
    assert cluster.last.path == f"{TEAM.replace('team', 'other')}/workpools"


def test_a_run_is_of_a_deployment_or_a_file(asked: Asked, cluster: Cluster) -> None:
    having(cluster, "flowdeployments", "etl")
    assert asked("run", "e") == ["etl", ":0"]


def test_options_of_a_list_are_completed_too(asked: Asked, cluster: Cluster) -> None:
    having(cluster, "flowdeployments", "etl")
    assert asked("runs", "-d", "") == ["etl", ":4"]


def test_the_slugs_of_the_deployment_that_stands_before(asked: Asked, cluster: Cluster) -> None:
    schedules = [{"slug": slug, "cron": {"expression": "0 6 * * *"}} for slug in ("daily", "dawn", "weekly")]
    cluster.has("flowdeployments", {"metadata": {"name": "etl"}, "spec": {"schedules": schedules}})
    assert asked("schedules", "suspend", "etl", "da") == ["daily", "dawn", ":4"]
    assert asked("schedules", "resume", "etl", "daily", "w") == ["weekly", ":4"]


@pytest.mark.parametrize(
    ("words", "plural"),
    [
        (("schedules", "ls"), "flowdeployments"),
        (("schedules", "preview"), "flowdeployments"),
        (("variable", "get"), "variables"),
        (("block", "inspect"), "blocks"),
        (("artifact", "inspect"), "artifacts"),
        (("worker", "start", "--pool"), "workpools"),
        (("worker", "ls", "--pool"), "workpools"),
        (("deploy", "--pool"), "workpools"),
        (("run", "etl", "--pool"), "workpools"),
        (("serve", "--pool"), "workpools"),
        (("deploy", "--queue"), "workqueues"),
    ],
)
def test_wherever_a_name_is_wanted(asked: Asked, cluster: Cluster, words: tuple[str, ...], plural: str) -> None:
    having(cluster, plural, "one", "other")
    assert asked(*words, "on")[0] == "one"


def test_workers_go_by_their_own_names(asked: Asked, cluster: Cluster) -> None:
    path = "/apis/coordination.k8s.io/v1/namespaces/team/leases"
    cluster.replies[path] = Reply({"metadata": {}, "items": [{"metadata": {"name": "penstock-worker-laptop"}}]})
    assert asked("worker", "drain", "") == ["laptop", ":4"]


def test_without_a_cluster_nothing_is_said(asked: Asked) -> None:
    assert asked("show", "") == [":4"]


def test_nor_where_it_refuses(asked: Asked, cluster: Cluster) -> None:
    cluster.replies[f"{TEAM}/flowruns"] = refusal(403, "Forbidden", "cannot list")
    assert asked("show", "") == [":4"]
