"""Who hears of runs: everybody's minimum, and what subflows tell."""

from __future__ import annotations

from typing import Any

from penstock import flow, task
from penstock.engine.records import FlowRunInfo, TaskRecord
from penstock.engine.reporting import ChildReporter, Silent, TasksOnly
from penstock.states import Running, State

RECORD = TaskRecord("id", "t", "k", "t-0", "Running", "Running", 1, 0.0, 0.0, None, (), None, None)


def test_nobody_hears_what_is_told_to_silent() -> None:
    silent = Silent()
    silent.task_changed(RECORD)
    silent.flow_changed(Running())
    assert not isinstance(silent, ChildReporter)


def test_a_subflows_tasks_are_the_parents_and_its_states_nobodys(recorder: Any) -> None:
    subflow = TasksOnly(recorder)
    subflow.task_changed(RECORD)
    subflow.flow_changed(Running())
    assert (recorder.records, recorder.flow_states) == ([RECORD], [])


class Family:
    """A reporter that wants to know subflows as runs of their own."""

    def __init__(self, info: FlowRunInfo | None = None) -> None:
        self.info = info
        self.children: list[Family] = []
        self.tasks: list[str] = []
        self.states: list[str] = []

    def task_changed(self, record: TaskRecord) -> None:
        self.tasks.append(f"{record.name} {record.state_name}")

    def flow_changed(self, state: State[Any]) -> None:
        self.states.append(state.name)

    def child(self, info: FlowRunInfo) -> Family:
        self.children.append(Family(info))
        return self.children[-1]


@task
def work() -> int:
    return 1


@flow
def inner() -> int:
    return work()


@flow
def middle() -> int:
    return inner()


@flow
def outer() -> int:
    return middle() + work()


def run(reporter: Any) -> None:
    from penstock.engine.flow_runs import run_flow

    info = FlowRunInfo(id="run-uid", name="run-1", namespace="team", root_id="run-uid")
    assert run_flow(outer, {}, reporter=reporter, info=info).result() == 2


def test_a_reporter_of_children_hears_each_as_a_run_of_its_own() -> None:
    """Down to any depth: its states to the end, and the tasks that are its own."""
    top = Family()
    assert isinstance(top, ChildReporter)
    run(top)
    (child,) = top.children
    (grandchild,) = child.children
    assert grandchild.tasks == ["work-0 Running", "work-0 Completed"]
    assert grandchild.states == child.states == ["Running", "Completed"]
    assert top.states == ["Running"]  # its end is returned, not told
    assert [line for line in top.tasks if line.startswith("work")] == ["work-0 Running", "work-0 Completed"]


def test_children_know_their_parents() -> None:
    top = Family()
    run(top)
    child = top.children[0].info
    grandchild = top.children[0].children[0].info
    assert child is not None
    assert grandchild is not None
    assert (child.parent_id, child.parent_name, child.root_id) == ("run-uid", "run-1", "run-uid")
    assert (grandchild.parent_id, grandchild.root_id) == (child.id, "run-uid")
    assert (child.namespace, child.flow_name) == ("team", "middle")


def test_parents_see_a_subflow_among_their_tasks(recorder: Any) -> None:
    """Whether or not they hear of it as a run."""
    run(recorder)
    subflow = next(record for record in recorder.records if record.task == "middle")
    assert recorder.states_of(subflow.name) == ["Running", "Completed"]
    assert recorder.last(subflow.name).attempts == 1
    assert recorder.last(subflow.name).ended is not None
