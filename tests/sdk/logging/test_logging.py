"""Loggers that carry their run, and prints that become records."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from typing import Any

import pytest

from penstock import flow, get_run_logger, task
from penstock.errors import MissingContext
from penstock.logging import disable_run_logger, get_logger, json_lines
from penstock.settings import temporary_settings


@task
def talk() -> None:
    get_run_logger(part="a").info("task %s", 1)


@flow(name="chat")
def chat() -> None:
    get_run_logger().warning("flow")
    talk()


def test_records_carry_the_run(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        chat()
    found: dict[str, Any] = {record.getMessage(): record for record in caplog.records}
    of_flow, of_task = found["flow"], found["task 1"]
    assert (of_flow.name, of_flow.flow_name) == ("penstock.flow_runs", "chat")
    assert (of_task.name, of_task.task_run_name, of_task.task_name) == ("penstock.task_runs", "talk-0", "talk")
    assert of_task.flow_run_id == of_flow.flow_run_id
    assert of_task.part == "a"
    assert not hasattr(of_flow, "task_run_id")


def test_outside_of_runs_there_is_no_run_logger() -> None:
    with pytest.raises(MissingContext, match=r"logging\.getLogger"):
        get_run_logger()


def test_prints_are_logged_where_that_is_wanted(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    @task
    def inherits() -> None:
        print("from", "task", sep="-")

    @task(log_prints=False)
    def does_not() -> None:
        print("plain")

    @flow(log_prints=True)
    async def f() -> None:
        print("from flow")
        print("to stderr", file=sys.stderr)
        inherits.submit().wait()
        does_not()

    with caplog.at_level(logging.INFO):
        asyncio.run(f())
    print("outside")
    assert {"from-task", "from flow"} <= set(caplog.messages)
    captured = capsys.readouterr()
    assert captured.out == "plain\noutside\n"
    assert "to stderr" in captured.err


def test_failures_are_logged_with_the_users_traceback(caplog: pytest.LogCaptureFixture) -> None:
    @task(retries=1)
    def bad() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        bad()
    first, last = caplog.records
    assert (first.levelname, first.getMessage()) == ("WARNING", "Failed: ValueError: wrong; next attempt in 0 s")
    assert last.levelname == "ERROR"
    assert first.exc_info is not None
    trace = first.exc_info[2]
    assert trace is not None
    assert trace.tb_frame.f_code.co_name == "bad"


def test_run_loggers_can_be_disabled(caplog: pytest.LogCaptureFixture) -> None:
    with disable_run_logger():
        chat()
    assert caplog.messages == []


def test_with_run_loggers_disabled_a_tasks_function_can_be_called_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    with disable_run_logger():
        talk.fn()
    assert caplog.messages == []
    with pytest.raises(MissingContext):
        talk.fn()


def test_records_of_extra_loggers_carry_the_run(caplog: pytest.LogCaptureFixture) -> None:
    @task
    def query() -> None:
        logging.getLogger("some.library").info("in task")

    @flow
    def f() -> None:
        logging.getLogger("some.library").info("in flow")
        query()

    with temporary_settings(extra_loggers="some.library"):
        f()
    found: dict[str, Any] = {record.getMessage(): record for record in caplog.records}
    assert found["in flow"].flow_name == "f"
    assert (found["in task"].task_run_name, found["in task"].flow_name) == ("query-0", "f")


@pytest.mark.parametrize("form", ["text", "json"])
def test_extra_loggers_and_those_below_write_where_runs_write(form: str) -> None:
    code = """
    import logging
    from penstock import flow, task
    @task
    def t():
        logging.getLogger("lib.part").info("a line")
        logging.getLogger("lib.part").debug("hidden")
    @flow
    def f():
        t()
        t()
    f()
    f()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env={"PENSTOCK_PROGRESS": "off", "PENSTOCK_EXTRA_LOGGERS": "lib", "PENSTOCK_LOG_FORMAT": form},
    )
    if form == "text":
        assert [line.partition(" | ")[2] for line in done.stderr.splitlines()] == [
            "INFO    | t-0 - a line",
            "INFO    | t-1 - a line",
        ] * 2
    else:
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(line["logger"], line["task"]) for line in lines] == [("lib.part", "t-0"), ("lib.part", "t-1")] * 2


def test_threads_that_log_at_once_set_up_logging_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first records of a run often come from several tasks at the same moment; each is to be written once."""
    root = logging.getLogger("penstock")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "propagate", True)
    monkeypatch.setenv("PENSTOCK_LOG_FORMAT", "json")
    meeting = threading.Barrier(4)

    class Slow(json_lines.JsonLines):
        def __init__(self) -> None:
            with suppress(threading.BrokenBarrierError):
                meeting.wait(0.5)  # nobody else comes where only one sets up
            super().__init__()

    monkeypatch.setattr(json_lines, "JsonLines", Slow)
    threads = [threading.Thread(target=get_logger) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [type(handler) for handler in root.handlers] == [Slow]


def test_without_any_setup_records_go_to_stderr_once() -> None:
    code = """
    from penstock import flow, get_run_logger
    @flow(flow_run_name="morning")
    def f():
        get_run_logger().info("hello")
        get_run_logger().debug("hidden")
    f()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=True,
        env={"PENSTOCK_PROGRESS": "off"},
    )
    assert done.stdout == ""
    assert done.stderr.count("| INFO    | morning - hello\n") == 1
    assert "hidden" not in done.stderr
