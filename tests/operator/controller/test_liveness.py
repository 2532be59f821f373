"""A process whose own loops stand still is no health; a backlog or a server that is away is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from controller_stage import THING, Play
from penstock_operator.controller import agenda, informer, liveness, looks, queue
from penstock_operator.controller.controller import Controller
from penstock_operator.controller.liveness import MAX_STILLNESS, MAX_WORK
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time by which silence and progress are told."""

    def to(seconds: float) -> None:
        for user in (agenda, informer, liveness, looks, queue):
            monkeypatch.setattr(user, "time", SimpleNamespace(monotonic=lambda: seconds))

    to(0)
    return to


def moved(controller: Controller, at: float) -> None:
    """Each watch took a step."""
    for each in controller.informers:
        each._moved = dict.fromkeys(each._moved, at)


def test_an_operator_whose_api_server_is_away_is_alive_and_says_how_long_it_heard_nothing(
    now: Callable[[float], None],
) -> None:
    """A restart would bring nothing back, and cost what is in memory."""
    controller = Play().begin()
    now(1000)
    moved(controller, 990)
    assert controller.health() == {"silence": 1000.0, "queued": 0.0, "leads": 1.0}


def test_a_watch_that_takes_no_step_for_too_long_is_no_health(now: Callable[[float], None]) -> None:
    controller = Play().begin()
    now(MAX_STILLNESS + 1)
    moved(controller, MAX_STILLNESS)
    controller.informers[0]._moved = {None: 0.0}
    with pytest.raises(RuntimeError, match="a watch took no step for 181 s"):
        controller.health()


def test_keys_that_nobody_takes_are_no_health(now: Callable[[float], None]) -> None:
    controller = Play().begin()
    controller.term.acts = True
    controller.agenda.queue.add(("FlowRun", THING))
    now(MAX_STILLNESS + 1)
    moved(controller, MAX_STILLNESS + 1)
    with pytest.raises(RuntimeError, match="nothing was done for 181 s"):
        controller.health()


def test_a_key_that_was_just_named_after_a_long_rest_is_no_alarm(now: Callable[[float], None]) -> None:
    controller = Play().begin()
    now(10 * MAX_STILLNESS)
    moved(controller, 10 * MAX_STILLNESS)
    controller.agenda.queue.add(("FlowRun", THING))
    assert controller.health()["queued"] == 1.0


def test_work_that_never_ends_is_no_health(now: Callable[[float], None]) -> None:
    async def scenario() -> None:
        controller = Play().begin()
        controller.agenda.queue.add(("FlowRun", THING))
        await controller.agenda.queue.take()
        now(MAX_WORK + 1)
        moved(controller, MAX_WORK + 1)
        with pytest.raises(RuntimeError, match="worked on for 601 s"):
            controller.health()

    asyncio.run(scenario())


def test_a_backlog_is_no_alarm_while_work_goes_on(now: Callable[[float], None]) -> None:
    async def scenario() -> None:
        controller = Play().begin()
        for number in range(1000):
            controller.agenda.queue.add(("FlowRun", Key(NAMESPACE, str(number))))
        await controller.agenda.queue.take()
        now(2 * MAX_STILLNESS)
        moved(controller, 2 * MAX_STILLNESS)
        assert controller.health()["queued"] == 999.0

    asyncio.run(scenario())
