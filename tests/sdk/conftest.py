"""What tests of the SDK share: a reporter that remembers, and quiet local runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from penstock.engine.flow_runs import run_flow
from penstock.engine.records import FlowRunInfo, TaskRecord
from penstock.flows import Flow
from penstock.states import State


@dataclass
class Recorder:
    """A reporter that keeps everything it hears."""

    records: list[TaskRecord] = field(default_factory=list)
    flow_states: list[State[Any]] = field(default_factory=list)

    def task_changed(self, record: TaskRecord) -> None:
        self.records.append(record)

    def flow_changed(self, state: State[Any]) -> None:
        self.flow_states.append(state)

    def states_of(self, name: str) -> list[str]:
        """The state names that the task run with this name went through."""
        return [record.state_name for record in self.records if record.name == name]

    def last(self, name: str) -> TaskRecord:
        return [record for record in self.records if record.name == name][-1]

    def run(self, flow: Flow[Any, Any], parameters: Mapping[str, Any] | None = None, **info: Any) -> State[Any]:
        """Run a flow as the runner in a pod does."""
        facts = FlowRunInfo(**{"id": "run-uid", "name": "run-1", **info})
        return run_flow(flow, parameters or {}, reporter=self, info=facts)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_PROGRESS", "off")
