"""Operators as they are, driven by hand: the real controller, whose informers and workers go one step when told to.

A step of a worker ends where it waits for the API server, so that anything may happen before its request arrives. An
operator that is killed there leaves its request unsent; one that is left there sends it as late as the test likes.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import events as loops
from collections.abc import Coroutine
from datetime import datetime
from enum import Enum
from typing import Any
from unittest import mock

from memory_cluster import Logged, Write, _event, copied, selected
from penstock_operator.cluster import Unavailable
from penstock_operator.controller import controller as module
from penstock_operator.controller.controller import Controller
from penstock_operator.controller.informer import Informer, gone_since, ref
from penstock_operator.controller.rules import KINDS as SLOT_KINDS
from penstock_operator.launch.pods import Defaults
from run_stage import PostedEvents, at_once

from .world import World

KINDS = ("FlowRun", "Pod", "Job", "Node", "WorkPool", "FlowDeployment", "Lease")
WORKERS = 2


class Fault(Enum):
    """What becomes of the next write."""

    NONE = "none"
    REQUEST_LOST = "the request is lost"
    ANSWER_LOST = "the answer is lost"


class Unexpected(logging.Handler):
    """An error that the controller caught for its other keys' sake is a defect all the same."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Operator:
    """One process; `restart` makes it another."""

    loop = asyncio.new_event_loop()

    def __init__(self, world: World, posted: PostedEvents) -> None:
        self.world, self.posted = world, posted
        self._workers: list[Coroutine[Any, Any, None]] = []
        self.restart()

    def stop(self) -> None:
        """The process ends; requests that it was about to send are never sent."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def restart(self) -> None:
        """A new process, which lists everything before it decides anything."""
        self.stop()
        with mock.patch.object(module, "EventPoster", return_value=self.posted):
            self.controller = Controller(self.world.cluster, Defaults("registry.example/penstock:1"), clock=self.now)
        self.controller.workers._monotonic = lambda: self.now().timestamp()
        self._informers: dict[str, Informer] = {}
        for informer in self.controller.informers:  # the first of a kind is that of what is under way
            self._informers.setdefault(informer.selection.resource.kind, informer)
        self._positions = dict.fromkeys(KINDS, 0)
        self._begin()

    def take_over(self) -> None:
        """The other leads no more: a term begins, with what is known of earlier ones forgotten."""
        self.stop()
        self.controller.term.renew()
        self._begin()

    def _begin(self) -> None:
        for kind in KINDS:
            self.relist(kind)
        at_once(self.controller.takeover.find_lost_nodes())
        self.controller.takeover.recall()
        self._workers = [self.controller.looks.run() for _ in range(WORKERS)]
        self._awaits: list[asyncio.Future[Any] | None] = [None] * WORKERS

    def now(self) -> datetime:
        """The world's time."""
        return self.world.clock()

    # Informers.

    def hear(self, kind: str, count: int = 1_000_000) -> bool:
        """Up to so many further events of a kind; False when there was none."""
        log = self.world.cluster._log
        while count and self._positions[kind] < len(log):
            entry = log[self._positions[kind]]
            self._positions[kind] += 1
            count -= self._tell(kind, entry)
            if not count:
                return True
        return False

    def hear_again(self, kind: str, back: int) -> None:
        """An old event, once more."""
        position = self._positions[kind] - 1 - back
        if position >= 0:
            self._tell(kind, self.world.cluster._log[position])

    def _tell(self, kind: str, entry: Logged) -> int:
        selection = self._informers[kind].selection
        if entry.resource.kind != kind:
            return 0
        event = _event(entry, selected(selection.label_selector, selection.field_selector))
        if event is None:
            return 0
        if event.type == "DELETED":
            self._gone(kind, ref(event.object), event.object["metadata"]["resourceVersion"])
        else:
            self._there(kind, event.object)
        return 1

    def _there(self, kind: str, body: Any) -> None:
        """Told past what the controller does with objects that it cannot take in: here there are none."""
        if kind in SLOT_KINDS:
            self.controller.intake.rule(kind, body)
        else:
            self.controller.intake.changed(kind, body)

    def _gone(self, kind: str, ref: tuple[str, str], version: str) -> None:
        (self.controller.intake.rule_gone if kind in SLOT_KINDS else self.controller.intake.deleted)(kind, ref, version)

    def relist(self, kind: str) -> None:
        """The watch was cut, and what happened meanwhile is compacted away."""
        cluster, selection = self.world.cluster, self._informers[kind].selection
        matches = selected(selection.label_selector, selection.field_selector)
        found = [body for body in self.world.objects(kind) if matches(body)]
        for body in found:
            self._there(kind, copied(body))
        for vanished in gone_since(self._informers[kind]._known(None), map(ref, found)):
            self._gone(kind, vanished, str(cluster._version))
        self._positions[kind] = len(cluster._log)

    # Workers.

    def go_on(self, number: int, fault: Fault = Fault.NONE) -> bool:
        """One worker takes its next step; False when it has nothing to do."""
        waits = self._awaits[number]
        if waits is not None and not waits.done():
            return False
        cluster = self.world.cluster
        cluster.before, cluster.after = _hooks(fault)
        loops._set_running_loop(self.loop)
        try:
            with mock.patch.object(asyncio, "gather", _in_turn):
                self._awaits[number] = self._workers[number].send(None)
        finally:
            loops._set_running_loop(None)
            cluster.before, cluster.after = _hooks(Fault.NONE)
        waits = self._awaits[number]
        if waits is not None:
            waits._asyncio_future_blocking = False
        return True

    def work(self, steps: int = 10_000) -> bool:
        """Go on until there is nothing to do, or for so many steps; whether anything was written."""
        self.controller.agenda.due.fire(self.now())
        before, left, going = self.world.cluster._version, steps, True
        while going and left:
            left, going = left - 1, False
            for number in range(WORKERS):
                going = self.go_on(number) or going
        assert left or steps < 10_000, "an operator does not come to rest"
        return self.world.cluster._version != before

    def next_due(self) -> datetime | None:
        """When it looks at something by itself."""
        return min(self.controller.agenda.due._times.values(), default=None)


async def _in_turn(*reads: Coroutine[Any, Any, Any]) -> list[Any]:
    """What is asked for at the same time; here nobody else takes a step."""
    try:
        return [await read for read in reads]
    finally:
        for read in reads:  # where one fails, or the operator is stopped, the others are never begun
            read.close()


def _hooks(fault: Fault) -> Any:
    """What the cluster is to ask before and after a write."""

    def fail(_: Write) -> None:
        raise Unavailable(0, "ServerDisconnectedError", fault.value)

    def pass_(_: Write) -> None:
        return None

    return (
        fail if fault is Fault.REQUEST_LOST else pass_,
        fail if fault is Fault.ANSWER_LOST else pass_,
    )
