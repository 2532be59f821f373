"""The runner's process (`python -m penstock.runner`): what it leaves in the run, and its exit code."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest

from loopback import answer
from loopback_api import Json, Lost
from loopback_pod import Pod, environment, launched
from penstock.api import taskrecords
from penstock.runner.attempt import Interruption, Terminated
from penstock_cluster.control_plane import free_ports
from runner_process import LIVENESS, Process

FORBIDDEN = answer(403, {"kind": "Status", "reason": "Forbidden", "message": "RBAC: role not found"})

FLOW = """
    from penstock import flow, get_run_logger, runtime, task

    @task
    def double(n):
        return 2 * n

    @flow
    def etl(n: int = 3):
        print("user code", flush=True)
        get_run_logger().info("doubling %d", n)
        return sum(double.map(range(n)).result())
"""
WAITING = """
    import time
    from penstock import flow, task

    @task
    def step():
        return 1

    @flow{options}
    def etl():
        step()
        print("user code", flush=True)
        {body}
"""


class Runners:
    """Starts runners of the pods of one run."""

    def __init__(self, pod: Pod, account: Path, folder: Path) -> None:
        self.pod, self._account, self._folder = pod, account, folder
        self._stack = ExitStack()

    def variables(self, flow: str, pod: str = "pod-uid") -> dict[str, str]:
        """The environment that the operator, the kubelet and Kubernetes give to a pod."""
        code = self._folder / "flow.py"
        code.write_text(dedent(flow))
        return {
            **environment(self.pod.run, pod),
            "PENSTOCK_CODE": str(code),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.pod.server.port),
            "PENSTOCK_SERVICE_ACCOUNT": str(self._account),
        }

    def start(self, flow: str, pod: str = "pod-uid", **more: str | None) -> Process:
        variables: dict[str, str | None] = {**self.variables(flow, pod), **more}
        folder = self._folder / f"process-{len(list(self._folder.iterdir()))}"
        given = {name: value for name, value in variables.items() if value is not None}
        return self._stack.enter_context(Process(given, folder))

    def run(self, flow: str, **more: str | None) -> tuple[int, Process]:
        process = self.start(flow, **more)
        return process.ends(), process

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def runners(pod: Pod, account: Path, tmp_path: Path) -> Iterator[Runners]:
    folder = tmp_path / "runners"
    folder.mkdir()
    runners = Runners(pod, account, folder)
    yield runners
    runners.close()


class TestRuns:
    def test_a_run_is_claimed_run_and_ended(self, runners: Runners) -> None:
        """By three writes: claim, task records, end."""
        code, process = runners.run(FLOW)
        status = runners.pod.status
        assert code == 0, process.stderr
        assert (status["state"]["type"], status["result"]) == ("Completed", {"inline": 6})
        assert status["tasks"] == {"total": 3, "completed": 3, "summary": "3/3"}
        assert runners.pod.history == [("Running", 3, "pod-uid"), ("Completed", 4, "pod-uid")]
        assert [request.method for request in runners.pod.server.requests] == ["PATCH", "POST", "PATCH"]
        assert runners.pod.server.connections == 1

    def test_what_it_logs_is_json_with_the_runs_name(self, runners: Runners) -> None:
        _, process = runners.run(FLOW)
        lines = [json.loads(line) for line in process.stdout.splitlines() if line.startswith("{")]
        assert [(line["message"], line["run"]) for line in lines if "doubling" in line["message"]] == [
            ("doubling 3", "etl-1")
        ]
        assert process.stderr == ""

    def test_parameters_are_those_that_the_operator_resolved(self, runners: Runners) -> None:
        runners.pod.put(launched(parameters={"n": 5}))
        runners.pod.run["spec"]["parameters"] = {"n": 4}
        assert runners.run(FLOW)[0] == 0
        assert runners.pod.status["result"] == {"inline": 20}
        runners.pod.put(launched())
        runners.pod.run["spec"]["parameters"] = {"n": 4}
        assert runners.run(FLOW)[0] == 0
        assert runners.pod.status["result"] == {"inline": 12}

    def test_user_code_knows_the_run_it_is_in(self, runners: Runners) -> None:
        runners.pod.put(launched(attempt=2, seq=6, runCount=1, startTime="2026-01-01T06:00:00Z"))
        runners.pod.run["spec"] |= {"tags": ["nightly"], "scheduledTime": "2026-01-01T05:59:00Z"}
        runners.pod.run["spec"]["parent"] = {"name": "above", "uid": "above-uid"}
        names = ("id", "name", "run_count", "tags", "scheduled_start_time", "parent_flow_run_id")
        flow = f"""
            from penstock import flow
            from penstock.runtime import flow_run

            @flow
            def etl():
                return {{name: str(getattr(flow_run, name)) for name in {names}}}
        """
        code, process = runners.run(flow, PENSTOCK_DEPLOYMENT="etl")
        assert code == 0, process.stderr
        assert runners.pod.status["result"]["inline"] == {
            "id": "run-uid",
            "name": "etl-1",
            "run_count": "2",
            "tags": "['nightly']",
            "scheduled_start_time": "2026-01-01 05:59:00+00:00",
            "parent_flow_run_id": "above-uid",
        }
        assert runners.pod.status["runCount"] == 2

    def test_code_in_the_image_needs_no_file(self, runners: Runners) -> None:
        code, process = runners.run(FLOW, PENSTOCK_CODE=None, PENSTOCK_ENTRYPOINT="penstock.testing.flows:hello")
        assert code == 0, process.stderr
        assert runners.pod.status["result"] == {"inline": "Hello, Kubernetes!"}

    def test_threads_that_user_code_left_behind_hold_no_pod(self, runners: Runners) -> None:
        flow = flow_of("import threading; threading.Thread(target=threading.Event().wait).start()")
        code, process = runners.run(flow)
        assert code == 0, process.stderr


def flow_of(body: str) -> str:
    return f"from penstock import flow, task\nimport penstock.states as states\n@flow\ndef etl():\n    {body}\n"


ENDS: dict[str, tuple[str, str, str, str]] = {
    "user code raises": (flow_of("raise KeyError('REGION')"), "Failed", "Exception", "KeyError: 'REGION'"),
    "user code exits": (flow_of("raise SystemExit(3)"), "Crashed", "SystemExit", "SystemExit: 3"),
    "the flow is called with what it does not take": (
        "from penstock import flow\n@flow\ndef etl(m: int): ...\n",
        "Failed",
        "InvalidParameters",
        "etl(m: int): missing a required argument: 'm'",
    ),
    "the file is broken": ("def etl(:\n", "Failed", "ImportFailed", "the flow's file cannot be imported: SyntaxError"),
    "the file raises": ("raise OSError('no disk')\n", "Failed", "ImportFailed", "OSError: no disk"),
    "the file exits": ("import sys\nsys.exit(0)\n", "Failed", "ImportFailed", "SystemExit: 0"),
    "there is no such flow": ("x = 1\n", "Failed", "EntrypointNotFlow", "etl is not in flow"),
    "a look at the entrypoint raises": (
        "def __getattr__(name):\n    raise SystemExit(4)\n",
        "Crashed",
        "SystemExit",
        "SystemExit: 4",
    ),
    "the flow says that it is cancelled": (
        flow_of("return states.Cancelled(message='no data today')"),
        "Cancelled",
        "Cancelled",
        "no data today",
    ),
    "the flow says that it is to be run later": (
        flow_of("return states.Scheduled()"),
        "Failed",
        "NotCompleted",
        "which is none to end in",
    ),
}


@pytest.mark.parametrize(("flow", "type_", "reason", "message"), ENDS.values(), ids=ENDS)
def test_whatever_user_code_does_the_run_has_its_end(
    runners: Runners, flow: str, type_: str, reason: str, message: str
) -> None:
    """Written by the runner, which then exits with 0: whether the flow did well is the run's to say."""
    code, process = runners.run(flow)
    state = runners.pod.status["state"]
    assert (state["type"], state["reason"]) == (type_, reason), process.stderr
    assert message in state["message"]
    assert code == 0
    assert runners.pod.status["endTime"]


def test_the_traceback_of_code_that_cannot_be_loaded_is_in_the_log(runners: Runners) -> None:
    """The message has its last line only."""
    flow = "def connect():\n    raise OSError('no disk')\n\ndef prepare():\n    connect()\n\nprepare()\n"
    _, process = runners.run(flow)
    assert "in prepare\n    connect()" in process.stderr
    assert "OSError: no disk" in process.stderr


def test_a_result_that_is_too_large_is_omitted(runners: Runners) -> None:
    assert runners.run(flow_of("return 'x' * 5000"))[0] == 0
    assert runners.pod.status["state"]["type"] == "Completed"
    assert "5002 bytes of JSON" in runners.pod.status["result"]["omitted"]


class TestClaims:
    def test_the_second_pod_of_an_attempt_runs_nothing(self, runners: Runners) -> None:
        runners.pod.operator("Running", pod={"name": "etl-1-1", "uid": "first"})
        before = runners.pod.status
        code, process = runners.run(FLOW, PENSTOCK_SEQ="2")
        assert code == 0
        assert process.stdout == ""
        assert "attempt 1 of etl-1 is not this pod's" in process.stderr
        assert runners.pod.status == before

    def test_a_pod_that_may_not_claim_says_why(self, runners: Runners) -> None:
        """And fails, so that its last words are kept."""
        runners.pod.server.fault = lambda request: (
            answer(422, {"message": "status.pod: Invalid value"}) if request.method == "PATCH" else None
        )
        code, process = runners.run(FLOW)
        assert code == 1
        assert "the claim was refused: 422 status.pod: Invalid value" in process.stderr
        assert process.stdout == ""

    @pytest.mark.parametrize("missing", ["PENSTOCK_RUN", "PENSTOCK_SEQ", "PENSTOCK_POD_UID", "KUBERNETES_SERVICE_HOST"])
    def test_outside_of_such_a_pod_it_says_what_is_missing(self, runners: Runners, missing: str) -> None:
        code, process = runners.run(FLOW, **{missing: None})
        assert code == 2
        assert missing in process.stderr
        assert "Traceback" not in process.stderr
        assert runners.pod.server.requests == []

    def test_an_api_server_that_is_away_is_waited_for(self, runners: Runners) -> None:
        """The log says what the pod waits for."""
        left = [Lost.REQUEST] * 3
        runners.pod.server.fault = lambda _: left.pop() if left else None
        code, process = runners.run(FLOW)
        assert code == 0
        assert "the API server does not answer, which is tried until it does: EOFError" in process.stderr
        assert runners.pod.status["state"]["type"] == "Completed"


PROCESSES = """
    import os, threading
    from dataclasses import dataclass
    from penstock import flow, task
    from penstock.task_runners import {runner}

    LOCK = threading.Lock()  # no pickle takes it: the module is loaded, not sent

    @dataclass
    class Part:
        n: int
        pid: int

    @task
    def half(n):
        return n / 2

    @task
    def part(n):
        with LOCK:
            return Part(half(n), os.getpid())

    @flow(task_runner={made})
    def etl():
        parts = part.map([2, 4]).result()
        assert all(isinstance(part, Part) and part.pid != os.getpid() for part in parts)
        return sum(part.n for part in parts)
"""


class TestProcesses:
    """What loading executed from a mounted file is found by other processes, under the name that it has here."""

    @pytest.mark.parametrize("module", ["flow", "orders"])
    def test_a_process_pool(self, runners: Runners, module: str) -> None:
        code, process = runners.run(
            PROCESSES.format(runner="ProcessPoolTaskRunner", made="ProcessPoolTaskRunner(max_workers=2)"),
            PENSTOCK_ENTRYPOINT=f"{module}:etl",
        )
        assert runners.pod.status["state"]["type"] == "Completed", runners.pod.status["state"].get("message")
        assert code == 0, process.stderr
        assert runners.pod.status["result"] == {"inline": 3.0}
        assert runners.pod.status["tasks"]["total"] == 4

    def test_workers_of_dask(self, runners: Runners) -> None:
        made = 'DaskTaskRunner(cluster_kwargs={"n_workers": 1, "threads_per_worker": 2, "processes": True})'
        code, process = runners.run(PROCESSES.format(runner="DaskTaskRunner", made=made))
        assert runners.pod.status["state"]["type"] == "Completed", runners.pod.status["state"].get("message")
        assert code == 0, process.stderr
        assert runners.pod.status["result"] == {"inline": 3.0}


CLEANUP_FAILS = """try:
            time.sleep(60)
        finally:
            raise RuntimeError("the database is gone")"""
TASK_CLEANUP_FAILS = """
        @task(retries=3)
        def fragile():
            try:
                time.sleep(60)
            finally:
                raise RuntimeError("the database is gone")

        fragile()"""
SWALLOWS = """try:
            time.sleep(60)
        except BaseException:
            pass
        return "all the same\""""
ASYNC = """
    import asyncio
    from penstock import flow, task

    @task
    async def step():
        return 1

    @flow{options}
    async def etl():
        await step()
        print("user code", flush=True)
        {body}
"""
ASYNC_CLEANUP_FAILS = """try:
            await asyncio.sleep(60)
        finally:
            raise ValueError"""
HOOKED = """
    import time
    from penstock import flow

    def told(hook):
        return lambda flow, run, state: print(f"hook: {hook} {state.name}", flush=True)

    @flow(on_cancellation=[told("cancellation")], on_crashed=[told("crashed")])
    def etl():
        print("user code", flush=True)
        time.sleep(60)
"""


class TestSigterm:
    @pytest.mark.parametrize(
        "flow",
        {
            "it sleeps": WAITING.format(options="", body="time.sleep(60)"),
            "it computes": WAITING.format(options="", body="while True: pass"),
            "it would be tried again": WAITING.format(options="(retries=3)", body="time.sleep(60)"),
            "its cleanup fails": WAITING.format(options="", body=CLEANUP_FAILS),
            "its cleanup fails, and it would be tried again": WAITING.format(options="(retries=3)", body=CLEANUP_FAILS),
            "the cleanup of its task fails": WAITING.format(options="(retries=3)", body=TASK_CLEANUP_FAILS),
            "it calls into C": WAITING.format(
                options="", body="import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 2_000_000)"
            ),
            "it waits for a task": WAITING.format(
                options="", body="task(lambda: time.sleep(5), name='slow').submit().result()"
            ),
            "it has a deadline": WAITING.format(options="(timeout_seconds=50)", body="time.sleep(60)"),
            "it awaits": ASYNC.format(options="", body="await asyncio.sleep(60)"),
            "its cleanup fails, awaiting": ASYNC.format(options="", body=ASYNC_CLEANUP_FAILS),
            "its cleanup fails, awaiting, and it would be tried again": ASYNC.format(
                options="(retries=3)", body=ASYNC_CLEANUP_FAILS
            ),
        }.values(),
        ids=[
            "sleeps",
            "computes",
            "retries",
            "cleanup",
            "cleanup and retries",
            "cleanup of a task",
            "C",
            "task",
            "deadline",
            "async",
            "async cleanup",
            "async cleanup and retries",
        ],
    )
    def test_user_code_is_interrupted_and_no_end_is_written(self, runners: Runners, flow: str) -> None:
        """What it did is reported; what it means is the operator's to say."""
        process = runners.start(flow)
        process.until(lambda: "user code" in process.stdout)
        process.terminate()
        assert process.ends() == 143, process.stderr
        assert runners.pod.status["state"]["type"] == "Running"
        assert "endTime" not in runners.pod.status
        assert runners.pod.status["tasks"]["completed"] == 1
        (page,) = runners.pod.server.pages
        assert taskrecords.decode(page["data"])[0]["task"] == "step"

    def test_a_flow_that_ends_all_the_same_has_its_end(self, runners: Runners) -> None:
        """It caught what interrupted it, and returned."""
        process = runners.start(WAITING.format(options="", body=SWALLOWS))
        process.until(lambda: "user code" in process.stdout)
        process.terminate()
        assert process.ends() == 0, process.stderr
        assert runners.pod.status["state"]["type"] == "Completed"
        assert runners.pod.status["result"] == {"inline": "all the same"}

    def test_a_second_signal_changes_nothing(self, runners: Runners) -> None:
        """The first one's cleanup goes on."""
        body = "try:\n            time.sleep(60)\n        finally:\n            print('cleanup', flush=True)\n"
        body += "            time.sleep(1)\n            print('clean', flush=True)"
        process = runners.start(WAITING.format(options="", body=body))
        process.until(lambda: "user code" in process.stdout)
        process.terminate()
        process.until(lambda: "cleanup" in process.stdout)
        process.terminate()
        assert process.ends() == 143
        assert "clean\n" in process.stdout

    @pytest.mark.parametrize(
        ("why", "said"),
        [
            ("somebody cancelled it", "hook: cancellation Cancelling"),
            ("its pod is evicted", "hook: crashed Crashed"),
            ("nobody says why", "hook: crashed Crashed"),
        ],
    )
    def test_hooks_are_called_before_the_process_ends(self, runners: Runners, why: str, said: str) -> None:
        """By what is behind the signal, as far as that can be told."""
        process = runners.start(HOOKED)
        process.until(lambda: "user code" in process.stdout)
        if why == "somebody cancelled it":
            runners.pod.run["spec"]["cancel"] = True
        if why == "nobody says why":
            runners.pod.server.fault = lambda _: Lost.REQUEST
        process.terminate()
        assert process.ends() == 143, process.stderr
        assert [line for line in process.stdout.splitlines() if line.startswith("hook")] == [said]
        assert runners.pod.status["state"]["type"] == "Running"

    def test_hooks_of_a_subflow_hear_of_it_too(self, runners: Runners) -> None:
        subflow = HOOKED + "\n    inner = etl\n\n    @flow\n    def etl():\n        inner()\n"
        process = runners.start(subflow)
        process.until(lambda: "user code" in process.stdout)
        runners.pod.run["spec"]["cancel"] = True
        process.terminate()
        assert process.ends() == 143, process.stderr
        assert "hook: cancellation Cancelling" in process.stdout

    def test_before_the_claim_it_ends_at_once(self, runners: Runners) -> None:
        """The API server is away; nothing was begun."""
        runners.pod.server.fault = lambda _: Lost.REQUEST
        process = runners.start(FLOW)
        process.until(lambda: len(runners.pod.server.requests) > 1)
        process.terminate()
        assert process.ends() == 143
        assert "SIGTERM before the run was started" in process.stderr
        assert process.stdout == ""

    def test_while_code_is_loaded(self, runners: Runners) -> None:
        process = runners.start("import time\nprint('user code', flush=True)\ntime.sleep(60)\n")
        process.until(lambda: "user code" in process.stdout)
        process.terminate()
        assert process.ends() == 143
        assert runners.pod.status["state"]["type"] == "Running"

    def test_while_the_end_is_on_its_way(self, runners: Runners) -> None:
        """The flow is over, and its end is not given up for a pod that shall go."""
        process = runners.start(FLOW)
        runners.pod.server.fault = lambda request: (
            answer(503, "away") if b"Completed" in request.body and b"endTime" in request.body else None
        )
        process.until(lambda: any(b"endTime" in request.body for request in runners.pod.server.writes("/status")))
        process.terminate()
        runners.pod.server.fault = lambda _: None
        assert process.ends() == 0
        assert runners.pod.status["state"]["type"] == "Completed"

    def test_an_api_server_that_is_away_holds_up_no_end_of_the_pod(self, runners: Runners) -> None:
        """Well within the grace that Kubernetes gives: it is not killed."""
        process = runners.start(WAITING.format(options="", body="time.sleep(60)"))
        process.until(lambda: "user code" in process.stdout)
        runners.pod.server.fault = lambda _: answer(503, "away")
        process.terminate()
        assert process.ends() == 143


class TestFenced:
    def test_an_attempt_that_is_over_is_stopped_and_overwrites_nothing(self, runners: Runners) -> None:
        """Its user code is interrupted as soon as that is known."""
        body = "\n        ".join(["for n in range(1000):", "    step()", "    time.sleep(0.05)"])
        process = runners.start(WAITING.format(options="", body=body))
        process.until(lambda: "user code" in process.stdout)
        runners.pod.operator("Running", attempt=2, pod={"name": "etl-1-2", "uid": "other"})
        before = runners.pod.status
        assert process.ends() == 1
        assert "ProtocolMismatch: attempt 2 has the run, by pod other" in process.stderr
        assert runners.pod.status == before

    def test_one_that_learns_it_at_its_end_overwrites_nothing(self, runners: Runners) -> None:
        process = runners.start(
            WAITING.format(options="", body="import os\n        while not os.path.exists('go'): pass")
        )
        process.until(lambda: "user code" in process.stdout)
        runners.pod.operator("Cancelling")
        before: Json = runners.pod.status["state"]
        (process.folder / "go").touch()
        assert process.ends() == 1
        assert "the run is Cancelling" in process.stderr
        assert runners.pod.status["state"] == before


class TestInterruption:
    """SIGTERM as an exception, in this process."""

    @pytest.fixture(autouse=True)
    def restored(self) -> Iterator[None]:
        before = signal.getsignal(signal.SIGTERM)
        yield
        signal.signal(signal.SIGTERM, before)

    def test_within_its_block_it_is_raised_once(self) -> None:
        interruption, seen = Interruption(), []

        def user_code() -> None:
            try:
                signal.raise_signal(signal.SIGTERM)
            finally:
                signal.raise_signal(signal.SIGTERM)
                seen.append("cleanup")

        with pytest.raises(Terminated), interruption:
            user_code()
        assert seen == ["cleanup"]
        assert interruption.terminated

    def test_outside_it_is_kept_for_the_next_block(self) -> None:
        """A signal between claim and user code is not lost."""
        interruption = Interruption()
        with interruption:
            pass
        signal.raise_signal(signal.SIGTERM)
        entered = False
        with pytest.raises(Terminated), interruption:
            entered = True
        assert not entered

    def test_after_user_code_it_interrupts_nothing(self) -> None:
        interruption = Interruption()
        with interruption:
            pass
        signal.raise_signal(signal.SIGTERM)
        assert interruption.terminated

    def test_another_thread_can_interrupt(self) -> None:
        """Even what waits in the main thread."""
        interruption = Interruption()
        timer = threading.Timer(0.05, interruption.interrupt)
        timer.start()
        with pytest.raises(Terminated), interruption:
            threading.Event().wait(LIVENESS)
        timer.join()


def test_nobody_listens_where_the_api_server_should_be(runners: Runners) -> None:
    (port,) = free_ports(1)
    process = runners.start(FLOW, KUBERNETES_SERVICE_PORT=str(port))
    process.until(lambda: "does not answer" in process.stderr)
    assert "ConnectionRefusedError" in process.stderr
    process.terminate()
    assert process.ends() == 143


def test_user_code_is_collected_as_ever(runners: Runners) -> None:
    """The start is not: nothing of it is garbage."""
    source = "import gc\nfrom penstock import flow\nprint('collected', gc.isenabled(), flush=True)\n"
    process = runners.start(f"{source}@flow\ndef etl():\n    print('collected', gc.isenabled(), flush=True)\n")
    assert process.ends() == 0
    assert process.stdout.count("collected True") == 2


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter has after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


# What every run pays for: no HTTP library, no pydantic, no asyncio.
HEAVY = {"asyncio", "dataclasses", "email", "http.client", "httpx", "inspect", "logging", "pathlib", "pydantic"}


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import penstock.runner.__main__", HEAVY | {"json", "signal", "typing", "penstock.runner.status"}),
        ("import penstock.runner.attempt", HEAVY | {"typing", "penstock.engine"}),
        ("import importlib, penstock.runner.attempt as a; [*map(importlib.import_module, a.AHEAD)]", HEAVY),
    ],
    ids=["before it connects", "before it claims", "before user code"],
)
def test_the_runner_imports_little(code: str, absent: set[str]) -> None:
    assert imported(code).isdisjoint(absent)
