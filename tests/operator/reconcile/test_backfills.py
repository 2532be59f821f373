"""A backfill on a cluster in memory: it goes over its range once, and counts exactly, whatever fails in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crash_points import Killed
from memory_cluster import Write
from penstock.api import labels, reasons
from penstock_operator.cluster import FLOW_RUNS, ApiError, Forbidden, Invalid, Unavailable
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.core import backfills as rules
from penstock_operator.reconcile.backfills import AGAIN, Backfills
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]
HOURLY: Json = {"slug": "hourly", "cron": {"expression": "0 * * * *"}, "parameters": {"n": 2}}
KEY = Key(NAMESPACE, "night")


class Play:
    """A deployment, a backfill of six hours of the night before, and an operator that can be killed."""

    def __init__(self, **spec: Any) -> None:
        self.stage = Stage(deployment={"schedules": [HOURLY]})
        self.apply(**spec)
        self.restart()

    def apply(self, **spec: Any) -> None:
        wanted = {
            "deploymentRef": {"name": "etl"},
            "schedule": "hourly",
            "from": "2026-01-01T00:00:00Z",
            "to": "2026-01-01T06:00:00Z",
            **spec,
        }
        self.stage.apply("Backfill", "night", wanted)

    def restart(self) -> None:
        self.cache = ObjectCache()
        self.backfills = Backfills(self.stage.cluster, self.cache, self.stage.clock)

    def look(self) -> Requeue | None:
        for body in self.stage.cluster.kinds("FlowRun"):
            if not (body.get("status") or {}).get("settled"):
                self.cache.put("FlowRun", body)
        for ref in self.cache.refs("FlowRun", None):
            if self.stage.get("FlowRun", ref[1]) is None:
                self.cache.drop("FlowRun", ref)
        return asyncio.run(self.backfills.reconcile(KEY))

    def status(self) -> Json:
        found: Json = (self.stage.get("Backfill", "night") or {})["status"]
        return found

    def counts(self) -> tuple[int, int, int, int]:
        status = self.status()
        return status["created"], status["skipped"], status["done"], status["failed"]

    def condition(self, type_: str = "Complete") -> tuple[str, str]:
        found = next(c for c in self.status()["conditions"] if c["type"] == type_)
        return found["status"], found["reason"]

    def runs(self) -> dict[str, str]:
        """Names by slot."""
        return {
            body["spec"]["scheduledTime"][11:13]: body["metadata"]["name"]
            for body in self.stage.cluster.kinds("FlowRun")
        }

    def end(self, slot: str, state: str = "Completed") -> None:
        """A run ends."""
        entry = {"type": state, "name": state, "time": self.stage.now(), "seq": 9}
        self.stage.cluster.set_status(FLOW_RUNS, NAMESPACE, self.runs()[slot], state=entry, endTime=self.stage.now())


@pytest.fixture
def play() -> Play:
    return Play()


def test_slots_become_runs_one_after_the_other(play: Play) -> None:
    play.look()
    assert list(play.runs()) == ["00"]
    assert (play.status()["total"], play.condition()) == (6, ("False", reasons.PROGRESSING))
    play.look()
    assert list(play.runs()) == ["00"]
    for number in range(6):
        play.end(f"0{number}")
        play.look()
    assert sorted(play.runs()) == [f"0{number}" for number in range(6)]
    assert (play.counts(), play.condition()) == ((6, 0, 6, 0), ("True", reasons.SUCCEEDED))
    run = play.stage.cluster.kinds("FlowRun")[0]
    assert run["spec"]["parameters"] == {"n": 2}
    assert run["metadata"]["labels"][labels.BACKFILL] == "night"
    writes = len(play.stage.cluster.writes)
    play.look()
    assert len(play.stage.cluster.writes) == writes


def test_many_at_once_from_the_newest() -> None:
    play = Play(parallelism=2, order="Descending")
    play.look()
    assert list(play.runs()) == ["05", "04"]
    play.end("04")
    play.look()
    assert list(play.runs()) == ["05", "04", "03"]


def test_what_its_schedule_has_made_is_left_out_and_all_makes_it_anew() -> None:
    for mode, expected in (("Missing", (4, 2, 0, 0)), ("All", (6, 0, 0, 0))):
        play = Play(parallelism=9, mode=mode)
        deployment = play.stage.get("FlowDeployment", "etl") or {}
        from datetime import UTC, datetime

        from penstock_operator.core import schedules

        for hour in (1, 3):
            play.stage.create(schedules.run(deployment, HOURLY, datetime(2026, 1, 1, hour, tzinfo=UTC)))
        play.look()
        assert play.counts() == expected


def test_runs_that_did_not_complete_are_counted_so() -> None:
    play = Play(parallelism=9)
    play.look()
    for slot, state in (("00", "Completed"), ("01", "Failed"), ("02", "Crashed"), ("03", "Cancelled")):
        play.end(slot, state)
    play.stage.remove("FlowRun", play.runs()["04"])
    play.look()
    assert play.counts() == (6, 0, 1, 4)
    play.end("05")
    play.look()
    assert play.condition() == ("True", reasons.SOME_FAILED)


def test_a_cancelled_backfill_ends_its_runs_and_makes_no_more() -> None:
    play = Play(parallelism=2)
    play.look()
    play.stage.edit("Backfill", "night", cancel=True)
    play.look()
    assert play.condition() == ("False", reasons.CANCEL_REQUESTED)
    assert [run["spec"]["cancel"] for run in play.stage.cluster.kinds("FlowRun")] == [True, True]
    for slot in ("00", "01"):
        play.end(slot, "Cancelled")
    play.look()
    assert (play.counts(), play.condition()) == ((2, 0, 0, 2), ("True", reasons.CANCELLED))


def test_a_suspended_backfill_counts_and_makes_no_more(play: Play) -> None:
    play.look()
    play.stage.edit("Backfill", "night", suspend=True)
    play.end("00")
    play.look()
    assert (play.counts(), list(play.runs())) == ((1, 0, 1, 0), ["00"])
    assert play.condition() == ("False", reasons.BACKFILL_SUSPENDED)
    play.stage.edit("Backfill", "night", suspend=False)
    play.look()
    assert list(play.runs()) == ["00", "01"]


def test_an_edit_of_the_schedule_does_not_change_the_slots(play: Play) -> None:
    play.look()
    play.stage.edit("FlowDeployment", "etl", schedules=[])
    play.end("00")
    play.look()
    assert list(play.runs()) == ["00", "01"]


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("error", [Killed(), Unavailable(0, "", "no answer")], ids=["killed", "unavailable"])
def test_every_slot_has_one_run_and_counts_once_wherever_the_operator_fails(
    number: int, done: bool, error: BaseException
) -> None:
    play = Play(parallelism=2)
    count = 0

    def fail(write: Write) -> None:
        nonlocal count
        count += write.kind in ("FlowRun", "Backfill")
        if count == number:
            count += 1
            raise error

    def operator(whether: bool) -> None:
        quiet = lambda _: None  # noqa: E731
        play.stage.cluster.before = fail if whether and not done else quiet
        play.stage.cluster.after = fail if whether and done else quiet

    for _ in range(12):
        operator(True)
        try:
            play.look()
        except (Killed, Unavailable):
            if isinstance(error, Killed):
                play.restart()
        operator(False)
        for slot, name in play.runs().items():
            if "state" not in ((play.stage.get("FlowRun", name) or {}).get("status") or {}):
                play.end(slot, "Failed" if slot == "03" else "Completed")
    assert count > number, "the write that was to fail was there"
    assert sorted(play.runs()) == [f"0{hour}" for hour in range(6)]
    assert (play.counts(), play.condition()) == ((6, 0, 5, 1), ("True", reasons.SOME_FAILED))


def test_runs_are_uncounted_until_they_were_looked_at(play: Play) -> None:
    assert play.backfills.uncounted(KEY, "anything")  # nobody knows yet
    play.look()
    name = play.runs()["00"]
    assert play.backfills.uncounted(KEY, name)
    assert not play.backfills.uncounted(KEY, "another")
    play.end("00")
    play.look()
    assert not play.backfills.uncounted(KEY, name)
    play.backfills.forget()
    assert play.backfills.uncounted(KEY, name)
    play.stage.remove("Backfill", "night")
    play.look()
    assert not play.backfills.uncounted(KEY, name)


BAD: dict[str, tuple[Json, str, str]] = {
    "no such deployment": ({"deploymentRef": {"name": "elt"}}, reasons.DEPLOYMENT_NOT_FOUND, "apply it"),
    "no such schedule": ({"schedule": "daily"}, reasons.SCHEDULE_NOT_FOUND, "it has hourly"),
}


@pytest.mark.parametrize(("spec", "reason", "text"), BAD.values(), ids=BAD)
def test_what_is_missing_is_named_and_waited_for(spec: Json, reason: str, text: str) -> None:
    play = Play(**spec)
    found = play.look()
    assert found is not None
    assert found.waits_for is not None
    (condition,) = play.status()["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "False", reason)
    assert text in condition["message"]
    assert play.runs() == {}


def test_a_range_with_too_many_slots_is_refused(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MOST", 5)
    play.look()
    assert play.condition("Ready") == ("False", reasons.RANGE_TOO_LARGE)
    assert play.runs() == {}


DEAR: Json = {"slug": "hourly", "rrule": {"rule": "FREQ=SECONDLY;BYHOUR=3,15;BYMINUTE=0;BYSECOND=0"}}


def test_others_have_their_turn_while_slots_are_counted() -> None:
    play = Play(**{"from": "2025-12-20T00:00:00Z", "to": "2026-01-01T00:00:00Z"})
    play.stage.edit("FlowDeployment", "etl", schedules=[DEAR])
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    async def both() -> None:
        beside = asyncio.ensure_future(others())
        await play.backfills.reconcile(KEY)
        beside.cancel()

    asyncio.run(both())
    assert play.status()["total"] == 24
    assert turns > 15, "more than the API's answers take"


def test_a_range_that_takes_too_many_steps_is_told_and_begins_when_the_schedule_is_corrected(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MOST_STEPS", 1000)
    play.stage.edit("FlowDeployment", "etl", schedules=[DEAR])
    found = play.look()
    assert play.condition("Ready") == ("False", reasons.RANGE_TOO_LARGE)
    assert "schedules[hourly].rrule.rule" in play.status()["conditions"][0]["message"]
    assert found is not None
    assert found.waits_for == ("FlowDeployment", "etl")
    play.stage.edit("FlowDeployment", "etl", schedules=[HOURLY])
    play.look()
    assert list(play.runs()) == ["00"]


REFUSALS: dict[str, tuple[ApiError, str, list[str]]] = {
    "a quota may have room later": (Forbidden(403, "", "exceeded quota"), reasons.RUN_FORBIDDEN, []),
    "what is not valid will not be": (Invalid(422, "", "parameters"), reasons.RUN_INVALID, ["01"]),
}


@pytest.mark.parametrize(("error", "reason", "made"), REFUSALS.values(), ids=REFUSALS)
def test_a_run_that_is_refused_is_told_of(play: Play, error: ApiError, reason: str, made: list[str]) -> None:
    refused = False

    def refuse(write: Write) -> None:
        nonlocal refused
        if write.kind == "FlowRun" and not refused:
            refused = True
            raise error

    play.stage.cluster.before = refuse
    found = play.look()
    play.stage.cluster.before = lambda _: None
    assert play.condition("Ready") == ("False", reason)
    assert list(play.runs()) == made
    assert (found is not None) == (not made)
    if found is not None:
        assert found.at == play.stage.clock() + AGAIN
    play.look()
    assert play.condition("Ready")[0] == "True"


class TestWhatItBeganWithIsGone:
    """The runs that it has made are known by the deployment's uid, which its status keeps."""

    def begun(self) -> Play:
        play = Play(parallelism=2)
        play.look()
        play.stage.remove("FlowDeployment", "etl")
        return play

    def cancelled(self, play: Play) -> list[bool]:
        return [bool(body["spec"].get("cancel")) for body in play.stage.cluster.kinds("FlowRun")]

    def test_it_makes_no_more_runs_and_ends_with_those_under_way(self) -> None:
        play = self.begun()
        play.look()
        assert (play.condition(), self.cancelled(play)) == (("False", reasons.DEPLOYMENT_NOT_FOUND), [False, False])
        play.end("00")
        play.end("01", "Failed")
        play.look()
        assert (play.counts(), play.condition()) == ((2, 0, 1, 1), ("True", reasons.DEPLOYMENT_NOT_FOUND))

    def test_it_can_be_cancelled(self) -> None:
        play = self.begun()
        play.stage.edit("Backfill", "night", cancel=True)
        play.look()
        assert (play.condition(), self.cancelled(play)) == (("False", reasons.CANCEL_REQUESTED), [True, True])
        play.end("00", "Cancelled")
        play.end("01", "Cancelled")
        play.look()
        assert play.condition() == ("True", reasons.CANCELLED)

    def test_another_of_its_name_is_not_taken_for_it(self) -> None:
        play = self.begun()
        play.stage.apply("FlowDeployment", "etl", {"flowRef": {"name": "etl"}, "schedules": [HOURLY]})
        play.look()
        assert play.counts() == (2, 0, 0, 0), "they go on"
        assert len(play.runs()) == 2
        play.end("00")
        play.end("01")
        play.look()
        assert (play.counts(), play.condition()) == ((2, 0, 2, 0), ("True", reasons.DEPLOYMENT_NOT_FOUND))


@pytest.mark.parametrize("why", ["no deployment", "no such schedule", "too many slots"])
def test_one_that_never_began_is_cancelled_at_once(why: str) -> None:
    spec = {"no such schedule": {"schedule": "daily"}, "too many slots": {"from": "2001-01-01T00:00:00Z"}}
    play = Play(**spec.get(why, {}))
    if why == "no deployment":
        play.stage.remove("FlowDeployment", "etl")
    play.look()
    play.stage.edit("Backfill", "night", cancel=True)
    play.look()
    assert (play.condition(), play.runs()) == (("True", reasons.CANCELLED), {})
