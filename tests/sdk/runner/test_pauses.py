"""Pauses of a run in its pod: what stands in the run, what answers it, and how it is suspended. The loopback's API
server has no watches, so that here the run is looked at again and again; `tests/integration` has the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from loopback_api import Json
from loopback_pod import Pod, environment, launched
from runner_process import Process

FLOW = """
from penstock import flow, pause_flow_run, suspend_flow_run, task
from penstock.errors import FlowPauseTimeout
from penstock.input import RunInput

class Approval(RunInput):
    approved: bool
    note: str = ""

@flow
def etl():
    BODY
"""


class Run:
    """A run on an API server of the loopback, and runners of its attempts."""

    def __init__(self, pod: Pod, account: Path, folder: Path) -> None:
        self.pod, self._account, self._folder = pod, account, folder

    def start(self, body: str, **more: str) -> Process:
        code = self._folder / "flow.py"
        code.write_text(FLOW.replace("BODY", body.replace("\n", "\n    ")))
        variables = {
            **environment(self.pod.run),
            "PENSTOCK_CODE": str(code),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.pod.server.port),
            "PENSTOCK_SERVICE_ACCOUNT": str(self._account),
            **more,
        }
        return Process(variables, self._folder / f"process-{self.pod.status['attempt']}")

    def state(self) -> tuple[str, str]:
        state = self.pod.status["state"]
        return state["name"], state.get("reason", "")

    def answer(self, pause: str, **given: Any) -> None:
        self.pod.run["spec"]["resume"] = {"pause": pause, "input": given}

    def conditions(self) -> list[tuple[str, str, str]]:
        return [(c["type"], c["status"], c["reason"]) for c in self.pod.status.get("conditions") or []]


@pytest.fixture
def run(pod: Pod, account: Path, tmp_path: Path) -> Run:
    return Run(pod, account, tmp_path)


def test_a_run_waits_in_its_process_and_takes_the_answer_that_fits(run: Run) -> None:
    with run.start("return pause_flow_run(wait_for_input=Approval).note") as process:
        process.until(lambda: run.state()[0] == "Paused")
        pause: Json = run.pod.status["pause"]
        assert pause["schema"]["properties"]["approved"]["type"] == "boolean"
        assert pause["deadline"].endswith("Z")
        run.answer("another-1", approved=True)
        process.until(lambda: run.conditions() == [("Answered", "False", "StaleAnswer")])
        run.answer(pause["id"], approved="perhaps")
        process.until(lambda: run.conditions() == [("Answered", "False", "InvalidInput")])
        assert "approved: Input should be a valid boolean" in run.pod.status["conditions"][0]["message"]
        assert run.state() == ("Paused", "Paused")
        run.answer(pause["id"], approved=True, note="fine")
        assert process.ends() == 0, process.stderr
    status = run.pod.status
    assert (status["state"]["type"], status["result"], status["runCount"]) == ("Completed", {"inline": "fine"}, 1)
    assert "pause" not in status
    assert [(a["pause"], a["input"]) for a in status["answers"]] == [(pause["id"], {"approved": True, "note": "fine"})]
    assert [name for name, _, _ in run.pod.history] == ["Running", "Paused", "Running", "Completed"]


def test_an_old_answer_never_answers_a_new_pause(run: Run) -> None:
    with run.start("pause_flow_run()\npause_flow_run()") as process:
        process.until(lambda: run.state()[0] == "Paused")
        first = run.pod.status["pause"]["id"]
        run.answer(first)
        process.until(lambda: run.pod.status.get("pause", {}).get("id") not in (None, first))
        assert run.state() == ("Paused", "Paused")
        run.answer(run.pod.status["pause"]["id"])
        assert process.ends() == 0, process.stderr
    assert run.state() == ("Completed", "Completed")


def test_nobodys_answer_in_time_is_an_error_of_the_flow(run: Run) -> None:
    with run.start("pause_flow_run(timeout=0.2)") as process:
        assert process.ends() == 0, process.stderr
    assert run.state() == ("Failed", "PauseTimedOut")
    assert "pause" not in run.pod.status


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attempt": 2, "pod": {"name": "run-2", "uid": "another"}}, "attempt 2 has the run, by pod another"),
        ({"state": {"type": "Crashed", "name": "Crashed", "reason": "NodeLost", "seq": 9}}, "the run is Crashed"),
    ],
    ids=["another attempt has it", "it has ended"],
)
def test_a_process_that_waits_ends_when_its_run_is_taken_from_it(run: Run, change: Json, said: str) -> None:
    """It might wait for ever: it writes nothing that would be refused."""
    with run.start("return pause_flow_run(wait_for_input=Approval, timeout=None).note") as process:
        process.until(lambda: run.state()[0] == "Paused")
        run.pod.status.update(change)
        assert process.ends() == 1
        assert said in process.stderr


def test_a_process_that_waits_ends_when_another_run_has_the_name_of_its_own(run: Run) -> None:
    with run.start("return pause_flow_run(wait_for_input=Approval, timeout=None).note") as process:
        process.until(lambda: run.state()[0] == "Paused")
        run.pod.run["status"] = {}
        run.pod.run["metadata"]["uid"] = "another"
        assert process.ends() == 1
        assert "another one has its name" in process.stderr


def test_a_suspended_run_ends_its_process_and_is_not_asked_again(run: Run, tmp_path: Path) -> None:
    body = "print('started', flush=True)\nanswer = suspend_flow_run(wait_for_input=Approval)\nreturn answer.note"
    store = {"PENSTOCK_RESULTS_STORAGE": str(tmp_path / "results"), "PENSTOCK_RESULTS_SHARED": "true"}
    with run.start(body, **store) as process:
        assert process.ends() == 0, process.stderr
    assert run.state() == ("Suspended", "Suspended")
    pause = run.pod.status["pause"]
    answers = [{"pause": pause["id"], "input": {"approved": True, "note": "fine"}, "time": "2026-01-01T06:00:00Z"}]
    run.pod.put(launched(attempt=2, seq=8, answers=answers))
    with run.start(body, **store) as process:
        assert process.ends() == 0, process.stderr
    assert (run.pod.status["state"]["type"], run.pod.status["result"]) == ("Completed", {"inline": "fine"})


@pytest.mark.parametrize(
    "store", [{}, {"PENSTOCK_RESULTS_STORAGE": "/tmp/results"}, {"PENSTOCK_RESULTS_STORAGE": "memory://x"}]
)
def test_without_results_that_the_next_pod_finds_nothing_is_suspended(run: Run, store: dict[str, str]) -> None:
    with run.start("suspend_flow_run()", **store) as process:
        assert process.ends() == 0, process.stderr
    assert run.state() == ("Failed", "NotSuspendable")
    assert "set spec.results.url of the WorkPool" in run.pod.status["state"]["message"]
