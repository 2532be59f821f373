"""Which runs schedules make, and what the status says then: pure decisions."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.api import labels
from penstock_operator.core import schedules
from penstock_operator.core.views import format_time, parse_time

Json = dict[str, Any]
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
HOURLY = {"slug": "hourly", "cron": {"expression": "0 * * * *"}}


def at(text: str) -> datetime:
    """`06:30:05` of the first of January."""
    return datetime.fromisoformat(f"2026-01-01T{text}+00:00")


def deployment(*made: Json, generation: int = 1, **spec: Any) -> Json:
    return {
        "metadata": {
            "name": "etl",
            "namespace": "team",
            "uid": "u1",
            "generation": generation,
            "creationTimestamp": format_time(SIX),
            "resourceVersion": "1",
        },
        "spec": {"flowRef": {"name": "etl"}, "schedules": list(made), **spec},
    }


def after(body: Json, now: datetime) -> tuple[list[str], Json]:
    """The slots that are made, and the deployment as it then is."""
    plan = schedules.decide(body, now)
    status = {**(body.get("status") or {}), **plan.status()}
    made = [f"{slot:%H:%M:%S}" for turn in plan.turns for slot in turn.slots]
    return made, {**copy.deepcopy(body), "status": status}


def cursor(body: Json, slug: str = "hourly") -> str:
    found = schedules.read(body)[slug].time
    return f"{found:%H:%M:%S}"


def test_a_new_deployment_makes_what_is_due_after_its_creation() -> None:
    made, body = after(deployment(HOURLY), at("06:00:02"))
    assert (made, cursor(body)) == ([], "06:00:00")
    coming = [entry["time"][10:] for entry in body["status"]["nextRuns"]]
    assert coming == ["T07:00:00Z", "T08:00:00Z", "T09:00:00Z"], "as they stand in the table of kubectl"
    assert after(body, at("06:59:59"))[0] == []
    made, body = after(body, at("07:00:00"))
    assert (made, cursor(body)) == (["07:00:00"], "07:00:00")
    assert after(body, at("07:00:01"))[0] == []


def test_a_schedule_that_is_added_later_begins_when_it_is_seen() -> None:
    made, body = after(deployment(HOURLY, generation=2), at("09:00:10"))
    assert (made, cursor(body)) == ([], "09:00:10")


# The operator was away from 06:00 until 12:00:20 (or :02:00, so that no slot is on time).
AWAY: dict[str, tuple[Json, str, list[str]]] = {
    "by default what is no later than a minute is made": ({}, "12:00:20", ["12:00:00"]),
    "and nothing of what was missed": ({}, "12:02:00", []),
    "None says so": ({"catchUp": "None"}, "12:02:00", []),
    "a deadline shortens what is on time": ({"startingDeadlineSeconds": 10}, "12:00:20", []),
    "but does not lengthen it": ({"startingDeadlineSeconds": 7200}, "12:02:00", []),
    "Latest makes the last one that was missed": ({"catchUp": "Latest"}, "12:02:00", ["12:00:00"]),
    "and none where one is on time": ({"catchUp": "Latest"}, "12:00:20", ["12:00:00"]),
    "unless it is past the deadline": ({"catchUp": "Latest", "startingDeadlineSeconds": 100}, "12:02:00", []),
    "All makes all of the deadline, oldest first": (
        {"catchUp": "All", "startingDeadlineSeconds": 7400},
        "12:02:00",
        ["10:00:00", "11:00:00", "12:00:00"],
    ),
}


@pytest.mark.parametrize(("spec", "back", "expected"), AWAY.values(), ids=AWAY)
def test_what_was_missed(spec: Json, back: str, expected: list[str]) -> None:
    _, body = after(deployment(HOURLY, **spec), at("06:00:01"))
    made, body = after(body, at(back))
    assert made == expected
    assert cursor(body) == "12:00:00"  # whatever was left out is left out for good
    assert after({**body, "spec": {**body["spec"], "catchUp": "Latest"}}, at("12:03:00"))[0] == []


def test_no_look_makes_more_runs_than_the_ceiling() -> None:
    often = {"slug": "often", "interval": {"seconds": 1}}
    body = deployment(often, catchUp="All", startingDeadlineSeconds=86_400)
    made, body = after(body, at("12:00:00"))
    assert (len(made), made[0], made[-1]) == (schedules.CEILING, "11:58:21", "12:00:00")
    assert after(body, at("12:00:01"))[0] == ["12:00:01"]


def test_what_is_suspended_makes_nothing_and_does_not_make_up_for_it() -> None:
    for which in ("deployment", "schedule"):
        spec: Json = {"catchUp": "All", "startingDeadlineSeconds": 86_400}
        _, body = after(deployment(HOURLY, **spec), at("06:00:01"))
        target = body["spec"] if which == "deployment" else body["spec"]["schedules"][0]
        target["suspend"] = True
        made, body = after(body, at("06:30:00"))
        assert (made, body["status"]["nextRuns"]) == ([], [])
        assert after(body, at("09:00:10"))[0] == []
        target = body["spec"] if which == "deployment" else body["spec"]["schedules"][0]
        target["suspend"] = False
        made, body = after(body, at("10:30:00"))
        assert (made, cursor(body)) == ([], "10:30:00")
        assert after(body, at("11:00:00"))[0] == ["11:00:00"]


def test_what_is_edited_begins_anew_when_it_is_seen() -> None:
    _, body = after(deployment(HOURLY, catchUp="All", startingDeadlineSeconds=86_400), at("06:00:01"))
    body["spec"]["schedules"][0]["cron"]["expression"] = "*/10 * * * *"
    made, body = after(body, at("06:35:00"))
    assert (made, cursor(body)) == ([], "06:35:00")
    assert after(body, at("06:40:00"))[0] == ["06:40:00"]


def test_other_parameters_are_no_edit_of_when_it_is_due() -> None:
    _, body = after(deployment(HOURLY), at("06:00:01"))
    body["spec"]["schedules"][0]["parameters"] = {"n": 2}
    assert not schedules.changed(body, schedules.decide(body, at("06:30:00")))


def test_a_slug_that_goes_and_comes_again_does_not_go_back() -> None:
    _, body = after(deployment(HOURLY, catchUp="All", startingDeadlineSeconds=86_400), at("06:00:01"))
    made, body = after(body, at("07:00:00"))
    gone, body["spec"]["schedules"] = body["spec"]["schedules"], []
    _, body = after(body, at("07:30:00"))
    assert cursor(body) == "07:00:00"
    body["spec"]["schedules"] = gone
    made, body = after(body, at("09:30:00"))
    assert (made, cursor(body)) == ([], "09:30:00")
    assert after(body, at("10:00:00"))[0] == ["10:00:00"]


def test_runs_are_counted_and_end_the_schedule() -> None:
    _, body = after(deployment({**HOURLY, "maxRuns": 2}), at("06:00:01"))
    assert len(body["status"]["nextRuns"]) == 2
    made, body = after(body, at("07:00:00"))
    assert len(body["status"]["nextRuns"]) == 1
    made, body = after(body, at("08:00:00"))
    assert (made, body["status"]["nextRuns"]) == (["08:00:00"], [])
    assert not schedules.changed(body, schedules.decide(body, at("09:00:00")))
    body["spec"]["schedules"][0]["maxRuns"] = 3
    _, body = after(body, at("09:30:00"))
    made, body = after(body, at("10:00:01"))
    assert (made, body["status"]["lastScheduled"][0]["runs"]) == (["10:00:00"], 3)


LIVES: dict[str, tuple[Json, Json]] = {
    "used up": ({"maxRuns": 2}, {"maxRuns": 50}),
    "at its end": ({"end": "2026-01-01T08:30:00Z"}, {"end": "2027-01-01T00:00:00Z"}),
    "at its end, which is unset": ({"end": "2026-01-01T08:30:00Z"}, {"end": None}),
    "at an end that is moved twice": ({"end": "2026-01-01T08:30:00Z"}, {"end": "2026-01-01T09:30:00Z"}),
}


@pytest.mark.parametrize("catch_up", ["None", "Latest", "All"])
@pytest.mark.parametrize(("first", "then"), LIVES.values(), ids=LIVES)
def test_what_had_ended_does_not_make_up_for_that_time(first: Json, then: Json, catch_up: str) -> None:
    month = {"catchUp": catch_up, "startingDeadlineSeconds": 30 * 86_400}
    _, body = after(deployment({**HOURLY, **first}, **month), at("06:00:01"))
    for time in ("07:00:00", "08:00:00"):
        made, body = after(body, at(time))
        assert made == [time]
    for time in ("08:10:00", "12:10:00", "18:10:00"):
        made, body = after(body, at(time))
        assert (made, cursor(body)) == ([], "08:00:00")
    body["spec"]["schedules"][0].update(then)
    made, body = after(body, at("20:10:00"))
    assert made == []
    body["spec"]["schedules"][0].update({"end": None, "maxRuns": 50})
    made, body = after(body, at("20:20:00"))
    assert (made, cursor(body)) == ([], "20:10:00" if then != {"end": "2026-01-01T09:30:00Z"} else "20:20:00")
    made, body = after(body, at("21:00:00"))
    assert made == ["21:00:00"]


def test_more_runs_for_what_has_not_ended_leave_out_no_slot() -> None:
    """Also where they were given while the operator was away."""
    month = {"catchUp": "All", "startingDeadlineSeconds": 30 * 86_400}
    _, body = after(deployment({**HOURLY, "maxRuns": 3}, **month), at("06:00:01"))
    made, body = after(body, at("07:00:00"))
    body["spec"]["schedules"][0]["maxRuns"] = 5
    made, body = after(body, at("10:10:00"))
    assert made == ["08:00:00", "09:00:00", "10:00:00"]


def test_a_run_that_cannot_be_made_is_not_the_last_of_all() -> None:
    _, body = after(deployment({**HOURLY, "maxRuns": 1}), at("06:00:01"))
    (turn,) = schedules.decide(body, at("07:00:00")).turns
    assert turn.after.suspended
    assert not turn.left_out(1).after.suspended
    assert turn.left_out(0) == turn
    body["status"]["lastScheduled"] = [turn.left_out(1).after.written()]
    assert after(body, at("08:00:00"))[0] == ["08:00:00"]


def test_a_schedule_that_cannot_be_read_stops_no_other() -> None:
    bad = {"slug": "bad", "cron": {"expression": "0 0 30 2 *"}}
    worse = {"slug": "worse", "rrule": {"rule": "FREQ=SOMETIMES"}}
    worst = {"slug": "worst", "rrule": {"rule": "FREQ=DAILY;BYEASTER=400"}}
    endless = {"slug": "endless", "rrule": {"rule": "FREQ=SECONDLY;BYSETPOS=2"}}
    late = {"slug": "late", "cron": {"expression": "@daily"}, "end": "9999-12-31T23:59:59-12:00"}
    _, body = after(deployment(worse, worst, endless, late, bad, HOURLY), at("06:00:01"))
    made, body = after(body, at("07:00:00"))
    assert made == ["07:00:00"]
    assert cursor(body, "worse") == "06:00:00"


def test_a_run_that_is_refused_for_now_keeps_its_slot() -> None:
    minutely = {"slug": "hourly", "cron": {"expression": "*/20 * * * * */20"}}
    _, body = after(deployment(minutely), at("06:00:00"))
    (turn,) = schedules.decide(body, at("06:00:45")).turns
    assert [f"{slot:%S}" for slot in turn.slots] == ["20", "40"]
    for made, second in ((0, "06:00:00"), (1, "06:00:20")):
        stopped = turn.stopped(made)
        assert (f"{stopped.after.time:%H:%M:%S}", stopped.after.runs) == (second, made)
        assert stopped.next[0] == turn.slots[made]
    assert turn.left_out(1).after.runs == 1


def test_the_next_slots_of_all_schedules_are_sorted() -> None:
    other = {"slug": "other", "cron": {"expression": "30 * * * *"}}
    _, body = after(deployment(HOURLY, other), at("06:00:01"))
    found = [(entry["slug"], entry["time"][11:16]) for entry in body["status"]["nextRuns"]]
    assert found[:4] == [("other", "06:30"), ("hourly", "07:00"), ("other", "07:30"), ("hourly", "08:00")]
    assert schedules.decide(body, at("06:00:01")).due == at("06:30:00")


def test_status_stays_within_the_bounds_of_the_api() -> None:
    many = [{"slug": f"s{number}", "interval": {"seconds": 60}} for number in range(32)]
    _, body = after(deployment(*many), at("06:00:01"))
    body["spec"]["schedules"] = [{"slug": f"t{number}", "interval": {"seconds": 60}} for number in range(32)]
    _, body = after(body, at("06:00:02"))
    body["spec"]["schedules"] = [{"slug": f"v{number}", "interval": {"seconds": 60}} for number in range(32)]
    _, body = after(body, at("06:00:03"))
    assert (len(body["status"]["nextRuns"]), len(body["status"]["lastScheduled"])) == (64, 64)


def test_the_run_of_a_slot() -> None:
    schedule = {**HOURLY, "parameters": {"n": 2}}
    run = schedules.run(deployment(schedule), schedule, at("07:00:00"))
    assert run["metadata"]["labels"] == {labels.DEPLOYMENT: "etl", labels.SCHEDULE: "hourly"}
    assert run["metadata"]["annotations"] == {labels.CAUSE: "schedule u1 hourly 2026-01-01T07:00:00.000000Z"}
    assert run["spec"] == {
        "deploymentRef": {"name": "etl"},
        "scheduledTime": "2026-01-01T07:00:00.000000Z",
        "parameters": {"n": 2},
    }


def test_what_is_kept_of_a_deployment_is_enough_to_decide() -> None:
    text = "x" * schedules.KEPT_WHOLE
    whole = deployment({**HOURLY, "parameters": {"n": 1}}, parameters={"n": 2}, description=text, suspend=False)
    kept = schedules.projection(whole)
    assert schedules.decide(kept, at("07:00:00")).status() == schedules.decide(whole, at("07:00:00")).status()
    assert text not in str(kept)
    assert schedules.is_cut(kept)
    assert schedules.projection(kept) == kept


def test_a_small_deployment_is_kept_whole() -> None:
    whole = deployment({**HOURLY, "parameters": {"n": 1}}, parameters={"n": 2}, pod={"env": []})
    kept = schedules.projection(whole)
    assert kept["spec"] == whole["spec"]
    assert not schedules.is_cut(kept)


def test_a_run_may_be_due_by_what_the_status_says() -> None:
    _, body = after(deployment(HOURLY), at("06:00:01"))
    assert not schedules.overdue(body, at("06:59:59"))
    assert schedules.overdue(body, at("07:00:00"))
    assert not schedules.overdue(deployment(HOURLY), at("07:00:00"))


def test_a_run_waits_for_its_cursor() -> None:
    _, body = after(deployment(HOURLY), at("06:00:01"))
    assert schedules.waits_for_its_cursor(body, "hourly", at("07:00:00"))
    assert not schedules.waits_for_its_cursor(body, "hourly", at("06:00:00"))
    assert not schedules.waits_for_its_cursor(body, "other", at("07:00:00"))
    assert not schedules.waits_for_its_cursor(None, "hourly", at("07:00:00"))


def test_a_run_that_a_new_deployment_has_made_waits_for_the_first_cursor() -> None:
    new = deployment(HOURLY, {"slug": "left", "suspend": True})
    assert schedules.waits_for_its_cursor(new, "hourly", at("07:00:00"))
    assert not schedules.waits_for_its_cursor(new, "left", at("07:00:00"))
    assert not schedules.waits_for_its_cursor(new, "other", at("07:00:00"))


forms = st.sampled_from(
    [
        {"cron": {"expression": "*/5 * * * *"}},
        {"cron": {"expression": "30 2 * * *"}, "timezone": "America/New_York"},
        {"interval": {"seconds": 47}},
        {"rrule": {"rule": "FREQ=HOURLY;INTERVAL=3"}, "timezone": "Europe/Berlin"},
    ]
)
steps = st.lists(
    st.tuples(st.sampled_from([1, 30, 61, 600, 7200, 90_000, -45, -4000]), st.sampled_from(["", "hold", "go", "edit"])),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(forms, st.sampled_from(["None", "Latest", "All"]), steps, st.sampled_from([None, 7]))
def test_no_slot_is_made_twice_and_cursors_only_go_forward(
    form: Json, catch_up: str, played: list[tuple[int, str]], most: int | None
) -> None:
    """Whatever clocks do, and whatever is said of the schedule meanwhile."""
    schedule = {"slug": "hourly", **form, **({"maxRuns": most} if most else {})}
    body = deployment(schedule, catchUp=catch_up, startingDeadlineSeconds=3600)
    now, seen, known = datetime(2026, 3, 8, 5, tzinfo=UTC), [], None
    for seconds, act in played:
        now += timedelta(seconds=seconds)
        entry = body["spec"]["schedules"][0]
        if act in ("hold", "go"):
            entry["suspend"] = act == "hold"
        elif act == "edit":
            entry["timezone"] = "UTC"
        plan = schedules.decide(body, now)
        made = [slot for turn in plan.turns for slot in turn.slots]
        assert all(slot <= now for slot in made)
        assert made == sorted(set(made))
        assert not set(made) & set(seen)
        assert not (act == "hold" and made)
        seen += made
        body = {**body, "status": plan.status()}
        (found,) = body["status"]["lastScheduled"]
        time = parse_time(found["time"])
        assert time is not None
        assert known is None or time >= known
        assert not made or time >= made[-1]
        assert most is None or len(seen) <= most
        assert found["runs"] == len(seen)
        assert not schedules.changed(body, schedules.decide(body, now)), "a second look finds nothing to do"
        known = time
