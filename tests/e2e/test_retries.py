"""A run whose process dies takes up where it was, and so does a run that retries one that failed, on a real node."""

from __future__ import annotations

import json
from typing import Any

from installation import Penstock

API = "penstock.dev/v1alpha1"
FLOW = """
import os
from pathlib import Path
from penstock import flow, task

FOLDER = Path("/results/trace") / "NAME"


def note(word):
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "trace").open("a") as file:
        file.write(word + " ")


@task(persist_result=True)
def load(n: int) -> int:
    note("load")
    return n


@task(persist_result=True)
def double(n: int) -> int:
    note("double")
    if (FOLDER / "trace").read_text().count("double") == 1:
        os._exit(137)  # the container's first process cannot kill itself
    return 2 * n


@task
def check(n: int) -> int:
    note("check")
    if (FOLDER / "trace").read_text().count("check") == 1:
        raise ValueError("not yet")
    return n


@flow
def main(n: int) -> list:
    value = check(double(load(n)))
    return [value, (FOLDER / "trace").read_text().split()]
"""


def test_what_was_kept_is_not_done_again(penstock: Penstock, shared: str) -> None:
    uid = penstock.get("workpool", shared)["metadata"]["uid"]  # a folder of this session's own
    code = {"source": {"text": FLOW.replace("NAME", uid)}}
    flow: dict[str, Any] = {"apiVersion": API, "kind": "Flow", "metadata": {"name": "kept"}}
    penstock.apply({**flow, "spec": {"code": code, "entrypoint": "f:main"}})
    penstock.apply(
        {
            "apiVersion": API,
            "kind": "FlowRun",
            "metadata": {"name": "kept"},
            "spec": {
                "flowRef": {"name": "kept"},
                "workPool": shared,
                "parameters": {"n": 21},
                "infraRetries": {"limit": 1, "backoffSeconds": 0},
            },
        }
    )
    run = penstock.settled("kept", seconds=180)
    ended = [(entry["reason"], entry["attempt"]) for entry in run["status"]["history"]]
    assert (run["status"]["state"]["type"], run["status"]["attempt"]) == ("Failed", 2), ended
    assert run["status"]["tasks"]["cached"] == 1, "the first task, whose effect happened once"

    said = penstock.cli("retry", "kept", "--name", "kept-again", "--watch", "--output", "json", check=False)
    assert said.returncode == 0, said.stderr
    assert said.stderr == "", "the pool's folder is shared: nothing to warn of"
    again = json.loads(said.stdout)
    assert again["status"]["result"]["inline"] == [42, ["load", "double", "double", "check", "check"]]
    assert again["status"]["resolved"]["resultsOf"] == run["metadata"]["uid"]
    assert penstock.settled("kept-again")["status"]["tasks"]["cached"] == 2

    penstock.apply(
        {
            "apiVersion": API,
            "kind": "FlowRun",
            "metadata": {"name": "kept-by-hand"},
            "spec": {"flowRef": {"name": "kept"}, "retryOf": {"name": "kept", "uid": run["metadata"]["uid"]}},
        }
    )
    by_hand = penstock.settled("kept-by-hand", seconds=120)["status"]
    assert (by_hand["state"]["type"], by_hand["tasks"]["cached"]) == ("Completed", 2)
