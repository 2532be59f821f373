"""What can be told without a cluster; that tasks are run is tested with one, in `tests/integration/test_serving.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import builders
from module_files import loaded
from penstock import task
from penstock.background import BackgroundRun, delay, entrypoint_of, flow_manifest, flow_name, perform, run_body, serve
from penstock.deployments import Parent
from penstock.engine.remote import packed_answer
from penstock.errors import ConfigurationError, CrashedRun, FailedRun, ParameterBind
from penstock.manifests import CannotBeDeployed
from penstock.results.store import ResultStore
from penstock.states import State, StateType

CHORES = "from penstock import task\n\n@task(retries=1)\ndef mail(to: str):\n    return f'sent to {to}'\n"


@pytest.fixture
def chores(tmp_path: Path) -> Iterator[Any]:
    with loaded(tmp_path / "chores.py", CHORES, "chores") as module:
        yield module


def test_the_code_of_a_task_is_a_flow_of_its_file(chores: Any) -> None:
    body = flow_manifest(chores.mail)
    assert body["metadata"]["name"] == flow_name(chores.mail)
    assert body["metadata"]["name"].startswith("task-mail-")
    assert body["spec"] == {"entrypoint": "chores:mail", "code": {"source": {"text": CHORES}}}


def test_a_worker_runs_the_task_by_its_name(chores: Any) -> None:
    assert perform(entrypoint_of(chores.mail), ("ada",), {}) == "sent to ada"


def test_a_run_is_of_the_pool_unless_a_run_made_it(chores: Any) -> None:
    about = {"entrypoint": "chores:mail", "arguments": "file:///a", "result": "file:///r"}
    body = run_body("mail-1", chores.mail, about, None, "background-tasks")
    assert body["spec"] == {
        "flowRef": {"name": flow_name(chores.mail)},
        "task": about,
        "workPool": "background-tasks",
    }
    child = run_body("mail-1", chores.mail, about, Parent("shop", "uid", "root", False), "background-tasks")
    assert child["spec"]["parent"] == {"name": "shop", "uid": "uid", "awaited": False}
    assert "workPool" not in child["spec"], "a run chooses no pool for what it makes"


def test_arguments_are_checked_before_anything_is_sent(chores: Any) -> None:
    with pytest.raises(ParameterBind):
        delay(chores.mail, (), {"nobody": 1})


def test_a_task_in_no_file_cannot_be_found_by_a_worker() -> None:
    @task
    def inner() -> None: ...

    with pytest.raises(CannotBeDeployed, match="inside of a function or class"):
        delay(inner)


def test_what_is_no_task_is_not_served() -> None:
    with pytest.raises(ConfigurationError, match="serve wants tasks"):
        serve()


@pytest.mark.parametrize("kind", ["value", "error"])
def test_a_handle_gives_what_the_worker_has_kept(tmp_path: Path, kind: str) -> None:
    store = ResultStore(str(tmp_path))
    store.write("r", packed_answer(kind, 42 if kind == "value" else ValueError("row 3"), "it"))
    found = BackgroundRun[int](builders.flow_run(), store, "r")._answer(State(StateType.COMPLETED))
    assert found[0] == kind
    assert str(found[1]) == ("42" if kind == "value" else "row 3")


def test_a_run_that_kept_nothing_says_how_it_ended(tmp_path: Path) -> None:
    run = BackgroundRun[int](builders.flow_run(), ResultStore(str(tmp_path)), "r")
    assert isinstance(run._answer(State(StateType.CRASHED, message="OOMKilled"))[1], CrashedRun)
    missing = run._answer(State(StateType.COMPLETED))[1]
    assert isinstance(missing, FailedRun)
    assert "which its worker must reach" in str(missing)
