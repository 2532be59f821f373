"""Workers outside of the cluster against a real API server: what they do for runs that are given to them.

The tests play the operator by hand.
"""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from builders import changed, good
from git_server import GitServer
from penstock import flow
from penstock.api import labels, names
from penstock.code import bundle
from penstock.results.storage import open_storage
from penstock.results.urls import parse
from storage_servers import S3Server
from worker_stage import Stage, WorkerProcess, stage, until

__all__ = ["stage"]

Json = dict[str, Any]

HELLO = dedent(
    """
    import os
    from penstock import flow, get_run_logger, task

    @task
    def double(n):
        return 2 * n

    @flow
    def main(n=3, **_):
        print("user code", os.environ.get("REGION"))
        get_run_logger().info("logged")
        return sum(double.map([n, n]).result())
    """
)
UNTIL_TOLD = dedent(
    """
    import time
    from penstock import flow

    @flow
    def main(**_):
        print("user code")
        time.sleep(120)
    """
)


def test_a_run_is_executed_in_a_process_of_the_worker_it_is_given_to(stage: Stage) -> None:
    operator, worker = stage.given(HELLO, env={"REGION": "north"})
    until(lambda: operator.state("run") == "Completed", lambda: f"{operator.get('run')} {worker.said}")
    status = operator.get("run")["status"]
    assert status["result"] == {"inline": 12}
    assert status["tasks"]["summary"] == "2/2"
    assert status["pod"] == {"name": "laptop", "uid": operator.uid("laptop")}
    assert "exited" not in status["worker"]
    assert "user code north" in worker.text("run")
    assert "logged" in worker.text("run")
    assert {(record["run"], record["attempt"]) for record in worker.lines("run")} == {("run", 1)}


def test_a_worker_says_which_modules_it_has_imported(stage: Stage) -> None:
    worker = stage.worker("laptop", "--preload", "wave", "--preload", "no_such_module")
    lease = stage.operator.lease("laptop")
    assert lease is not None
    assert json.loads(lease["metadata"]["annotations"][labels.WORKER_FACTS])["preloaded"] == ["wave"], worker.said
    assert "no_such_module cannot be preloaded" in worker.said


def code(body: str) -> str:
    """A flow's file whose `main` does this."""
    lines = "\n".join(f"    {line}" for line in dedent(body).strip().splitlines())
    return f"import os, subprocess, sys, time\nfrom penstock import flow, task\n\n@flow\ndef main(**_):\n{lines}\n"


def test_runs_of_one_worker_know_nothing_of_each_other(stage: Stage) -> None:
    """Modules, environment, folder and threads of one are gone when the next begins."""
    text = code(
        """
        import json, threading
        seen = [getattr(json, "mark", None), os.environ.get("MARK"), os.listdir("."), threading.active_count()]
        json.mark, os.environ["MARK"] = 1, "1"
        open("file", "w").close()
        return seen
        """
    )
    operator, _ = stage.operator, stage.worker()
    for name in ("one", "two"):
        operator.run(name, text)
        operator.assign(name, "laptop")
        until(lambda name=name: operator.state(name) == "Completed", name)  # type: ignore[misc]
    results = [operator.get(name)["status"]["result"]["inline"] for name in ("one", "two")]
    assert results[0] == results[1]
    assert results[0][:2] == [None, None]


def test_a_run_imports_nothing_of_penstock_that_its_executor_has_not(stage: Stage) -> None:
    """An import after the fork is paid for by every run."""
    program = "import sys; from penstock.worker.executor import preload; preload(()); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    text = code(
        """
        @task
        def double(n):
            return 2 * n

        double.submit(double(1)).result()
        exits = os._exit

        def tell_and_exit(status):
            with open("modules", "w") as file:
                file.write(" ".join(sys.modules))
            os.rename("modules", os.environ["TOLD"])
            exits(status)

        os._exit = tell_and_exit
        """
    )
    told = stage.folder / "modules"
    operator, worker = stage.given(text, env={"TOLD": str(told)})
    until(lambda: operator.state("run") == "Completed", lambda: worker.said)
    until(told.exists, lambda: worker.said)
    penstocks = {name for name in told.read_text().split() if name.startswith("penstock.")}
    assert "penstock.runner.loading" in penstocks
    assert penstocks <= set(done.stdout.split())


def test_a_run_that_is_to_be_cancelled_is_ended_and_its_end_is_told(stage: Stage) -> None:
    operator, worker = stage.given(UNTIL_TOLD)
    until(lambda: "user code" in worker.text("run"), "user code")
    operator.enter("run", "Cancelling")
    exited = until(lambda: operator.exited("run"), lambda: worker.said)
    assert (exited["attempt"], exited["exitCode"], exited["reason"]) == (1, 143, "ContainerExited")
    assert operator.state("run") == "Cancelling", "the rest is the operator's"


@pytest.mark.parametrize("how", ["an end is asked for", "it was deleted", "another attempt has it"])
def test_a_process_that_should_not_be_is_ended(stage: Stage, how: str) -> None:
    pid = code('print("pid", os.getpid()); time.sleep(120)')
    operator, worker = stage.given(pid)
    until(lambda: "pid" in worker.text("run"), "user code")
    process = int(worker.text("run").split()[-1])
    if how == "an end is asked for":
        operator.ask_for_end("run")
    elif how == "it was deleted":
        operator.admin.delete("FlowRun", operator.namespace, "run")
    else:
        operator.assign("run", "laptop", attempt=2)
        until(lambda: worker.text("run").count("pid") == 2, "the new attempt's process")
    until(lambda: not alive(process), "its end")


@pytest.mark.parametrize(
    ("body", "exit_code", "message"),
    [
        ("os._exit(3)", 3, "exit code 3"),
        ("os.kill(os.getpid(), 9)", 137, "SIGKILL"),
        ("os.kill(os.getpid(), 11)", 139, "SIGSEGV"),
    ],
)
def test_a_process_that_ends_without_a_word_is_told_of(stage: Stage, body: str, exit_code: int, message: str) -> None:
    operator, worker = stage.given(code(body))
    exited = until(lambda: operator.exited("run"), lambda: worker.said)
    assert exited["exitCode"] == exit_code
    assert message in exited["message"]
    assert operator.state("run") == "Running"


def test_nothing_of_a_run_is_left_when_it_has_ended(stage: Stage) -> None:
    """Neither its group nor what has made itself a daemon; as when a container ends."""
    text = code(
        """
        quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        sleeper = subprocess.Popen(["sleep", "300"], **quiet)
        other = [sys.executable, "-c", "import subprocess as s; print(s.Popen(['sleep', '300'], start_new_session=True,"
                 " stdout=-3, stderr=-3).pid)"]
        return [sleeper.pid, int(subprocess.run(other, stdout=subprocess.PIPE).stdout)]
        """
    )
    operator, _ = stage.given(text)
    until(lambda: operator.state("run") == "Completed", lambda: str(operator.get("run")["status"]))
    for pid in operator.get("run")["status"]["result"]["inline"]:
        until(lambda pid=pid: not alive(pid), "its end")  # type: ignore[misc]


def test_a_run_writes_subflows_artifacts_and_variables_through_its_worker(stage: Stage) -> None:
    text = dedent(
        """
        from penstock import flow, task
        from penstock.artifacts import create_markdown_artifact
        from penstock.variables import Variable
        from penstock.events import emit_event

        @flow
        def inner(n):
            return n + 1

        @flow
        def main(**_):
            create_markdown_artifact("# hi", key="report")
            create_markdown_artifact("# once")
            Variable.set("region", "north", overwrite=True)
            emit_event("order.shipped", {"penstock.resource.id": "order.1"})
            return [inner(1), Variable.get("region")]
        """
    )
    operator, worker = stage.given(text)
    until(lambda: operator.state("run") in ("Completed", "Failed"), lambda: worker.said)
    status = operator.get("run")["status"]
    assert status["state"]["type"] == "Completed", worker.text("run")
    assert status["result"]["inline"] == [2, "north"]
    (child,) = [
        body
        for body in operator.admin.list("FlowRun", operator.namespace)["items"]
        if body["spec"].get("infrastructure") == "Parent"
    ]
    assert child["status"]["state"]["type"] == "Completed"
    assert child["status"]["pod"] == status["pod"]
    assert child["metadata"]["annotations"]["penstock.dev/worker-uid"] == operator.uid("laptop")
    artifacts = operator.admin.list("Artifact", operator.namespace)["items"]
    assert sorted(body["spec"].get("key", "") for body in artifacts) == ["", "report"]
    events = operator.admin.list("Event", operator.namespace)["items"]
    assert "order.shipped" in [body["reason"] for body in events]


def test_a_run_cannot_write_another(stage: Stage) -> None:
    """Whatever user code sends over its socket; the worker's own rights are the administrator's here."""
    text = code(
        """
        from penstock.runner.connection import JSON_PATCH, Api
        api = Api.from_environment()
        root = f"/apis/penstock.dev/v1alpha1/namespaces/{os.environ['PENSTOCK_NAMESPACE']}/flowruns"
        ops = [{"op": "add", "path": "/status/runCount", "value": 7}]
        asked = [
            api.request("PATCH", f"{root}/victim/status", ops, JSON_PATCH),
            api.request("DELETE", f"{root}/victim"),
            api.request("GET", "/api/v1/namespaces/kube-system/secrets"),
            api.request("PATCH", f"{root}/run/status", [{**ops[0], "path": "/status/settled"}], JSON_PATCH),
        ]
        return [answer.status for answer in asked]
        """
    )
    operator, worker = stage.operator, stage.worker()
    operator.run("victim", text)
    operator.run("run", text)
    operator.assign("run", "laptop")
    until(lambda: operator.state("run") == "Completed", lambda: worker.text("run"))
    assert operator.get("run")["status"]["result"]["inline"] == [403, 403, 403, 403]
    assert "runCount" not in operator.get("victim")["status"]


def test_code_that_cannot_be_fetched_is_told_of(stage: Stage) -> None:
    operator, worker = stage.operator, stage.worker()
    operator.run("run", HELLO)
    operator.admin.delete("ConfigMap", operator.namespace, operator.source(HELLO))
    operator.assign("run", "laptop")
    exited = until(lambda: operator.exited("run"), lambda: worker.said)
    assert exited["reason"] == "StartFailed"
    assert "not found" in exited["message"]


def test_code_that_is_not_where_it_should_be_costs_its_run_and_not_the_worker(stage: Stage) -> None:
    operator, worker = stage.operator, stage.worker()
    operator.run("run", HELLO)
    meta = {"name": "other", "namespace": operator.namespace}
    operator.admin.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"another.py": ""}})
    operator._status("run", {"resolved": {"code": {"configMap": "other"}}})
    operator.assign("run", "laptop")
    exited = until(lambda: operator.exited("run"), lambda: worker.said)
    assert exited["reason"] == "StartFailed"
    assert "ConfigMap other has no flow.py" in exited["message"]
    assert worker.process.poll() is None


def test_a_bundle_is_opened_in_a_worker(stage: Stage) -> None:
    @flow
    def packed(**_: object) -> str:
        return "from a bundle"

    operator, worker = stage.operator, stage.worker()
    operator.run("run", HELLO)
    made = bundle.pack(packed)
    meta = {"name": "bundle", "namespace": operator.namespace}
    operator.admin.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "binaryData": {"flow.bundle": made.text}}
    )
    versions = {"pythonVersion": made.python_version, "penstockVersion": made.penstock_version}
    operator._status("run", {"resolved": {"code": {"kind": "bundle", "configMap": "bundle", **versions}}})
    operator.assign("run", "laptop")
    until(lambda: operator.state("run") == "Completed", lambda: worker.text("run"))
    assert operator.get("run")["status"]["result"]["inline"] == "from a bundle"


def test_code_that_is_fetched_is_told_of_by_a_run_in_a_worker(stage: Stage, tmp_path: Path) -> None:
    """The commit of a branch, and the digest of an archive: each in the run's status, before user code begins."""
    text = code("return 'fetched'")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flow.py", text)
    for folder in ("repositories", "s3"):
        (tmp_path / folder).mkdir()
    s3 = S3Server(tmp_path / "s3")
    keys = {"AWS_ACCESS_KEY_ID": s3.KEY, "AWS_SECRET_ACCESS_KEY": s3.SECRET, "AWS_REGION": "us-east-1"}
    with GitServer(tmp_path / "repositories") as git, ExitStack() as stack:
        s3.start()
        stack.callback(s3.stop)
        commit = git.repository("flows").commit({"flow.py": text})
        bucket = parse(s3.bucket())
        open_storage(bucket, keys).put("flows.zip", packed.getvalue())
        stage.worker("laptop", **keys)
        found = {
            "git": ({"url": git.url("flows"), "ref": "main"}, {"commit": commit}),
            "archive": (
                {"url": str(bucket.child("flows.zip"))},
                {"digest": names.content_digest(packed.getvalue())},
            ),
        }
        operator = stage.operator
        for kind, (given, _) in found.items():
            operator.run(kind, HELLO)
            operator._status(kind, {"resolved": {"code": {"digest": None, "configMap": None, "kind": kind, **given}}})
            operator.assign(kind, "laptop")
        for kind, (_, told) in found.items():
            until(lambda kind=kind: operator.state(kind) in ("Completed", "Failed"), kind)  # type: ignore[misc]
            status = operator.get(kind)["status"]
            assert (status["state"]["type"], status.get("code")) == ("Completed", told), status
            assert status["result"]["inline"] == "fetched"


def test_an_executor_that_dies_takes_its_runs_along_and_another_takes_its_place(stage: Stage) -> None:
    operator, worker = stage.given(code('print("executor", os.getppid(), os.getpid()); time.sleep(120)'))
    until(lambda: "executor" in worker.text("run"), "user code")
    executor, process = map(int, worker.text("run").split()[-2:])
    os.kill(executor, signal.SIGKILL)
    exited = until(lambda: operator.exited("run"), lambda: worker.said)
    assert "executor" in exited["message"]
    until(lambda: not alive(process), "the end of its process")
    operator.run("next", HELLO)
    operator.assign("next", "laptop")
    until(lambda: operator.state("next") == "Completed", lambda: worker.said)


def test_a_worker_that_dies_leaves_no_process(stage: Stage) -> None:
    _, worker = stage.given(code('print("pid", os.getpid()); time.sleep(120)'))
    until(lambda: "pid" in worker.text("run"), "user code")
    process = int(worker.text("run").split()[-1])
    worker.process.kill()
    until(lambda: not alive(process), "its end")


def test_a_worker_that_hangs_ends_its_runs_before_they_can_be_tried_elsewhere(stage: Stage) -> None:
    """Its executor does, by its own clock; awake again, it is another worker."""
    operator = stage.operator
    operator.pool(onWorkerLost="Retry")
    worker = stage.worker()
    before = operator.uid("laptop")
    operator.run("run", code('print("pid", os.getpid()); time.sleep(120)'))
    operator.assign("run", "laptop")
    until(lambda: "pid" in worker.text("run"), "user code")
    process = int(worker.text("run").split()[-1])
    worker.process.send_signal(signal.SIGSTOP)
    stopped = time.monotonic()
    until(lambda: not alive(process), "its end")
    assert time.monotonic() - stopped < 30, "before the Lease is over"
    worker.process.send_signal(signal.SIGCONT)
    until(lambda: operator.uid("laptop") != before, lambda: worker.said)
    operator.run("next", HELLO)
    operator.assign("next", "laptop")
    until(lambda: operator.state("next") == "Completed", lambda: worker.said)


def test_a_worker_that_is_stopped_lets_its_runs_end_and_goes(stage: Stage) -> None:
    operator, worker = stage.given(code('print("user code"); time.sleep(3); return 1'))
    until(lambda: "user code" in worker.text("run"), "user code")
    worker.process.terminate()
    lease = until(lambda: (found := operator.lease("laptop")) and draining(found), lambda: worker.said)
    assert lease, "no more runs are given to it"
    assert worker.process.wait(60) == 0
    assert operator.state("run") == "Completed"
    assert operator.lease("laptop") is None


def test_a_worker_that_is_stopped_twice_ends_its_runs(stage: Stage) -> None:
    operator, worker = stage.given(UNTIL_TOLD)
    until(lambda: "user code" in worker.text("run"), "user code")
    worker.process.send_signal(signal.SIGINT)
    until(lambda: "those that go on have" in worker.said, lambda: worker.said)
    worker.process.send_signal(signal.SIGINT)
    assert worker.process.wait(60) == 0
    exited = operator.exited("run")
    assert exited is not None
    assert exited["reason"] == "WorkerStopped"


def test_a_name_that_a_worker_has_is_refused(stage: Stage) -> None:
    stage.worker()
    second = WorkerProcess(
        stage.operator.admin.kubeconfig, stage.operator.namespace, "warm", stage.folder, "--name", "laptop"
    )
    with second:
        assert second.process.wait(60) == 1
        assert "there is a worker laptop already: choose another --name" in second.said


@pytest.mark.parametrize(
    ("pool", "message"),
    [
        ("none", "there is no work pool none in namespace"),
        ("pods", "work pool pods is of type Pod: workers are of pools of type Process"),
    ],
)
def test_a_pool_that_has_no_workers_is_refused(stage: Stage, pool: str, message: str) -> None:
    stage.operator.admin.apply(changed(good("WorkPool", "pods", stage.operator.namespace), {"spec": {"type": "Pod"}}))
    worker = WorkerProcess(stage.operator.admin.kubeconfig, stage.operator.namespace, pool, stage.folder)
    with worker:
        assert worker.process.wait(60) == 1
        assert message in worker.said


def draining(lease: Json) -> bool:
    return bool(lease["metadata"]["annotations"].get("penstock.dev/drain") == "true")


def alive(pid: int) -> bool:
    """Whether the process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or while it is read
        return False
