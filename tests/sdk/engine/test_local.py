"""What a person sees of a run on their machine."""

from __future__ import annotations

import time
from typing import Any

import pytest

from penstock import flow, task
from penstock.engine import local


@task
def work(x: int) -> int:
    if x == 2:
        raise ValueError("two")
    return x


@flow
def f() -> None:
    work.map([1, 2, 3]).wait()


def test_lines_say_start_end_and_counts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PENSTOCK_PROGRESS", "lines")
    f()
    lines = [line.split(" | ", 1)[1] for line in capsys.readouterr().err.splitlines() if "flow run" in line]
    assert lines[0].endswith("| Running")
    assert lines[-1].endswith("| Completed, 3 of 3 tasks done (1 Failed)")


def test_off_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    flow(name="quiet")(lambda: None)()
    assert capsys.readouterr().err == ""


def test_a_long_run_says_how_far_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PENSTOCK_PROGRESS", "lines")
    monkeypatch.setattr(local, "LINE_EVERY", 0.0)
    f()
    assert " of 3 tasks done" in capsys.readouterr().err


def test_a_progress_view_appears_after_a_moment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PENSTOCK_PROGRESS", "rich")
    monkeypatch.setattr(local, "SHOW_AFTER", 0.05)

    @task
    def slow(x: int) -> None:
        time.sleep(0.1)

    @flow
    def long() -> None:
        slow.map(range(3)).wait()

    long()
    shown = capsys.readouterr().err
    assert "slow" in shown
    assert "3/3" in shown
    assert "Completed, 3 of 3 tasks done" in shown


def test_counts_stay_small_and_right(recorder: Any) -> None:
    recorder.run(f)
    counts = local.Counts()
    for record in recorder.records:
        counts.note(record)
    assert counts.tasks == {"work": {"Pending": 0, "Running": 0, "Completed": 2, "Failed": 1}}
    assert counts._open == {}


def test_a_task_that_is_rolled_back_is_counted_once(recorder: Any) -> None:
    from penstock.transactions import transaction

    @flow
    def undone() -> None:
        with transaction():
            work(1)
            work(2)

    recorder.run(undone)
    counts = local.Counts()
    for record in recorder.records:
        counts.note(record)
    assert counts.tasks == {"work": {"Running": 0, "Completed": 0, "RolledBack": 1, "Failed": 1}}
    assert counts.summary() == "2 of 2 tasks done (1 Failed)"
