"""The command against a real API server, from a file to the end of a run. No operator: the tests play it."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import builders
from api_client import ApiClient, Refused
from command_line import CommandLine
from penstock import readiness
from penstock_cluster import binaries
from penstock_cluster.control_plane import ControlPlane

Json = dict[str, Any]
PATIENCE = 60.0

ETL = '''
from penstock import flow


@flow
def etl(parts: int = 2, mode: str = "append"):
    """Load a day: all of it."""
'''


@pytest.fixture(autouse=True)
def etl(penstock: CommandLine) -> None:
    """`etl.py` in the folder."""
    Path("etl.py").write_text(ETL)


def state(seq: int, name: str, reason: str = "", message: str = "", type_: str | None = None) -> Json:
    time_ = f"2026-01-01T06:00:0{seq}Z"
    return {"type": type_ or name, "name": name, "reason": reason, "message": message, "time": time_, "seq": seq}


STORY = [
    state(1, "Scheduled", "Accepted"),
    state(2, "Pending", "Launched", "attempt 1"),
    state(3, "Running", "Started"),
]
COMPLETED = state(4, "Completed", "Completed")
FAILED = state(4, "TimedOut", "TimedOut", "the flow did not end within 5 s", "Failed")


class Operator:
    """Plays the operator and the runner: leads runs from state to state, as administrator."""

    def __init__(self, admin: ApiClient, namespace: str) -> None:
        self._admin, self._namespace = admin, namespace
        self._threads: list[threading.Thread] = []
        self._errors: list[BaseException] = []

    def write(self, run: str, states: list[Json], **status: Any) -> Json:
        """The run in the last of these states, with the others as its history."""
        history = [{**each, "writer": "operator"} for each in states]
        body = {"state": states[-1], "history": history, "attempt": 1, **status}
        return self._admin.merge("FlowRun", self._namespace, run, {"status": body}, "status")

    def play(self, run: str, end: Json, *, after: int = 0, **status: Any) -> None:
        """Meanwhile: once the run is there, lead it through the story, `after` so many steps of it, to this end."""

        def lead() -> None:
            try:
                self.wait(run)
                story = [*STORY, end]
                for step in range(after + 1, len(story) + 1):
                    self.write(run, story[:step], **(status if step == len(story) else {}))
            except BaseException as error:
                self._errors.append(error)

        self._threads.append(threading.Thread(target=lead))
        self._threads[-1].start()

    def wait(self, run: str, until: Callable[[Json], bool] = lambda _: True) -> Json:
        """The run once it is there and `until` holds."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                body = self._admin.get("FlowRun", self._namespace, run)
            except Refused as refused:
                if refused.code != 404 or time.monotonic() > deadline:
                    raise
            else:
                if until(body):
                    return body
                assert time.monotonic() < deadline, body
            time.sleep(0.05)

    def done(self) -> None:
        for thread in self._threads:
            thread.join(PATIENCE)
        assert self._errors == []


@pytest.fixture
def operator(admin: ApiClient, namespace: str) -> Iterator[Operator]:
    player = Operator(admin, namespace)
    yield player
    player.done()


@pytest.fixture
def deployed(penstock: CommandLine) -> CommandLine:
    """The command, with `etl.py` deployed."""
    penstock.ok("deploy", "etl.py")
    return penstock


def results(out: str) -> dict[str, str]:
    """Kind -> what was done, from the table of `deploy`."""
    return {line.split()[0]: " ".join(line.split()[2:]) for line in out.splitlines()[1:]}


class TestBuild:
    """The printed text, read by kubectl, is the same objects as those that `deploy` sends."""

    MISLEADING = (
        *("y", "no", "On", "null", "~", "", "1e3", "0o7", "010", "0x1F", "1_000", "12:30:45", "1.10", ".inf", "NaN"),
        *("2026-01-31", "2026-01-31T06:00:00Z", "a: b", "a # b", "*a", "&a", "!!int", "- a", "---", "...", "@a", "`a"),
        *(
            "%a",
            "|",
            ">",
            "[",
            "{",
            "?",
            "=",
            "<<",
            " a ",
            "a\tb",
            "a\rb",
            'a"b',
            "a'b",
            "\\n",
            "Ä🦋",
            "a\u2028b",
            "\x85",
        ),
        *("two\nlines", "two\nlines\n", "a\n\n\n", " a\nb", "a \nb", "\n", "a\n\tb", "#a\n#b\n", "a\r\nb"),
    )

    def test_kubectl_and_deploy_make_the_same_objects(
        self, penstock: CommandLine, admin: ApiClient, namespace: str, tmp_path: Path
    ) -> None:
        values = list(self.MISLEADING)
        defaults = "".join(f"    p{number}: str = {value!r},\n" for number, value in enumerate(values))
        head = "from penstock import flow\n\n\n@flow(version='1.10')\ndef odd(\n    texts: list,\n    y: str = 'y',\n"
        body = '):\n    """One: two # three\n\n    \ttab.\n    """\n'
        Path("odd.py").write_text(head + defaults + body, encoding="utf-8")
        texts = f"texts={json.dumps(values)}"
        words = ["odd.py", "-p", texts, "-p", "y=no", "-p", 'p0="1e3"', "-t", "0o7", "-t", "12:30", "--pool", "p"]
        kubectl = binaries.ensure(binaries.KUBERNETES_ONLY) / "kubectl"
        printed = penstock.ok("build", *words)
        applied = subprocess.run(
            [kubectl, "apply", "--namespace", namespace, "-f", "-"],
            input=printed.encode(),
            env={**os.environ, "HOME": str(tmp_path)},
            capture_output=True,
            check=False,
        )
        assert applied.returncode == 0, applied.stderr
        meant = {body["kind"]: body["spec"] for body in json.loads(penstock.ok("build", *words, "-o", "json"))["items"]}
        assert meant["FlowDeployment"]["parameters"]["texts"] == values
        assert {kind: admin.get(kind, namespace, "odd")["spec"] for kind in meant} == meant
        assert results(penstock.ok("deploy", *words)) == {"Flow": "unchanged", "FlowDeployment": "unchanged"}


class TestDeploy:
    """Created, unchanged, changed, and refused."""

    def test_what_was_done_is_said_of_each_object(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        assert results(penstock.ok("deploy", "etl.py")) == {"Flow": "created", "FlowDeployment": "created"}
        assert results(penstock.ok("deploy", "etl.py")) == {"Flow": "unchanged", "FlowDeployment": "unchanged"}
        assert admin.get("Flow", namespace, "etl")["metadata"]["generation"] == 1
        assert results(penstock.ok("deploy", "etl.py", "--pool", "gpu")) == {
            "Flow": "unchanged",
            "FlowDeployment": "changed",
        }
        Path("etl.py").write_text(ETL + "# new\n")
        assert results(penstock.ok("deploy", "etl.py", "--pool", "gpu")) == {
            "Flow": "changed",
            "FlowDeployment": "unchanged",
        }
        assert admin.get("Flow", namespace, "etl")["spec"]["code"]["source"]["text"] == ETL + "# new\n"

    def test_an_option_that_is_left_out_is_taken_back(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        """And what others wrote stays: schedules that kubectl added are not ours."""
        penstock.ok("deploy", "etl.py", "--pool", "gpu", "-t", "a")
        schedules = [{"slug": "hourly", "interval": {"seconds": 3600}}]
        admin.merge("FlowDeployment", namespace, "etl", {"spec": {"schedules": schedules}})
        penstock.ok("deploy", "etl.py", "-t", "b")
        spec = admin.get("FlowDeployment", namespace, "etl")["spec"]
        assert spec["tags"] == ["b"]
        assert spec["workPool"] == "default"
        assert [schedule["slug"] for schedule in spec["schedules"]] == ["hourly"]

    def test_a_dry_run_changes_nothing(self, penstock: CommandLine, admin: ApiClient, namespace: str) -> None:
        assert results(penstock.ok("deploy", "etl.py", "--dry-run")) == {
            "Flow": "created (dry run)",
            "FlowDeployment": "created (dry run)",
        }
        assert admin.list("Flow", namespace)["items"] == []
        penstock.ok("deploy", "etl.py")
        said = results(penstock.ok("deploy", "etl.py", "--pool", "gpu", "--dry-run"))
        assert said == {"Flow": "unchanged (dry run)", "FlowDeployment": "changed (dry run)"}
        assert admin.get("FlowDeployment", namespace, "etl")["spec"]["workPool"] == "default"

    def test_every_flow_of_a_file(self, penstock: CommandLine, admin: ApiClient, namespace: str) -> None:
        Path("etl.py").write_text(ETL + "\nfast = etl.with_options(name='fast', retries=2)\n")
        penstock.ok("deploy", "etl.py")
        found = {
            body["metadata"]["name"]: body["spec"]["entrypoint"] for body in admin.list("Flow", namespace)["items"]
        }
        assert found == {"etl": "etl:etl", "fast": "etl:fast"}

    @pytest.mark.parametrize(
        ("form", "read"),
        [("json", lambda text: json.loads(text)["items"]), ("yaml", lambda text: list(yaml.safe_load_all(text)))],
        ids=["json", "yaml"],
    )
    def test_programs_get_the_objects(
        self, form: str, read: Callable[[str], list[Json]], penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        found = read(penstock.ok("deploy", "etl.py", "-o", form))
        for body in found:
            stored = admin.get(body["kind"], namespace, "etl")
            del stored["metadata"]["managedFields"]
            assert body == stored
        assert [body["kind"] for body in found] == ["Flow", "FlowDeployment"]

    def test_a_refused_object_names_the_field_and_changes_nothing(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        """Such as by a policy of the cluster's own; the Flow, which it would take, is not written either."""
        forbid_pools(admin, namespace)
        said = penstock.fails("deploy", "etl.py", "--pool", "forbidden")
        assert said.startswith("error: FlowDeployment etl: ")
        assert "spec.workPool: not that one" in said
        assert said.endswith(". Nothing was changed.\n")
        assert admin.list("Flow", namespace)["items"] == []

    def test_a_missing_namespace_is_named(self, penstock: CommandLine) -> None:
        assert 'namespaces "nowhere" not found' in penstock.fails("deploy", "etl.py", "-n", "nowhere")

    def test_the_operators_word_is_waited_for(
        self, penstock: CommandLine, admin: ApiClient, namespace: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(readiness, "READY_SECONDS", PATIENCE)
        ready = {**builders.held("Ready", True, "Ready"), "observedGeneration": 1}

        def say() -> None:
            deadline = time.monotonic() + PATIENCE
            while not admin.list("FlowDeployment", namespace)["items"] and time.monotonic() < deadline:
                time.sleep(0.05)
            admin.merge("FlowDeployment", namespace, "etl", {"status": {"conditions": [ready]}}, "status")

        thread = threading.Thread(target=say)
        thread.start()
        said = penstock("deploy", "etl.py")
        thread.join()
        assert said.err == "\netl is ready. Start it with: penstock run etl --watch\n"


def forbid_pools(admin: ApiClient, namespace: str) -> None:
    """A policy that refuses work pools called `forbidden` in this namespace, once it is enforced."""
    api = "admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["penstock.dev"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["flowdeployments"],
    }
    expression = "!has(object.spec.workPool) || object.spec.workPool != 'forbidden'"
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": expression, "message": "spec.workPool: not that one"}],
    }
    here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": namespace, "validationActions": ["Deny"], "matchResources": here}
    for kind, about in (("ValidatingAdmissionPolicy", spec), ("ValidatingAdmissionPolicyBinding", binding)):
        admin.apply({"apiVersion": api, "kind": kind, "metadata": {"name": namespace}, "spec": about})
    probe = builders.changed(builders.good("FlowDeployment", namespace=namespace), {"spec.workPool": "forbidden"})
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            admin.create(probe, dry_run=True)
        except Refused as refused:
            if "not that one" in refused.message:
                return
            raise
        assert time.monotonic() < deadline, "the policy is not enforced"
        time.sleep(0.1)


class TestRun:
    """A run is made as it was asked for, or not at all."""

    def test_the_run_is_made_and_its_name_said(self, deployed: CommandLine, admin: ApiClient, namespace: str) -> None:
        out = deployed.ok("run", "etl", "-p", "parts=3", "--param", "mode=replace", "-t", "manual", "--pool", "gpu")
        found = re.fullmatch(
            r"flowrun\.penstock\.dev/(etl-[a-z2-7]{10}) created\. Follow it with: penstock watch \1\n", out
        )
        assert found
        run = admin.get("FlowRun", namespace, found[1])
        assert run["spec"] == {
            "deploymentRef": {"name": "etl"},
            "parameters": {"parts": 3, "mode": "replace"},
            "workPool": "gpu",
            "tags": ["manual"],
        }
        assert run["metadata"]["annotations"] == {"penstock.dev/cause": "manual"}

    @pytest.mark.parametrize("target", ["etl", "deployment/etl", "fd/etl", "flowdeployment.penstock.dev/etl"])
    def test_a_deployment_by_any_name(
        self, target: str, deployed: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        name = deployed.ok("run", target, "-o", "name").strip().rpartition("/")[2]
        assert admin.get("FlowRun", namespace, name)["spec"] == {"deploymentRef": {"name": "etl"}}

    def test_a_flow_without_its_deployment(self, deployed: CommandLine, admin: ApiClient, namespace: str) -> None:
        name = deployed.ok("run", "flow/etl", "-o", "name").strip().rpartition("/")[2]
        assert admin.get("FlowRun", namespace, name)["spec"] == {"flowRef": {"name": "etl"}}

    @pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
    def test_programs_get_the_run(
        self, form: str, read: Callable[[str], Json], deployed: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        told = read(deployed.ok("run", "etl", "-o", form))
        stored = admin.get("FlowRun", namespace, told["metadata"]["name"])
        del stored["metadata"]["managedFields"]
        assert told == stored

    def test_a_key_makes_one_run(self, deployed: CommandLine, admin: ApiClient, namespace: str) -> None:
        """Told as what it is the second time, so that nobody takes it for new."""
        first = deployed.ok("run", "etl", "--idempotency-key", "k")
        again = deployed.ok("run", "etl", "--idempotency-key", "k")
        assert again == first.replace("created", "was created with this key before")
        assert len(admin.list("FlowRun", namespace)["items"]) == 1
        deployed.ok("run", "etl", "--idempotency-key", "l")
        assert len(admin.list("FlowRun", namespace)["items"]) == 2
        assert "--idempotency-key k was used for another run" in deployed.fails(
            "run", "flow/etl", "--idempotency-key", "k"
        )

    def test_deployments_with_long_names_do_not_share_keys(
        self, penstock: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        """Their names differ only behind what a run's name has room for."""
        for end in "ab":
            penstock.ok("deploy", "etl.py", "--deployment-name", f"{'x' * 50}-{end}")
        names = {penstock.ok("run", f"{'x' * 50}-{end}", "--idempotency-key", "k", "-o", "name") for end in "ab"}
        assert len(names) == 2

    # Words after `run`, and what is said.
    REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
        "a deployment that is not there": (("elt",), "there is no deployment elt in namespace {}; did you mean etl?"),
        "nothing like it": (("zzz",), "there is no deployment zzz in namespace {}; there is etl"),
        "a flow that is not there": (("flow/elt",), "there is no flow elt in namespace {}; did you mean etl?"),
        "a parameter that does not fit": (
            ("etl", "-p", "parts=x"),
            "FlowDeployment etl: parts: 'x' is not of type 'integer'",
        ),
        "a name that is taken": (("etl", "--name", "taken"), "there is a run taken already: choose another --name"),
        "a name that cannot be": (("etl", "--name", "My run"), 'metadata.name: Invalid value: "My run"'),
        "a name that is too long": (
            ("etl", "--name", "x" * 53),
            "metadata.name: the name of a run is a DNS label of at most 52 characters",
        ),
        "a pool that cannot be": (("etl", "--pool", "My_Pool"), "spec.workPool"),
    }

    @pytest.mark.parametrize(("words", "message"), REFUSED.values(), ids=REFUSED)
    def test_what_cannot_be_is_refused(
        self, words: tuple[str, ...], message: str, deployed: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        deployed.ok("run", "etl", "--name", "taken")
        assert message.format(namespace) in deployed.fails("run", *words)
        assert len(admin.list("FlowRun", namespace)["items"]) == 1

    def test_without_any_deployment_the_way_to_one_is_said(self, penstock: CommandLine, namespace: str) -> None:
        assert penstock.fails("run", "etl") == (
            f"error: there is no deployment etl in namespace {namespace}; "
            "there are none yet: make one with `penstock deploy FILE.py`\n"
        )


class TestWatch:
    """A run is followed to its end, which is the command's."""

    def test_a_run_that_completes(self, deployed: CommandLine, operator: Operator) -> None:
        operator.play("r", COMPLETED, result={"inline": {"rows": 9}}, duration="3s")
        said = deployed("run", "etl", "--name", "r", "--watch")
        assert said.code == 0
        assert said.out.startswith(
            "06:00:01  Scheduled  Accepted\n06:00:02  Pending  attempt 1\n06:00:03  Running  Started\n"
            "06:00:04  Completed\nName:        r\nDeployment:  etl\nState:       Completed\n"
        )
        assert said.out.endswith('Result:\n  {\n    "rows": 9\n  }\n')

    def test_a_run_that_fails(self, deployed: CommandLine, operator: Operator) -> None:
        operator.play("r", FAILED)
        said = deployed("run", "etl", "--name", "r", "-w")
        assert said.code == 1
        assert "06:00:04  TimedOut  the flow did not end within 5 s\n" in said.out
        assert "State:       TimedOut\n" in said.out

    def test_a_run_that_is_under_way(self, deployed: CommandLine, operator: Operator) -> None:
        deployed.ok("run", "etl", "--name", "r")
        operator.write("r", STORY[:2])
        operator.play("r", COMPLETED, after=2)
        assert deployed("watch", "r").code == 0

    @pytest.mark.parametrize(("end", "code"), [(COMPLETED, 0), (FAILED, 1)], ids=["Completed", "Failed"])
    def test_programs_get_the_end_alone(self, end: Json, code: int, deployed: CommandLine, operator: Operator) -> None:
        operator.play("r", end)
        said = deployed("run", "etl", "--name", "r", "--watch", "-o", "json")
        assert said.code == code
        assert json.loads(said.out)["status"]["state"] == end

    def test_a_run_that_is_deleted(
        self, deployed: CommandLine, operator: Operator, admin: ApiClient, namespace: str
    ) -> None:
        deployed.ok("run", "etl", "--name", "r")
        thread = threading.Timer(0.5, lambda: admin.delete("FlowRun", namespace, "r"))
        thread.start()
        assert deployed.fails("watch", "r") == "error: run r was deleted\n"
        thread.join()

    def test_an_interrupt_leaves_the_run_going(
        self, deployed: CommandLine, operator: Operator, admin: ApiClient, namespace: str
    ) -> None:
        deployed.ok("run", "etl", "--name", "r")
        operator.write("r", STORY)
        # Where the tests were started in the background, SIGINT is ignored by all their children.
        words = ["env", "--default-signal=INT", sys.executable, "-m", "penstock.cli", "watch", "r"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            while "Running" not in process.stdout.readline():
                pass
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
            assert process.wait(PATIENCE) == 130
        assert said == "\nr goes on. See it again: penstock watch r; end it: penstock cancel r\n"
        assert admin.get("FlowRun", namespace, "r")["spec"] == {"deploymentRef": {"name": "etl"}}

    def test_on_a_terminal_there_is_a_panel(self, deployed: CommandLine, operator: Operator) -> None:
        """Drawn again and again, and gone at the end; what stays is the run, in colour."""
        operator.play("r", COMPLETED, tasks={"total": 2, "summary": "2/2"})
        seen, code = on_a_terminal("run", "etl", "--name", "r", "--watch")
        assert code == 0
        assert "State:       \x1b[32mCompleted\x1b[0m" in seen
        assert "06:00:03  Running  Started" in seen
        assert "tasks 2/2" in seen
        assert seen.count("Name:        r\n") == 1

    def test_no_color_is_honoured(
        self, deployed: CommandLine, operator: Operator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        deployed.ok("run", "etl", "--name", "r")
        operator.write("r", [*STORY, COMPLETED])
        assert "\x1b[32mCompleted" in on_a_terminal("runs")[0]
        monkeypatch.setenv("NO_COLOR", "1")
        seen, _ = on_a_terminal("runs")
        assert "Completed" in seen
        assert "\x1b[" not in seen
        assert on_a_terminal("show", "x")[0].startswith("error: there is no run x")


def on_a_terminal(*words: str) -> tuple[str, int]:
    """What a terminal of 120 columns gets from the command, and its exit code."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "LINES": "40", "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "penstock.cli", *words]
    with subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment) as process:
        os.close(follower)
        seen = b""
        while True:
            try:
                part = os.read(leader, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            seen += part
        code = process.wait(PATIENCE)
    os.close(leader)
    return seen.decode().replace("\r\n", "\n"), code


class TestLook:
    """Runs are seen as they are stored."""

    @pytest.fixture
    def three(self, deployed: CommandLine, operator: Operator) -> CommandLine:
        for name in ("first", "second", "third"):
            deployed.ok("run", "etl", "--name", name)
        operator.write("first", [*STORY, COMPLETED], settled=True)
        operator.write("second", STORY, startTime="2026-01-01T06:00:03Z")
        return deployed

    def test_a_list(self, three: CommandLine) -> None:
        rows = [line.split() for line in three.ok("runs").splitlines()]
        assert rows[0][:4] == ["NAME", "DEPLOYMENT", "STATE", "REASON"]
        assert [row[:3] for row in rows[1:3]] == [["first", "etl", "Completed"], ["second", "etl", "Running"]]
        assert rows[3][:2] == ["third", "etl"]

    def test_a_list_by_deployment_and_state(self, three: CommandLine) -> None:
        assert three.ok("runs", "-d", "etl", "-s", "running", "-o", "name") == "flowrun.penstock.dev/second\n"
        assert three("runs", "-d", "elt").err.endswith("did you mean etl?\n")

    @pytest.mark.parametrize(
        ("form", "read"),
        [("json", lambda text: json.loads(text)["items"]), ("yaml", lambda text: list(yaml.safe_load_all(text)))],
        ids=["json", "yaml"],
    )
    def test_a_list_for_programs(
        self, form: str, read: Callable[[str], list[Json]], three: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        found = read(three.ok("runs", "-o", form))
        stored = [admin.get("FlowRun", namespace, name) for name in ("first", "second", "third")]
        for body in stored:
            del body["metadata"]["managedFields"]
        assert found == stored

    def test_one_run_and_the_records_of_its_tasks(self, three: CommandLine, admin: ApiClient, namespace: str) -> None:
        """Not those of another run, nor of an earlier one that had its name."""
        uid = admin.get("FlowRun", namespace, "first")["metadata"]["uid"]
        for name, run, of in (("mine", "first", uid), ("old", "first", "other"), ("others", "second", uid)):
            summary = [{"task": name, "states": {"Completed": 2}}]
            changes = {"run": {"name": run, "uid": of}, "summary": summary, "failures": []}
            admin.create(builders.changed(builders.good("TaskRunPage", name, namespace), changes))
        out = three.ok("show", "first")
        assert "  mine: 2 Completed" in out
        assert "old" not in out
        assert "others" not in out

    @pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
    def test_one_run_for_programs(
        self, form: str, read: Callable[[str], Json], three: CommandLine, admin: ApiClient, namespace: str
    ) -> None:
        stored = admin.get("FlowRun", namespace, "second")
        del stored["metadata"]["managedFields"]
        assert read(three.ok("show", "fr/second", "-o", form)) == stored

    @pytest.mark.parametrize("command", ["show", "watch", "logs", "cancel"])
    def test_a_misspelt_run_is_told_the_right_one(self, command: str, three: CommandLine, namespace: str) -> None:
        said = three.fails(command, "frist")
        assert said == f"error: there is no run frist in namespace {namespace}; did you mean first?\n"

    def test_a_run_without_a_pod_has_no_logs(self, three: CommandLine) -> None:
        assert "third has no pod yet (not accepted)" in three.fails("logs", "third")
        assert "first is Completed and its pod is gone" in three.fails("logs", "first")


class TestCancel:
    """The request is written into the run; that is all there is to it."""

    def test_runs_under_way_are_asked_to_end(
        self, deployed: CommandLine, operator: Operator, admin: ApiClient, namespace: str
    ) -> None:
        for name in ("a", "b", "ended"):
            deployed.ok("run", "etl", "--name", name)
        operator.write("a", STORY)
        operator.write("ended", [*STORY, COMPLETED])
        names = deployed.ok("runs", "-o", "name").split()
        assert deployed.ok("cancel", *names).splitlines() == [
            "flowrun.penstock.dev/a is asked to end",
            "flowrun.penstock.dev/b is asked to end",
            "flowrun.penstock.dev/ended has ended already: Completed",
        ]
        asked = {
            body["metadata"]["name"]: body["spec"].get("cancel") for body in admin.list("FlowRun", namespace)["items"]
        }
        assert asked == {"a": True, "b": True, "ended": None}

    def test_asking_twice_is_no_error(self, deployed: CommandLine) -> None:
        deployed.ok("run", "etl", "--name", "r")
        assert deployed.ok("cancel", "r") == deployed.ok("cancel", "r")


def test_credentials_that_nobody_knows_are_told_so(
    penstock: CommandLine, control_plane: ControlPlane, tmp_path: Path
) -> None:
    config = json.loads(control_plane.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": "expired"}
    (tmp_path / "old").write_text(json.dumps(config))
    assert penstock.fails("runs", "--kubeconfig", str(tmp_path / "old")) == (
        "error: Unauthorized: the API server does not know these credentials; they may have expired\n"
    )
