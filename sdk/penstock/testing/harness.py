"""Runs flows quietly for tests, and keeps what they did: states, task records, events and log records.

For users' tests; imports nothing of the cluster. What is kept goes to a folder of the harness's own, so that tests
neither see nor change the variables, blocks, artifacts and cached results of whoever runs them.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from .. import events as emitted
from ..concurrency.claims import give_slots_from
from ..engine import local
from ..settings import temporary_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..engine.records import TaskRecord
    from ..engine.reporting import Reporter
    from ..events import Event
    from ..states import State

__all__ = ["Harness", "Recorded", "penstock_test_harness"]


@dataclass
class Recorded:
    """A flow run that somebody called inside of the harness, and its tasks."""

    name: str
    states: list[State[Any]] = field(default_factory=list)
    records: list[TaskRecord] = field(default_factory=list)

    def task_changed(self, record: TaskRecord) -> None:
        """Keep it."""
        self.records.append(record)

    def flow_changed(self, state: State[Any]) -> None:
        """Keep it."""
        self.states.append(state)

    def states_of(self, task_run: str) -> list[str]:
        """The names of the states that the task run with this name went through."""
        return [record.state_name for record in self.records if record.name == task_run]


@dataclass
class Harness:
    """What happened since the harness was entered."""

    runs: list[Recorded] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    logs: list[logging.LogRecord] = field(default_factory=list)

    @property
    def messages(self) -> list[str]:
        """The texts of the log records."""
        return [record.getMessage() for record in self.logs]

    @property
    def records(self) -> list[TaskRecord]:
        """The task records of all runs."""
        return [record for run in self.runs for record in run.records]

    def states_of(self, task_run: str) -> list[str]:
        """The names of the states that task runs with this name went through."""
        return [record.state_name for record in self.records if record.name == task_run]

    def reporter(self, run: str) -> Reporter:
        """The reporter for a flow run that is called."""
        recorded = Recorded(run)
        self.runs.append(recorded)
        return recorded


class _Keep(logging.Handler):
    def __init__(self, kept: list[logging.LogRecord]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record)


@contextmanager
def penstock_test_harness(settings: Mapping[str, Any] | None = None, /, **more: Any) -> Iterator[Harness]:
    """Run flows without any output and keep what they do; for the whole process. Settings may be given.

    Variables, blocks, artifacts and results inside are the harness's own, and gone afterwards; a setting that is given
    (`home`, `api`, `results_storage`) puts them elsewhere. Limits that were declared or taken outside do not hold
    inside, nor the other way round.
    """
    harness = Harness()
    logger, keep = logging.getLogger("penstock"), _Keep(harness.logs)
    before = (logger.handlers[:], logger.propagate, logger.level)
    slots = give_slots_from(None)
    with ExitStack() as undo:
        undo.callback(give_slots_from, slots)
        home = undo.enter_context(TemporaryDirectory(prefix="penstock-", ignore_cleanup_errors=True))
        places = {"home": home, "api": "local", "results_storage": f"{home}/results"}
        level = undo.enter_context(temporary_settings({**places, **(settings or {}), **more})).log_level
        undo.enter_context(local.reporting_to(harness.reporter))
        emitted._listeners.append(harness.events.append)
        undo.callback(_remove, emitted._listeners, harness.events.append)
        logger.handlers[:] = [keep]
        logger.propagate = False
        logger.setLevel(int(level) if level.isdigit() else level)
        try:
            yield harness
        finally:
            logger.handlers[:], logger.propagate = before[0], before[1]
            logger.setLevel(before[2])


def _remove(listeners: list[Any], listener: Any) -> None:
    listeners.remove(listener)
