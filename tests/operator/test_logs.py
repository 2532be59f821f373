"""The operator's log: one JSON object a line, or plain text, on stderr."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import datetime

from penstock_operator.logs import JsonFormatter


def record(message: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("penstock_operator.x", logging.INFO, "x.py", 1, message, args, None)


def test_a_record_is_one_line_of_json() -> None:
    line = JsonFormatter().format(record("run %s\nand more", "a/b"))
    assert "\n" not in line
    body = json.loads(line)
    assert {**body, "ts": ""} == {
        "ts": "",
        "level": "INFO",
        "logger": "penstock_operator.x",
        "message": "run a/b\nand more",
    }
    assert datetime.fromisoformat(body["ts"]).tzinfo is not None


def test_an_exception_is_in_the_same_line() -> None:
    entry = record("it failed")
    try:
        raise ValueError("why")
    except ValueError:
        entry.exc_info = sys.exc_info()
    line = JsonFormatter().format(entry)
    assert "\n" not in line
    assert "ValueError: why" in json.loads(line)["exception"]


CONFIGURED = """
import logging
from penstock_operator import logs
logs.configure({level!r}, {form!r})
logging.getLogger("penstock_operator").info("ours")
logging.getLogger("kopf").info("kopf says hello")
logging.getLogger("kopf").warning("kopf warns")
"""


def said(level: str, form: str) -> list[str]:
    """What a process logs to stderr; configuring is for the whole process, so it is one of its own."""
    code = CONFIGURED.format(level=level, form=form)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_json_is_written_to_stderr_and_kopf_is_heard_from_warnings_on() -> None:
    assert [json.loads(line)["message"] for line in said("INFO", "json")] == ["ours", "kopf warns"]


def test_plain_lines_are_for_people() -> None:
    ours, kopf = said("INFO", "plain")
    assert ours.endswith("INFO    penstock_operator: ours")
    assert kopf.endswith("WARNING kopf: kopf warns")


def test_a_level_silences_what_is_below() -> None:
    assert [json.loads(line)["message"] for line in said("WARNING", "json")] == ["kopf warns"]
