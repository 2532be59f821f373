"""The runner's process against a real API server, with the chart's policies: what it leaves in its run, and when.

There is no kubelet and no operator: the tests launch attempts, and make pods whose tokens the processes use.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import builders
from api_client import ApiClient, Refused
from cells import Cell
from penstock.api import durations
from penstock_cluster import control_plane as planes
from pod_stage import Stage, own_plane

ETL = """
    from penstock import flow, get_run_logger, task

    @task
    def double(n):
        return 2 * n

    @flow
    def etl(n: int = 3, **_):
        print("user code", flush=True)
        return {"sum": sum(double.map([n, n + 1, n + 2]).result()), "largest": 2**63 - 1, "text": "ü"}
"""
UNTIL_TOLD = """
    import os, time
    from penstock import flow, task

    @task
    def step(n):
        return n

    @flow
    def etl(**_):
        done = 0
        while not os.path.exists("go"):
            done = step(done + 1)
            print("user code", done, flush=True)
            time.sleep(0.02)
        return done
"""


@pytest.fixture
def stage(cell: Cell, control_plane: planes.ControlPlane, tmp_path: Path) -> Iterator[Stage]:
    stage = Stage(cell, control_plane, tmp_path)
    yield stage
    stage.close()


@pytest.fixture
def own_stage(tmp_path: Path) -> Iterator[Stage]:
    """On a control plane of its own, which may be killed."""
    with own_plane(tmp_path) as stage:
        yield stage


def test_a_run_is_claimed_run_and_ended_by_three_writes(stage: Stage) -> None:
    """Claim, task records, end; each accepted by schema, rules and policies."""
    process = stage.run(ETL)
    assert process.ends() == 0, process.stderr
    status = stage.status
    pod = status["pod"]
    assert pod["name"] == "run-1"
    assert stage.history == [("Running", 3, pod["uid"]), ("Completed", 4, pod["uid"])]
    assert [entry["attempt"] for entry in status["history"]] == [1, 1]
    assert status["state"] | {"time": ""} == {
        "type": "Completed",
        "name": "Completed",
        "reason": "Completed",
        "message": "",
        "seq": 4,
        "time": "",
    }
    assert status["result"]["inline"] == {"sum": 12, "largest": 2**63 - 1, "text": "ü"}
    assert status["tasks"] == {"total": 3, "completed": 3, "summary": "3/3"}
    started, ended = (datetime.fromisoformat(status[name]) for name in ("startTime", "endTime"))
    assert ended >= started
    assert (status["runCount"], status["duration"]) == (1, durations.shown((ended - started).total_seconds()))
    (page,) = stage.pages
    assert (page["records"], page["sealed"], page["run"]["name"]) == (3, False, "run")
    assert sorted(row["name"] for row in stage.records()) == ["double-0", "double-1", "double-2"]
    assert stage.writes() == ["patch flowruns 200", "create taskrunpages 201", "patch flowruns 200"]


def test_user_code_that_raises_fails_the_run_with_its_message(stage: Stage) -> None:
    process = stage.run("from penstock import flow\n\n@flow\ndef etl(**_):\n    raise ValueError('row 3 is bad')\n")
    assert process.ends() == 0
    state = stage.status["state"]
    assert (state["type"], state["reason"], state["message"]) == ("Failed", "Exception", "ValueError: row 3 is bad")
    assert "row 3 is bad" in process.stdout


def test_a_result_that_is_too_large_is_omitted(stage: Stage) -> None:
    process = stage.run("from penstock import flow\n\n@flow\ndef etl(**_):\n    return 'x' * 3000\n")
    assert process.ends() == 0
    assert stage.status["state"]["type"] == "Completed"
    omitted = stage.status["result"]["omitted"]
    assert omitted.startswith("3002 bytes of JSON, of which at most 2048 are kept here; where spec.results.url")


def test_cancelled_by_user_code_is_taken(stage: Stage) -> None:
    """Two steps in one write, which the rules of the resource allow."""
    code = "from penstock import flow, states\n\n@flow\ndef etl(**_):\n    return states.Cancelled(message='no data')\n"
    process = stage.run(code)
    assert process.ends() == 0, process.stderr
    uid = stage.status["pod"]["uid"]
    assert stage.history == [("Running", 3, uid), ("Cancelling", 4, uid), ("Cancelled", 5, uid)]
    assert stage.status["state"]["message"] == "no data"


def test_many_task_runs_are_on_sealed_pages(stage: Stage) -> None:
    """Written while the run goes on, by the rules of pages; each record once, and the counts of all."""
    code = """
        from penstock import flow, task

        @task
        def double(n):
            return 2 * n

        @flow
        def etl(**_):
            return sum(sum(double.map(range(500)).result()) for _ in range(10))
    """
    process = stage.run(code)
    assert process.ends() == 0, process.stderr
    assert stage.status["tasks"]["summary"] == "5000/5000"
    pages = stage.pages
    assert len(pages) > 1
    assert all(page["sealed"] for page in pages[:-1])
    ids = [row["id"] for row in stage.records()]
    assert len(ids) == len(set(ids)) == 5000
    assert sum(count for page in pages for entry in page["summary"] for count in entry["states"].values()) == 5000


def test_a_full_history_makes_room_for_the_end(stage: Stage) -> None:
    """The schema takes 64 entries: a run whose history is full has its end all the same."""
    stage.cell.run()
    old = [builders.run_state("Pending", n, attempt=1, writer="operator") for n in range(1, 64)]
    run = stage.cell.status("run", {"history": old, "observedSeq": 40, "state": builders.run_state("Pending", 63)})
    process = stage.start(ETL, stage.cell.pod("run-1"), run)
    assert process.ends() == 0, process.stderr
    uid = stage.status["pod"]["uid"]
    assert stage.history[-2:] == [("Running", 64, uid), ("Completed", 65, uid)]
    assert len(stage.history) <= 64
    assert {seq for _, seq, _ in stage.history} >= set(range(41, 66))


def test_of_two_pods_of_an_attempt_one_runs_user_code(stage: Stage) -> None:
    """A Job may start its pod twice; the one that comes second exits with 0, and leaves no trace."""
    run = stage.cell.run()
    first, second = stage.cell.pod("run-1-aaaaa"), stage.cell.pod("run-1-bbbbb")
    winner = stage.start(UNTIL_TOLD, first, run)
    winner.until(lambda: "user code" in winner.stdout)
    loser = stage.start(UNTIL_TOLD, second, run)
    assert loser.ends() == 0
    assert loser.stdout == ""
    assert "attempt 1 of run is not this pod's" in loser.stderr
    (winner.folder / "go").touch()
    assert winner.ends() == 0
    assert {writer for _, _, writer in stage.history} == {first.uid}


def test_an_attempt_that_a_newer_one_replaced_stops_and_overwrites_nothing(stage: Stage) -> None:
    process = stage.run(UNTIL_TOLD)
    process.until(lambda: "user code" in process.stdout)
    relaunched = {"state": builders.run_state("Pending", 9), "attempt": 2, "pod": None}
    before = stage.cell.status("run", relaunched)["status"]
    assert process.ends() == 1
    assert "ProtocolMismatch: attempt 2 has the run" in process.stderr
    assert stage.status == before
    assert not (process.folder / "go").exists()


def test_the_next_attempt_goes_on_where_the_last_was_lost(stage: Stage) -> None:
    """Its claim follows the operator's launch; the first start stays, and its pages stand beside the old ones."""
    process = stage.run(UNTIL_TOLD)
    process.until(lambda: "user code" in process.stdout)
    process.terminate()
    assert process.ends() == 143
    started = stage.status["startTime"]
    run = stage.cell.status("run", {"state": builders.run_state("Pending", 9), "attempt": 2, "pod": None})
    again = stage.start(ETL, stage.cell.pod("run-2"), run)
    assert again.ends() == 0, again.stderr
    assert stage.status["state"]["type"] == "Completed"
    assert stage.status["startTime"] == started
    assert [page["attempt"] for page in stage.pages] == [1, 2]


def test_a_run_that_is_deleted_stops_its_attempt(stage: Stage) -> None:
    process = stage.run(UNTIL_TOLD)
    process.until(lambda: "user code" in process.stdout)
    stage.cell.admin.delete("FlowRun", stage.cell.namespace, "run")
    assert process.ends() == 1
    assert "the run was deleted" in process.stderr


def test_sigterm_interrupts_user_code_and_writes_no_end(stage: Stage) -> None:
    """What was done until then is told: records and counts."""
    process = stage.run(UNTIL_TOLD)
    process.until(lambda: "user code 5" in process.stdout)
    process.terminate()
    assert process.ends() == 143
    assert [type_ for type_, _, _ in stage.history] == ["Running"]
    assert "endTime" not in stage.status
    assert stage.status["tasks"]["completed"] == len(stage.records()) >= 5


HOOKED = """
import pathlib, time
from penstock import flow

def told(flow, run, state):
    print("hook", state.name, run.name, flush=True)

@flow(on_cancellation=[told])
def inner():
    print("user code", flush=True)
    time.sleep(60)

@flow(on_cancellation=[told], on_crashed=[lambda *_: print("crashed", flush=True)])
def etl(**_):
    inner()
"""


def test_hooks_of_a_cancelled_run_run_in_its_pod(stage: Stage) -> None:
    """Also those of the subflow it was in, before those of its parent."""
    process = stage.run(HOOKED)
    process.until(lambda: "user code" in process.stdout)
    stage.cell.admin.merge("FlowRun", stage.cell.namespace, "run", {"spec": {"cancel": True}})
    process.terminate()
    assert process.ends() == 143
    hooks = [line for line in process.stdout.splitlines() if line.startswith(("hook", "crashed"))]
    assert [line.split()[1] for line in hooks] == ["Cancelling", "Cancelling"], process.stdout
    assert hooks[1].split()[2] == "run"


def test_a_run_whose_place_is_taken_is_not_cancelled(stage: Stage) -> None:
    process = stage.run(HOOKED)
    process.until(lambda: "user code" in process.stdout)
    process.terminate()
    assert process.ends() == 143
    assert "crashed" in process.stdout
    assert "hook" not in process.stdout


def test_a_run_that_is_being_cancelled_is_left_to_the_operator(stage: Stage) -> None:
    """The flow has ended meanwhile; whoever asked finds the run Cancelled."""
    process = stage.run(UNTIL_TOLD)
    process.until(lambda: "user code" in process.stdout)
    stage.cell.status("run", {"state": builders.run_state("Cancelling", 4)})
    (process.folder / "go").touch()
    assert process.ends() == 1
    assert stage.status["state"]["type"] == "Cancelling"


@pytest.mark.parametrize("when", ["while user code goes on", "as it ends"])
def test_an_api_server_that_is_killed_loses_nothing(own_stage: Stage, when: str) -> None:
    """User code goes on without it; records and end are delivered when it is back, each once."""
    process = own_stage.run(UNTIL_TOLD)
    process.until(lambda: "user code 3" in process.stdout)

    def done() -> int:
        return int(process.stdout.split()[-1])

    own_stage.plane.kill("kube-apiserver")
    before = done()
    if when == "as it ends":
        (process.folder / "go").touch()
    else:
        process.until(lambda: done() > before + 50)
    own_stage.plane.wait_ready()
    (process.folder / "go").touch()
    assert process.ends() == 0, process.stderr
    assert [type_ for type_, _, _ in own_stage.history] == ["Running", "Completed"]
    total = own_stage.status["result"]["inline"]
    assert own_stage.status["tasks"] == {"total": total, "completed": total, "summary": f"{total}/{total}"}
    assert sorted(row["name"] for row in own_stage.records()) == sorted(f"step-{n}" for n in range(total))


def test_a_paused_run_is_answered_through_its_spec_by_whoever_may_patch_it_and_not_by_itself(stage: Stage) -> None:
    run, pod = stage.cell.run(), stage.cell.pod("run-1")
    process = stage.start(
        """
        from penstock import flow, pause_flow_run
        from penstock.input import RunInput

        class Approval(RunInput):
            approved: bool

        @flow
        def etl(**_):
            return pause_flow_run(wait_for_input=Approval).approved
        """,
        pod,
        run,
    )
    process.until(lambda: stage.status["state"]["type"] == "Paused")
    pause = stage.status["pause"]
    assert pause["schema"]["properties"]["approved"]["type"] == "boolean"

    def answer(client: ApiClient, given: Any) -> None:
        resume = {"spec": {"resume": {"pause": pause["id"], "input": given}}}
        client.merge("FlowRun", stage.cell.namespace, "run", resume)

    with pytest.raises(Refused, match="cannot patch resource"):
        answer(pod.client, {"approved": True})
    answer(stage.cell.admin, {"approved": "perhaps"})
    process.until(lambda: [c["reason"] for c in stage.status.get("conditions") or []] == ["InvalidInput"])
    assert stage.status["state"]["type"] == "Paused"
    answer(stage.cell.admin, {"approved": True})
    assert process.ends() == 0, process.stderr
    status = stage.status
    assert (status["state"]["type"], status["result"]) == ("Completed", {"inline": True})
    assert [a["input"] for a in status["answers"]] == [{"approved": True}]
    assert "pause" not in status
