"""Of every violation that the chaos suite looks for: it is found where it is, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.invariants import Mark, Wanted, violations
from penstock.api.states import StateType

Json = dict[str, Any]
WANTED = {"a": Wanted(frozenset({StateType.COMPLETED}), 1)}
SIX = 1767247200.0  # 2026-01-01T06:00:00Z


def run() -> Json:
    """A run whose first pod was lost and whose second completed."""
    entries = [
        ("Scheduled", 0, "operator"),
        ("Pending", 1, "operator"),
        ("Running", 1, "p1"),
        ("Scheduled", 1, "operator"),
        ("Pending", 2, "operator"),
        ("Running", 2, "p2"),
        ("Completed", 2, "p2"),
    ]
    history = [{"type": t, "attempt": a, "writer": w, "seq": n} for n, (t, a, w) in enumerate(entries, 1)]
    state = {"type": "Completed", "reason": "Completed", "seq": 7}
    end = {"settled": True, "endTime": "2026-01-01T06:00:30.000000Z", "attempt": 2, "infraRetries": 1}
    return {"metadata": {"name": "a"}, "status": {"state": state, "history": history, **end}}


def pod(phase: str = "Succeeded") -> Json:
    """Its second pod."""
    return {"metadata": {"name": "a-2", "labels": {"penstock.dev/run": "a"}}, "status": {"phase": phase}}


def mark(pod: str, what: str, at: float, name: str = "a") -> Mark:
    """A line of user code, so many seconds after six."""
    return Mark(name, 1 if pod == "p1" else 2, pod, what, 1000 + at, SIX + at)


def marks() -> list[Mark]:
    """What its two pods wrote."""
    return [mark("p1", "start", 1), mark("p1", "beat", 5), mark("p2", "start", 10), mark("p2", "end", 20)]


def status(**fields: Any) -> Callable[[Json], None]:
    """The run with these fields of status."""
    return lambda body: body["status"].update(fields)


def entry(number: int, **fields: Any) -> Callable[[Json], None]:
    """The run with another entry of history."""
    return lambda body: body["status"]["history"][number].update(fields)


def test_a_life_as_it_should_be_has_no_violations() -> None:
    assert violations(WANTED, [run()], [pod()], marks()) == []
    assert violations({}, [run()], [], marks()) == []  # such as a subflow, which nobody submitted


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        pytest.param(status(settled=False), "it is not settled", id="not settled"),
        pytest.param(status(state={"type": "Running", "seq": 7}), "stuck, it is Running", id="not ended"),
        pytest.param(status(history=[]), "there is no history", id="no history"),
        pytest.param(entry(3, seq=9), "history has gaps", id="a gap"),
        pytest.param(entry(6, type="Failed"), "history does not end with the state", id="another end"),
        pytest.param(entry(0, type="Paused"), "a run cannot begin as Paused", id="an odd start"),
        pytest.param(entry(4, type="Completed"), "Scheduled cannot become Completed", id="an illegal move"),
        pytest.param(entry(5, attempt=0), "attempt 0 follows 2", id="an attempt that goes back"),
        pytest.param(entry(4, attempt=1), "launched more than once: [1, 1]", id="an attempt that is launched twice"),
        pytest.param(status(attempt=3), "attempt 2 was launched last, and it says 3", id="an attempt from nowhere"),
        pytest.param(status(infraRetries=2), "2 retries were spent of 1", id="a budget that is overspent"),
        pytest.param(entry(5, writer="p3"), "executed by attempt 2 in p2, which never claimed it", id="no claim"),
        pytest.param(status(endTime="2026-01-01T06:00:19Z"), "executed for 1.000 s after its end", id="a late process"),
    ],
)
def test_what_is_wrong_with_a_run_is_found(spoil: Callable[[Json], None], says: str) -> None:
    body = run()
    spoil(body)
    found = violations(WANTED, [body], [pod()], marks())
    assert [what for what in found if says in what], found


def test_a_run_that_is_not_there_is_lost() -> None:
    assert violations(WANTED, [], [], []) == ["a: lost, there is no such run"]


def test_a_run_that_nobody_submitted_is_found_by_its_marks() -> None:
    found = violations(WANTED, [run()], [pod()], [*marks(), mark("p9", "start", 1, "b")])
    assert found == ["b: executed, and nobody submitted it"]


def test_a_live_pod_of_a_run_that_has_ended_is_found() -> None:
    assert violations(WANTED, [run()], [pod("Running")], marks()) == ["a: Completed, and pod a-2 is Running"]


def test_two_pods_at_the_same_time_are_found() -> None:
    found = violations(WANTED, [run()], [pod()], [*marks(), mark("p1", "beat", 12)])
    assert found == ["a: executed twice at the same time, by attempt 1 in p1 and attempt 2 in p2 for 2.000 s"]


@pytest.mark.parametrize("until", [5, 12])
def test_attempts_in_one_worker_are_processes_of_their_own(until: int) -> None:
    """Attempts that follow each other in it are as they should be, and two at the same time are found."""
    body = run()
    for number in (2, 5):
        body["status"]["history"][number].update(writer="w")
    one = [mark("p1", "start", 1), mark("p1", "beat", until), *marks()[2:]]
    found = violations(WANTED, [body], [], [replace(each, pod="w") for each in one])
    twice = "a: executed twice at the same time, by attempt 1 in w and attempt 2 in w for 2.000 s"
    assert found == ([twice] if until > 10 else [])


def test_an_end_that_was_not_to_be_is_found() -> None:
    found = violations({"a": Wanted(frozenset({StateType.CANCELLED}), 1)}, [run()], [pod()], marks())
    assert found == ["a: ended Completed (Completed), which should have been Cancelled"]


def test_more_attempts_than_are_allowed_are_found() -> None:
    found = violations({"a": Wanted(frozenset({StateType.COMPLETED}), 0)}, [run()], [pod()], marks())
    assert found == ["a: 2 attempts, with 0 retries and 0 stops allowed", "a: 1 retries were spent of 0"]


def test_a_completed_run_whose_code_never_ended_is_found() -> None:
    found = violations(WANTED, [run()], [pod()], marks()[:-1])
    assert found == ["a: Completed, and its code never came to its end"]


def test_a_line_that_was_cut_is_no_mark() -> None:
    assert Mark.read("a 1 p1 start 1001.5 1767247201.5\na 1 p1 be") == [mark("p1", "start", 1.5)]
