from __future__ import annotations

from typing import Any

import pytest

import builders
from penstock.worker import assignments
from penstock.worker.assignments import Action, Do, Identity, decide

ME = Identity("laptop", "me", "laptop")
POD = {"name": "laptop", "uid": "me"}
EXITED = {"attempt": 1, "time": "2026-01-01T06:00:00Z"}


def run(state: str, attempt: int = 1, pod: bool = False, worker: dict[str, Any] | None = None) -> builders.Json:
    given = {"name": "laptop", "uid": "me", "attempt": attempt, **(worker or {})}
    return builders.flow_run(state, attempt=attempt, worker=given, **({"pod": POD} if pod else {}))


# what it is: run, attempts with a process, attempts whose end is told, what is to be done
CASES: dict[str, tuple[builders.Json | None, list[int], list[int], list[Action]]] = {
    "an assignment is started": (run("Pending"), [], [], [Action(Do.START, 1)]),
    "an assignment that is being started is left alone": (run("Pending"), [1], [], []),
    "a run that goes on is left alone": (run("Running", pod=True), [1], [], []),
    "a run that waits for a person is left alone": (run("Paused", pod=True), [1], [], []),
    "a run that is to be cancelled is ended": (run("Cancelling", pod=True), [1], [], [Action(Do.END, 1)]),
    "a run whose end is asked for is ended": (run("Running", worker={"end": True}), [1], [], [Action(Do.END, 1)]),
    "a run that was deleted is ended": (None, [1, 2], [], [Action(Do.END, 1), Action(Do.END, 2)]),
    "a run that another worker has is ended": (run("Pending", worker={"name": "x"}), [1], [], [Action(Do.END, 1)]),
    "so is one of a worker that had this name": (run("Pending", worker={"uid": "x"}), [1], [], [Action(Do.END, 1)]),
    "a new attempt begins as the old one is ended": (
        run("Pending", attempt=2),
        [1],
        [],
        [Action(Do.END, 1), Action(Do.START, 2)],
    ),
    "an attempt that is not the current one is nobody's": (
        run("Pending", attempt=2, worker={"attempt": 1}),
        [],
        [],
        [],
    ),
    "a process that outlives its run is ended": (run("Completed", pod=True), [1], [], [Action(Do.LINGERS, 1)]),
    "a run that ended here needs nothing": (run("Completed", pod=True), [], [], []),
    "a process that is gone is told of": (run("Running", pod=True), [], [], [Action(Do.SAY_LOST, 1)]),
    "also where its run waited": (run("Paused", pod=True), [], [], [Action(Do.SAY_LOST, 1)]),
    "but once": (run("Running", pod=True), [], [1], []),
    "and not where it stands in the run": (run("Running", pod=True, worker={"exited": EXITED}), [], [], []),
    "a process that ended before its claim is told of once": (run("Pending"), [], [1], []),
    "an assignment that is cancelled before it began is told of": (run("Cancelling"), [], [], [Action(Do.SAY_LOST, 1)]),
    "and one that is taken back": (run("Pending", worker={"end": True}), [], [], [Action(Do.SAY_LOST, 1)]),
    "an attempt that was claimed is not started again": (run("Pending", pod=True), [], [], [Action(Do.SAY_LOST, 1)]),
    "an older attempt's exit says nothing of this one": (
        run("Pending", attempt=2, worker={"exited": EXITED}),
        [],
        [1],
        [Action(Do.START, 2)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_done(case: str) -> None:
    body, running, over, wanted = CASES[case]
    assert decide(body, "run-uid", ME, running, over) == wanted


def test_a_namesake_is_another_run() -> None:
    assert decide(run("Pending"), "an older uid", ME, [1], []) == [Action(Do.END, 1)]


@pytest.mark.parametrize(
    ("body", "over"),
    [
        (run("Running", pod=True), False),
        (run("Pending"), False),
        (run("Completed", pod=True), True),
        (run("Running", worker={"exited": EXITED}), True),
        (run("Running", attempt=2), True),
        (run("Running", worker={"uid": "x"}), True),
    ],
)
def test_whether_an_end_has_to_be_told(body: builders.Json, over: bool) -> None:
    assert assignments.over(body, 1, ME) is over
