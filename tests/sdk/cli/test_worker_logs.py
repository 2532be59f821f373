from __future__ import annotations

import json

import builders
from penstock.cli.worker_logs import of_run, worker_uid
from penstock.worker.output import OUT, Tagged, ended

WORKER = {"name": "warm-1", "uid": "w2", "attempt": 2}
HISTORY = [
    {**builders.run_state("Pending", 2), "attempt": 1, "writer": "operator"},
    {**builders.run_state("Running", 3), "attempt": 1, "writer": "w1"},
]
RUN = builders.flow_run("Running", attempt=2, worker=WORKER, history=HISTORY)


def line(text: str, run: str = "run-uid", attempt: int = 2) -> str:
    (found,) = Tagged(OUT, "etl-1", run, attempt).feed(f"{text}\n".encode(), 0)
    return found.decode().rstrip()


def test_the_worker_of_an_attempt_is_found() -> None:
    assert worker_uid(RUN, None) == "w2"
    assert worker_uid(RUN, 2) == "w2"
    assert worker_uid(RUN, 1) == "w1"
    assert worker_uid(RUN, 3) is None
    assert worker_uid(builders.flow_run("Running"), None) is None


def test_of_a_workers_log_the_lines_of_the_run_are_shown() -> None:
    lines = [line("other", "x"), line("older", attempt=1), "penstock.worker: ready", line("mine"), "[]", line("too")]
    assert [json.loads(found)["message"] for found in of_run(lines, RUN, None)] == ["mine", "too"]
    assert [json.loads(found)["message"] for found in of_run(lines, RUN, 1)] == ["older"]


def test_who_follows_a_run_stops_where_its_process_has() -> None:
    end = ended("etl-1", "run-uid", 2, 0, 0).decode()
    assert (
        len(list(of_run([line("mine"), ended("x", "x", 2, 0, 0).decode(), line("more"), end, line("no")], RUN, None)))
        == 2
    )
