"""Runs of schedules: made once, whatever fails in between; told of where they cannot be made."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from crash_points import Killed
from memory_cluster import Write
from penstock.api import labels, names, reasons
from penstock_operator.cluster import AlreadyExists, ApiError, Forbidden, Invalid, Unavailable
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.core import schedules
from penstock_operator.core.views import parse_time
from penstock_operator.reconcile.schedules import AGAIN, Schedules
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE, Stage

Json = dict[str, Any]
HOURLY: Json = {"slug": "hourly", "cron": {"expression": "0 * * * *"}}
KEY = Key(NAMESPACE, "etl")


class Play:
    """A deployment with schedules, created at six, and an operator that can be killed."""

    def __init__(self, *schedules: Json, **spec: Any) -> None:
        self.stage = Stage(deployment={"schedules": list(schedules or (HOURLY,)), **spec})
        self.made: list[str] = []
        self.later: list[Key] = []
        self.restart()

    def restart(self) -> None:
        self.cache = ObjectCache()
        told = self.made.append
        self.later.clear()
        self.schedules = Schedules(
            self.stage.cluster,
            self.cache,
            self.stage.clock,
            lambda run: told(run["metadata"]["name"]),
            self.later.append,
        )

    def hear(self) -> None:
        body = self.stage.get("FlowDeployment", "etl")
        if body is None:
            self.cache.drop("FlowDeployment", KEY)
        else:
            self.cache.put("FlowDeployment", body)

    def look(self, seconds: float = 0, *, hears: bool = True, writes: bool = True) -> Requeue | None:
        self.stage.clock.advance(seconds)
        if hears:
            self.hear()
        again = asyncio.run(self.schedules.reconcile(KEY))
        while writes and self.later:
            asyncio.run(self.schedules.write(self.later[0]))
            self.later.pop(0)
        return again

    def slots(self) -> list[str]:
        """When the runs that are there were due."""
        return sorted(body["spec"]["scheduledTime"][11:19] for body in self.stage.cluster.kinds("FlowRun"))

    def cursor(self) -> Json:
        body = self.stage.get("FlowDeployment", "etl") or {}
        (found,) = body["status"]["lastScheduled"]
        entry: Json = found
        return entry

    def condition(self) -> tuple[str, str] | None:
        conditions = (self.stage.get("FlowDeployment", "etl") or {})["status"].get("conditions") or []
        return next(((c["status"], c["reason"]) for c in conditions if c["type"] == reasons.SCHEDULING), None)


def test_a_run_is_made_when_it_is_due_and_once() -> None:
    play = Play()
    assert play.look() == Requeue(play.stage.clock() + timedelta(hours=1))
    assert play.slots() == []
    assert play.look(3600.01) == Requeue(parse_time("2026-01-01T08:00:00Z"))
    assert play.slots() == ["07:00:00"]
    assert (play.cursor()["time"][11:19], play.cursor()["runs"]) == ("07:00:00", 1)
    writes = len(play.stage.cluster.writes)
    play.look(1)
    play.restart()
    play.look(1)
    assert len(play.stage.cluster.writes) == writes
    assert play.made == [play.stage.names("FlowRun")[0]]


def test_the_name_follows_from_its_cause() -> None:
    play = Play({**HOURLY, "parameters": {"n": 5}})
    play.look()
    play.look(3600)
    (run,) = play.stage.cluster.kinds("FlowRun")
    uid = (play.stage.get("FlowDeployment", "etl") or {})["metadata"]["uid"]
    due = datetime.fromisoformat("2026-01-01T07:00:00+00:00")
    assert run["metadata"]["name"] == names.scheduled_run("etl", uid, "hourly", due)
    assert run["spec"]["parameters"] == {"n": 5}


class Unasked:
    """A cluster that nobody may ask anything."""


def test_nothing_is_read_or_written_while_nothing_is_due() -> None:
    play = Play()
    play.look()
    play.hear()
    play.schedules = Schedules(
        Unasked(),  # type: ignore[arg-type]
        play.cache,
        play.stage.clock,
        lambda _: None,
        lambda _: None,
    )
    for _ in range(5):
        play.look(60)


def fail_at(play: Play, number: int, error: BaseException, *, done: bool) -> None:
    """Let the operator's write of that number fail: before it is done, or after, so that only the answer is lost."""
    count = 0

    def hook(_: Write) -> None:
        nonlocal count
        count += 1
        if count == number:
            raise error

    play.stage.cluster.before, play.stage.cluster.after = (lambda _: None, hook) if done else (hook, lambda _: None)


def at_peace(play: Play) -> None:
    play.stage.cluster.before = play.stage.cluster.after = lambda _: None


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("error", [Killed(), Unavailable(0, "", "no answer")], ids=["killed", "unavailable"])
def test_every_slot_makes_one_run_wherever_the_operator_fails(number: int, done: bool, error: BaseException) -> None:
    """Three slots were missed, and each write fails once: nothing is lost, made twice, or counted twice."""
    play = Play(catchUp="All", startingDeadlineSeconds=86_400)
    play.look()
    fail_at(play, number, error, done=done)
    with pytest.raises(type(error)):
        play.look(3 * 3600)
    at_peace(play)
    if isinstance(error, Killed):
        play.restart()
    play.look(1)
    assert play.slots() == ["07:00:00", "08:00:00", "09:00:00"]
    assert play.cursor()["runs"] == 3
    assert play.condition() == ("True", "Scheduling")


def test_an_operator_that_lags_behind_makes_nothing_twice() -> None:
    play = Play()
    play.look()
    stale = play.stage.get("FlowDeployment", "etl")
    assert stale is not None
    play.look(3600)
    play.restart()
    play.cache.put("FlowDeployment", stale)
    play.look(1, hears=False)
    assert play.slots() == ["07:00:00"]
    assert play.cursor()["runs"] == 1
    assert play.made == play.stage.names("FlowRun")


def test_what_is_due_is_made_with_one_request_and_its_cursor_written_later() -> None:
    play = Play()
    play.look()
    known = len(play.stage.cluster.writes)
    play.look(3600, writes=False)
    assert [write.kind for write in play.stage.cluster.writes[known:]] == ["FlowRun"]
    assert play.look(1, writes=False) == Requeue(parse_time("2026-01-01T08:00:00Z")), "nothing is due"
    play.look(3600, writes=False)
    assert play.slots() == ["07:00:00", "08:00:00"]
    assert play.cursor()["runs"] == 0
    play.look(1)
    assert (play.cursor()["time"][11:19], play.cursor()["runs"]) == ("08:00:00", 2)
    assert [write.kind for write in play.stage.cluster.writes[known:]] == ["FlowRun", "FlowRun", "FlowDeployment"]


def test_what_a_later_operator_could_not_tell_is_written_at_once() -> None:
    """How many runs there were of so many, and since when an edited schedule counts; but not when a new one began."""
    play = Play({**HOURLY, "maxRuns": 1})
    play.look(writes=False)
    assert "status" not in (play.stage.get("FlowDeployment", "etl") or {})
    play.look(3600, writes=False)
    assert play.cursor()["runs"] == 1
    play.stage.edit("FlowDeployment", "etl", schedules=[{"slug": "hourly", "cron": {"expression": "30 * * * *"}}])
    play.look(60, writes=False)
    assert play.cursor()["time"][11:19] == "07:01:00"
    play.stage.edit("FlowDeployment", "etl", schedules=[])
    play.look(3600, writes=False)
    assert (play.cursor()["slug"], play.cursor()["suspended"]) == ("hourly", True), "one of its name may come back"


@pytest.mark.parametrize("done", [False, True], ids=["lost", "unheard of"])
def test_the_last_of_so_many_runs_counts_though_its_cursor_cannot_be_written(done: bool) -> None:
    play = Play({**HOURLY, "maxRuns": 1})
    play.look()
    fail_at(play, 2, Unavailable(0, "", "no answer"), done=done)
    with pytest.raises(Unavailable):
        play.look(3600)
    at_peace(play)
    play.look(3600)
    assert play.slots() == ["07:00:00"]
    assert play.cursor()["runs"] == 1


def test_a_restart_finds_runs_whose_cursors_were_not_written() -> None:
    play = Play()
    play.look()
    play.look(3600, writes=False)
    play.restart()
    play.look(30)
    assert play.slots() == ["07:00:00"]
    assert play.cursor()["runs"] == 1


def test_a_cursor_that_cannot_be_written_now_is_written_later() -> None:
    play = Play()
    play.look()
    fail_at(play, 2, Unavailable(0, "", "no answer"), done=False)
    with pytest.raises(Unavailable):
        play.look(3600)
    at_peace(play)
    asyncio.run(play.schedules.write(KEY))
    assert play.cursor()["runs"] == 1
    known = len(play.stage.cluster.writes)
    asyncio.run(play.schedules.write(KEY))
    assert len(play.stage.cluster.writes) == known


def test_what_is_too_large_to_be_kept_is_read_when_a_run_is_made() -> None:
    large = "x" * schedules.KEPT_WHOLE
    play = Play({**HOURLY, "parameters": {"text": large}})
    play.look()
    play.look(3600)
    (run,) = play.stage.cluster.kinds("FlowRun")
    assert run["spec"]["parameters"] == {"text": large}


def test_a_large_one_that_was_suspended_just_now_makes_nothing() -> None:
    play = Play({**HOURLY, "parameters": {"text": "x" * schedules.KEPT_WHOLE}})
    play.look()
    play.stage.edit("FlowDeployment", "etl", suspend=True)
    play.look(3600, hears=False)
    assert play.slots() == []


def test_cursors_that_are_not_written_are_none_of_a_namesake() -> None:
    play = Play()
    play.look()
    play.look(3600, writes=False)
    body = play.stage.get("FlowDeployment", "etl") or {}
    assert play.schedules.ahead(KEY, body)["status"]["lastScheduled"][0]["runs"] == 1
    other = {**body, "metadata": {**body["metadata"], "uid": "other"}}
    assert play.schedules.ahead(KEY, other) is other
    play.schedules.clear()
    assert play.schedules.ahead(KEY, body) is body


def test_a_clock_that_goes_back_makes_nothing_twice() -> None:
    play = Play()
    play.look()
    play.look(3600)
    play.look(-1800)
    play.look(1800)
    assert play.slots() == ["07:00:00"]
    play.look(3600)
    assert play.slots() == ["07:00:00", "08:00:00"]


def test_a_name_that_somebody_else_has_taken_is_told_and_its_slot_left_out() -> None:
    play = Play()
    play.look()
    uid = (play.stage.get("FlowDeployment", "etl") or {})["metadata"]["uid"]
    due = datetime.fromisoformat("2026-01-01T07:00:00+00:00")
    name = names.scheduled_run("etl", uid, "hourly", due)
    play.stage.submit(name)
    play.look(3600)
    assert play.condition() == ("False", reasons.RUN_NAME_TAKEN)
    assert (play.cursor()["time"][11:19], play.cursor()["runs"]) == ("07:00:00", 0)
    play.look(3600)
    assert play.condition() == ("True", "Scheduling")
    assert play.cursor()["runs"] == 1


REFUSALS: dict[str, tuple[ApiError, str, bool]] = {
    "a quota may have room later": (Forbidden(403, "", "exceeded quota"), reasons.RUN_FORBIDDEN, True),
    "what is not valid will not be": (Invalid(422, "", "parameters: too many"), reasons.RUN_INVALID, False),
}


@pytest.mark.parametrize(("error", "reason", "again"), REFUSALS.values(), ids=REFUSALS)
def test_a_run_that_is_refused_is_told_of(error: ApiError, reason: str, again: bool) -> None:
    play = Play()
    play.look()
    fail_at(play, 1, error, done=False)
    found = play.look(3600)
    assert play.condition() == ("False", reason)
    at_peace(play)
    assert found is not None
    assert (found.at == play.stage.clock() + AGAIN) == again
    play.look(AGAIN.total_seconds())
    assert play.slots() == (["07:00:00"] if again else [])
    assert play.condition() == (("True", "Scheduling") if again else ("False", reason))
    assert play.cursor()["runs"] == int(again)


def test_one_that_is_refused_for_too_long_is_left_out() -> None:
    play = Play()
    play.look()
    play.stage.cluster.before = _refuse
    play.look(3600)
    for _ in range(7):
        play.look(AGAIN.total_seconds())
    at_peace(play)
    play.look(1)
    assert play.slots() == []
    assert play.cursor()["time"][11:19] == "07:00:00"


def _refuse(write: Write) -> None:
    if write.kind == "FlowRun":
        raise Forbidden(403, "", "exceeded quota")


def test_other_schedules_go_on_while_one_is_refused() -> None:
    play = Play(HOURLY, {"slug": "too", "cron": {"expression": "0 * * * *"}})
    play.look()
    fail_at(play, 1, Forbidden(403, "", "exceeded quota"), done=False)
    play.look(3600)
    (run,) = play.stage.cluster.kinds("FlowRun")
    assert run["metadata"]["labels"][labels.SCHEDULE] == "too"


def test_an_edit_that_comes_in_between_is_decided_on_again() -> None:
    play = Play()
    play.look()

    def meanwhile(write: Write) -> None:
        if write.kind == "FlowDeployment":
            at_peace(play)
            play.stage.edit("FlowDeployment", "etl", suspend=True)

    play.stage.cluster.before = meanwhile
    play.look(3600)
    assert play.cursor()["runs"] == 1
    assert play.look(0) is None
    assert play.slots() == ["07:00:00"]
    assert play.cursor()["suspended"] is True
    play.stage.edit("FlowDeployment", "etl", suspend=False)
    play.look(1)
    assert play.slots() == ["07:00:00"]


def test_a_deployment_that_is_gone_makes_nothing() -> None:
    play = Play()
    play.look()
    play.look(3600, writes=False)
    play.stage.remove("FlowDeployment", "etl")
    assert play.look(3600) is None
    assert play.slots() == ["07:00:00"]


def test_a_deployment_that_is_deleted_before_its_cursor_is_written_is_done_with() -> None:
    play = Play()
    play.look()
    play.look(3600, writes=False)
    play.stage.remove("FlowDeployment", "etl")
    asyncio.run(play.schedules.write(KEY))
    fail_at(play, 1, AssertionError("it is written again"), done=False)
    asyncio.run(play.schedules.write(KEY))


def test_a_taken_name_that_is_gone_again_counts_as_made() -> None:
    """Somebody deleted the run between the refusal and the look at it: it was there, so it was made."""
    play = Play()
    play.look()
    fail_at(play, 1, AlreadyExists(409, "AlreadyExists", "there"), done=False)
    play.look(3600)
    assert play.cursor()["runs"] == 1
