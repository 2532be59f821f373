"""`penstock run FILE.py` on this machine, and what the command decides before a cluster is asked.

Runs in a cluster are in `integration/test_cli`.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import builders
from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, Request, refusal

Write = Callable[[str, str], Path]

ETL = """
from datetime import date

from penstock import flow, task


@task
def double(n: int) -> int:
    return 2 * n


@flow
def etl(parts: int, day: date = date(2026, 1, 1), mode: str = "append"):
    return f"{mode} {day:%d.%m.%Y} {[double(n) for n in range(parts)]}"
"""


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PROGRESS", "lines")


class TestHere:
    """A file's flow runs in this process, without a cluster."""

    def test_the_result_is_printed_and_the_story_told_aside(self, penstock: CommandLine, write: Write) -> None:
        write("etl.py", ETL)
        said = penstock("run", "etl.py", "-p", "parts=3")
        assert (said.code, said.out) == (0, "append 01.01.2026 [0, 2, 4]\n")
        assert re.search(r"flow run etl-\w+ \| Running\n", said.err)
        assert said.err.endswith("| Completed, 3 of 3 tasks done\n")

    def test_parameters_are_what_their_annotations_say(self, penstock: CommandLine, write: Write) -> None:
        """Text for a date, JSON for a number, and text that looks like JSON where it is quoted."""
        write("etl.py", ETL)
        out = penstock.ok("run", "etl.py", "-p", "parts=1", "-p", "day=2026-12-24", "-p", 'mode="7"')
        assert out == "7 24.12.2026 [0]\n"

    def test_processes_of_its_tasks_find_a_file_that_no_import_does(self, penstock: CommandLine, write: Write) -> None:
        """Its name is no module's."""
        write(
            "two-words.py",
            "from penstock import flow, task\n"
            "from penstock.task_runners import ProcessPoolTaskRunner\n"
            "@task\ndef double(n): return 2 * n\n"
            "@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))\n"
            "def main(): return double.submit(4).result()\n",
        )
        assert penstock.ok("run", "two-words.py:main") == "8\n"

    # The flow's declaration, words, and what is printed.
    KINDS: dict[str, tuple[str, tuple[str, ...], str]] = {
        "an async flow": ("async def f(n: int = 1):\n    return n", (), "1\n"),
        "a generator": ("def f(n: int = 2):\n    yield from range(n)", (), "[0, 1]\n"),
        "an async generator": ("async def f(n: int = 2):\n    for i in range(n):\n        yield i", (), "[0, 1]\n"),
        "no result": ("def f():\n    pass", (), ""),
        "a false result": ("def f():\n    return False", (), "False\n"),
        "a positional-only parameter": ("def f(n, /):\n    return n", ("-p", "n=3"), "3\n"),
        "arbitrary arguments": ("def f(*ns: int):\n    return sum(ns)", ("-p", "ns=[1, 2]"), "3\n"),
        "arbitrary parameters": (
            "def f(**named):\n    return named",
            ("-p", "a=1", "-p", "b=x"),
            "{'a': 1, 'b': 'x'}\n",
        ),
    }

    @pytest.mark.parametrize(("text", "words", "out"), KINDS.values(), ids=KINDS)
    def test_flows_of_every_kind(
        self, text: str, words: tuple[str, ...], out: str, penstock: CommandLine, write: Write
    ) -> None:
        write("f.py", f"from penstock import flow\n\n\n@flow\n{text}\n")
        assert penstock.ok("run", "f.py", *words) == out

    def test_watching_it_is_what_happens_anyway(self, penstock: CommandLine, write: Write) -> None:
        write("etl.py", ETL)
        assert penstock.ok("run", "etl.py", "--watch", "-p", "parts=0") == "append 01.01.2026 []\n"

    def test_a_flow_that_fails_is_exit_code_1(self, penstock: CommandLine, write: Write) -> None:
        """With the user's traceback, and none of ours."""
        write("f.py", "from penstock import flow\n\n@flow\ndef f():\n    raise ValueError('the disk is full')\n")
        words = [sys.executable, "-m", "penstock.cli", "run", "f.py"]  # apart: here, pytest takes what is logged
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert "ValueError: the disk is full" in done.stderr
        assert 'f.py", line 5, in f' in done.stderr
        assert "penstock/engine" not in done.stderr

    @pytest.mark.parametrize(
        "text",
        [
            "def f():\n    print('here', flush=True)\n    time.sleep(60)",
            "async def f():\n    print('here', flush=True)\n    await asyncio.sleep(60)",
        ],
        ids=["sync", "async"],
    )
    def test_an_interrupt_is_exit_code_130(self, text: str, penstock: CommandLine, write: Write) -> None:
        write("f.py", f"import asyncio, time\nfrom penstock import flow\n\n@flow\n{text}\n")
        # Where the tests were started in the background, SIGINT is ignored by all their children.
        words = ["env", "--default-signal=INT", sys.executable, "-m", "penstock.cli", "run", "f.py"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline() == "here\n"
            process.send_signal(signal.SIGINT)
            assert "Crashed" in process.stderr.read()
            assert process.wait(60) == 130

    def test_a_flow_that_was_cancelled_did_not_complete(self, penstock: CommandLine, write: Write) -> None:
        text = "from penstock.states import Cancelled\n\n@flow\ndef f():\n    return Cancelled(message='no data')\n"
        write("f.py", f"from penstock import flow\n{text}")
        said = penstock("run", "f.py")
        assert said.code == 1
        assert "Cancelled: no data" in said.err

    def test_one_of_several_is_chosen_by_name(self, penstock: CommandLine, write: Write) -> None:
        text = "from penstock import flow\n\n@flow\ndef a():\n    return 'a'\n\n@flow\ndef b():\n    return 'b'\n"
        write("two.py", text)
        assert penstock.ok("run", "two.py:b") == "b\n"
        said = penstock.fails("run", "two.py", code=2)
        assert said.endswith("error: two.py has several flows (a, b): choose one with two.py:NAME\n")

    # Words after `run`, the exit code, and what is said.
    WRONG: dict[str, tuple[tuple[str, ...], int, str]] = {
        "a missing parameter": (
            ("etl.py",),
            1,
            "missing a required argument: 'parts'; parameters are given with -p NAME=VALUE",
        ),
        "an unknown parameter": (
            ("etl.py", "-p", "parts=1", "-p", "moed=x"),
            1,
            "error: etl.py: there is no parameter moed, did you mean mode?",
        ),
        "a parameter that does not fit": (
            ("etl.py", "-p", "parts=many"),
            1,
            "parts: Input should be a valid integer",
        ),
        "a parameter that is no pair": (("etl.py", "-p", "parts"), 2, "'parts': write it as name=value"),
        "a missing file": (("elt.py",), 1, "error: elt.py: there is no such file; did you mean etl.py?"),
        "an unknown flow": (("etl.py:double",), 1, "error: etl.py: double is a Task, no flow; there is etl"),
        "options for the cluster": (
            ("etl.py", "--name", "x", "--pool", "p", "-t", "a", "-o", "json", "--idempotency-key", "k"),
            2,
            "--name, --idempotency-key, --pool, --tag, --output: only for runs in the cluster, and etl.py runs here; "
            "for the cluster, first: penstock deploy etl.py",
        ),
    }

    @pytest.mark.parametrize(("words", "code", "message"), WRONG.values(), ids=WRONG)
    def test_what_is_wrong_is_said_with_the_remedy(
        self, words: tuple[str, ...], code: int, message: str, penstock: CommandLine, write: Write
    ) -> None:
        write("etl.py", ETL)
        assert message in penstock.fails("run", *words, code=code)


class TestBeforeARunIsMade:
    """What is found out by reading alone: nothing is created by a command that fails."""

    @pytest.fixture
    def deployed(self, cluster: Cluster) -> Cluster:
        """Flow `load` with a parameter schema, deployment `etl` of it with some parameters, and one without a flow."""
        schema = {
            "type": "object",
            "properties": {"parts": {"type": "integer"}, "mode": {"type": "string"}},
            "required": ["parts", "mode"],
        }
        time = "2026-01-01T00:00:00Z"
        flow = builders.changed(builders.good("Flow", "load"), {"spec.parameters": schema})
        flow["metadata"]["creationTimestamp"] = time
        deployments = []
        for name, flow_name in (("etl", "load"), ("ahead", "later")):
            body = builders.good("FlowDeployment", name)
            body["metadata"]["creationTimestamp"] = time
            body["spec"] = {"flowRef": {"name": flow_name}, "parameters": {"mode": "append"}}
            deployments.append(body)
        cluster.has("flows", flow)
        cluster.has("flowdeployments", *deployments)
        return cluster

    def created(self, cluster: Cluster) -> list[object]:
        return [request.body for request in cluster.requests if request.method == "POST"]

    # Words after `run`, the exit code, and what is said.
    REFUSED: dict[str, tuple[tuple[str, ...], int, str]] = {
        "a deployment that is not there": (
            ("etk", "-p", "parts=1"),
            1,
            "there is no deployment etk in namespace team; did you mean etl?",
        ),
        "nothing like it": (("xyzzy",), 1, "there is no deployment xyzzy in namespace team; there are "),
        "a flow that is not there": (("flow/laod",), 1, "there is no flow laod in namespace team; did you mean load?"),
        "another kind": (("pool/etl",), 1, "'pool/etl' is no name of a deployment: write NAME or flowdeployment/NAME"),
        "nothing": (("",), 1, "'' is no name of a deployment"),
        "a missing parameter": (("etl",), 1, "FlowDeployment etl: parts must be given: -p parts=VALUE"),
        "a parameter that does not fit": (
            ("etl", "-p", "parts=x"),
            1,
            "FlowDeployment etl: parts: 'x' is not of type 'integer'",
        ),
        "a misspelt parameter": (
            ("etl", "-p", "parts=1", "-p", "moed=x"),
            1,
            "FlowDeployment etl: there is no parameter moed, did you mean mode?",
        ),
        "what the deployment gives is not given to a flow": (
            ("flow/load", "-p", "parts=1"),
            1,
            "Flow load: mode must be given: -p mode=VALUE",
        ),
        "two names": (
            ("etl", "--name", "a", "--idempotency-key", "b"),
            2,
            "--name and --idempotency-key both decide the name of the run: give one of them",
        ),
    }

    @pytest.mark.parametrize(("words", "code", "message"), REFUSED.values(), ids=REFUSED)
    def test_is_refused_with_the_remedy(
        self, words: tuple[str, ...], code: int, message: str, penstock: CommandLine, deployed: Cluster
    ) -> None:
        assert message in penstock.fails("run", *words, code=code)
        assert self.created(deployed) == []

    def test_what_is_asked_for_stands_in_the_run(self, penstock: CommandLine, deployed: Cluster) -> None:
        made: list[object] = []

        def create(request: Request) -> Reply:
            made.append(request.body)
            return Reply(request.body)

        deployed.replies[f"{TEAM}/flowruns"] = create
        words = ("etl", "--name", "r", "-p", "parts=3", "--pool", "gpu", "-t", "a", "-t", "b", "-o", "name")
        assert penstock.ok("run", *words) == "flowrun.penstock.dev/r\n"
        spec = {"deploymentRef": {"name": "etl"}, "parameters": {"parts": 3}, "workPool": "gpu", "tags": ["a", "b"]}
        assert made == [
            {
                "apiVersion": "penstock.dev/v1alpha1",
                "kind": "FlowRun",
                "metadata": {"name": "r", "annotations": {"penstock.dev/cause": "manual"}},
                "spec": spec,
            }
        ]

    def test_a_deployment_may_come_before_its_flow(self, penstock: CommandLine, deployed: Cluster) -> None:
        """Its runs wait for the flow, which is then no reason to refuse one."""
        deployed.replies[f"{TEAM}/flowruns"] = lambda request: Reply(request.body)
        said = penstock("run", "ahead", "--name", "r")
        assert said.code == 0
        assert said.out == "flowrun.penstock.dev/r created. Follow it with: penstock watch r\n"
        assert said.err == (
            "there is no flow later in namespace team; there is load; the run waits until it is applied\n"
        )

    def test_a_pool_may_come_after_its_run(self, penstock: CommandLine, deployed: Cluster) -> None:
        deployed.replies[f"{TEAM}/flowruns"] = lambda request: Reply(request.body)
        pool = builders.changed(
            builders.good("WorkPool", "gpu"), {"metadata.creationTimestamp": "2026-01-01T06:00:00Z"}
        )
        deployed.has("workpools", pool)
        assert penstock("run", "etl", "-p", "parts=1", "--pool", "gpu").err == ""
        said = penstock("run", "etl", "-p", "parts=1", "--pool", "gpuu")
        assert said.code == 0
        assert said.err == (
            "there is no pool gpuu in namespace team; did you mean gpu?; the run waits until it is applied\n"
        )

    def test_who_may_not_read_pools_may_name_one(self, penstock: CommandLine, deployed: Cluster) -> None:
        deployed.replies[f"{TEAM}/flowruns"] = lambda request: Reply(request.body)
        deployed.replies[f"{TEAM}/workpools/gpu"] = refusal(403, "Forbidden", "no")
        said = penstock("run", "etl", "-p", "parts=1", "--pool", "gpu")
        assert (said.code, said.err) == (0, "")

    # What the deployment says of itself, and what is said of its run.
    WAITS: dict[str, tuple[dict[str, object], dict[str, object], str]] = {
        "it is suspended": (
            {"suspend": True},
            {},
            "etl is suspended; the run waits until: penstock deployments resume etl\n",
        ),
        "its pool is not there": (
            {},
            builders.held("Ready", False, "WorkPoolNotFound", "WorkPool gpu is not in this namespace"),
            "etl is not ready: WorkPool gpu is not in this namespace\n",
        ),
        "a schedule of it is wrong": ({}, builders.held("Ready", False, "InvalidSchedule", "no"), ""),
        "it is ready": ({}, builders.held("Ready", True, "Ready", ""), ""),
    }

    @pytest.mark.parametrize(("spec", "condition", "said"), WAITS.values(), ids=WAITS)
    def test_why_its_run_will_wait_is_said(
        self,
        spec: dict[str, object],
        condition: dict[str, object],
        said: str,
        penstock: CommandLine,
        deployed: Cluster,
    ) -> None:
        deployed.replies[f"{TEAM}/flowruns"] = lambda request: Reply(request.body)
        body = builders.good("FlowDeployment", "etl")
        body["spec"] = {"flowRef": {"name": "load"}, "parameters": {"mode": "append"}, **spec}
        deployed.has("flowdeployments", {**body, "status": {"conditions": [condition] if condition else []}})
        assert penstock("run", "etl", "-p", "parts=1", "--name", "r").err == said

    def test_names_that_are_made_up_differ(self, penstock: CommandLine, deployed: Cluster) -> None:
        deployed.replies[f"{TEAM}/flowruns"] = lambda request: Reply(request.body)
        names = {penstock.ok("run", "etl", "-p", "parts=1", "-o", "name") for _ in range(3)}
        assert len(names) == 3
        assert all(re.fullmatch(r"flowrun\.penstock\.dev/etl-[a-z2-7]{10}\n", name) for name in names)

    def test_a_flow_with_dots_in_its_name_makes_good_names(self, penstock: CommandLine, cluster: Cluster) -> None:
        """A run's name is a DNS label; a flow's may have dots."""
        cluster.has("flows", builders.changed(builders.good("Flow", "my.flow"), {"spec.parameters": builders.GONE}))
        cluster.replies[f"{TEAM}/flowruns"] = lambda request: Reply(request.body)
        assert re.fullmatch(
            r"flowrun\.penstock\.dev/my-flow-[a-z2-7]{10}\n", penstock.ok("run", "flow/my.flow", "-o", "name")
        )

    def test_a_key_that_another_run_has_is_refused(self, penstock: CommandLine, deployed: Cluster) -> None:
        """The same key never makes a second run, and never shows a stranger's as its own."""

        def taken(request: Request) -> Reply:
            if request.method == "POST":
                return refusal(409, "AlreadyExists", "exists", name="r")
            return Reply({**builders.flow_run("Running"), "spec": {"flowRef": {"name": "etl"}}})

        deployed.answer = lambda request: taken(request) if "/flowruns" in request.path else deployed._reply(request)
        said = penstock.fails("run", "etl", "-p", "parts=1", "--idempotency-key", "k")
        assert said == "error: --idempotency-key k was used for another run, etl-1: choose another\n"
