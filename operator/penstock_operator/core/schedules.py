"""Which runs a deployment's schedules are to make now, and what its status then says of them.

`reconcile.schedules` calls `decide` with the deployment and the time, makes the runs, and writes `Plan.status`. The
cursor of a schedule, the last slot that was turned into a run or left out, only moves forward: what retention deletes
is not made again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from penstock.api import labels, names
from penstock.errors import InvalidSchedule
from penstock.schedules.slots import Slots, present

from .views import Body, format_seconds, format_time, parse_time

ON_TIME = timedelta(seconds=60)  # a slot no later than this was not missed: operators are restarted, leaders change
CEILING = 100  # runs that one look makes for a schedule, as a CronJob's controller counts missed times
SHOWN = 3  # next slots in status, of each schedule
MOST_SHOWN, MOST_CURSORS = 64, 64  # the bounds of the API
KEPT_WHOLE = 2 * 1024  # bytes of JSON up to which a spec is kept as it is
KEPT_SPEC = ("flowRef", "workPool", "queue", "priority", "concurrency", "tags", "suspend")
KEPT_SPEC_OF_SCHEDULES = ("schedules", "catchUp", "startingDeadlineSeconds")
KEPT_SPEC_OF_RETENTION = ("historyLimits", "ttlSecondsAfterFinished")
CUT = "cut"  # beside the spec of which only that is kept


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a schedule has come: an entry of `status.lastScheduled`."""

    slug: str
    time: datetime
    runs: int = 0
    of: str = ""
    suspended: bool = False

    @classmethod
    def read(cls, entry: Body) -> Cursor:
        """From the status."""
        time = parse_time(entry["time"])
        assert time is not None
        runs, of = int(entry.get("runs") or 0), str(entry.get("of") or "")
        return cls(str(entry["slug"]), time, runs, of, bool(entry.get("suspended")))

    def written(self) -> Body:
        """For the status."""
        entry: Body = {"slug": self.slug, "time": format_time(self.time), "runs": self.runs, "of": self.of}
        return {**entry, "suspended": True} if self.suspended else entry


@dataclass(frozen=True, slots=True)
class Turn:
    """What one schedule does now: these slots become runs, one after the other, and the cursor goes on."""

    schedule: Body
    before: Cursor
    after: Cursor
    slots: tuple[datetime, ...] = ()
    next: tuple[datetime, ...] = ()

    def stopped(self, made: int) -> Turn:
        """The turn, where only so many of its runs could be made, and the next one is to be tried again."""
        time = self.slots[made - 1] if made else self.before.time
        after = replace(self.before, time=max(time, self.before.time), runs=self.before.runs + made)
        return replace(self, after=after, slots=self.slots[:made], next=(self.slots[made], *self.next)[:SHOWN])

    def left_out(self, number: int) -> Turn:
        """The turn, where so many of its runs cannot be made, ever: others may be in their place."""
        suspended = self.after.suspended and not number
        return replace(self, after=replace(self.after, runs=self.after.runs - number, suspended=suspended))


@dataclass(frozen=True, slots=True)
class Plan:
    """What all schedules of a deployment do now."""

    turns: tuple[Turn, ...] = ()
    gone: tuple[Cursor, ...] = ()
    """Of schedules that are no more: one of the same slug that comes later does not begin before the first ended."""

    @property
    def due(self) -> datetime | None:
        """The next slot of all."""
        return min((turn.next[0] for turn in self.turns if turn.next), default=None)

    def status(self) -> Body:
        """The fields of the deployment's status; empty lists where there is nothing to say."""
        each = min(SHOWN, max(1, MOST_SHOWN // max(1, len(self.turns))))
        coming = sorted((time, turn.after.slug) for turn in self.turns for time in turn.next[:each])
        gone = sorted(self.gone, key=lambda cursor: cursor.time, reverse=True)
        cursors = [*(turn.after for turn in self.turns), *gone][:MOST_CURSORS]
        return {
            "nextRuns": [{"slug": slug, "time": format_seconds(time)} for time, slug in coming],
            "lastScheduled": [cursor.written() for cursor in cursors],
        }


def decide(deployment: Body, now: datetime) -> Plan:
    """The plan. A schedule that cannot be read keeps its cursor and does nothing; the Ready condition tells of it."""
    spec, meta = deployment["spec"], deployment["metadata"]
    cursors = read(deployment)
    created = parse_time(meta["creationTimestamp"])
    assert created is not None
    since = created if meta.get("generation") == 1 else now
    turns: dict[str, Turn] = {}
    for schedule in present(spec):
        slug = str(schedule["slug"])
        cursor = cursors.pop(slug, None) or Cursor(slug, min(since, now), of=_digest(schedule))
        if slug not in turns:
            turns[slug] = _turn(schedule, cursor, spec, created, now)
    gone = tuple(replace(cursor, suspended=True) for cursor in cursors.values())
    return Plan(tuple(turns.values()), gone)


def read(deployment: Body) -> dict[str, Cursor]:
    """The cursors in the status, by slug."""
    entries = (deployment.get("status") or {}).get("lastScheduled") or ()
    return {entry["slug"]: Cursor.read(entry) for entry in entries}


def changed(deployment: Body, plan: Plan) -> bool:
    """Whether the status would say something new; a clock that goes on is nothing new."""
    return not says(deployment, plan.status())


def _instants(entries: Sequence[Body]) -> list[Any]:
    return [{**entry, "time": parse_time(entry["time"])} for entry in entries]


def _turn(schedule: Body, cursor: Cursor, spec: Body, created: datetime, now: datetime) -> Turn:
    before, held = cursor, bool(spec.get("suspend") or schedule.get("suspend"))
    if held:
        return Turn(schedule, before, replace(cursor, suspended=True))
    of = _digest(schedule)
    if cursor.suspended or cursor.of != of:  # what it has missed meanwhile was never meant to run
        cursor = replace(cursor, time=max(cursor.time, now), of=of, suspended=False)
    try:
        slots = Slots(schedule, created)
        turn = _fires(Turn(schedule, cursor, cursor), slots, spec, now)
    except InvalidSchedule:
        return Turn(schedule, before, before)
    return turn if turn.next else _ended(turn, before)


def _ended(turn: Turn, before: Cursor) -> Turn:
    """It has no further slot: until an edit gives it some, there is nothing that it misses."""
    still = before.of == turn.after.of and not turn.slots  # where it stands; that time goes on is nothing new
    return replace(turn, after=replace(before if still else turn.after, suspended=True))


def _fires(turn: Turn, slots: Slots, spec: Body, now: datetime) -> Turn:
    cursor, most = turn.before, turn.schedule.get("maxRuns")
    left = None if most is None else int(most) - cursor.runs
    if left is not None and left <= 0:
        return turn
    coming = slots.next(cursor.time, SHOWN)
    if not coming or coming[0] > now:
        return replace(turn, next=tuple(coming if left is None else coming[:left]))
    made = _due(slots, cursor.time, spec, now)
    if left is not None:
        made, left = made[:left], max(0, left - len(made))
    (last,), _ = slots.newest(cursor.time, now, 1)
    after = replace(cursor, time=last, runs=cursor.runs + len(made))
    coming = slots.next(now, SHOWN)
    return replace(turn, after=after, slots=tuple(made), next=tuple(coming if left is None else coming[:left]))


def _due(slots: Slots, cursor: datetime, spec: Body, now: datetime) -> list[datetime]:
    """The slots after the cursor that become runs; the others are left out."""
    deadline = timedelta(seconds=int(spec.get("startingDeadlineSeconds") or 0))
    on_time = max(cursor, now - (min(deadline, ON_TIME) if deadline else ON_TIME))
    in_time = max(cursor, now - deadline) if deadline else cursor
    match spec.get("catchUp"):
        case "All":
            return slots.newest(in_time, now, CEILING)[0]
        case "Latest":
            return slots.newest(on_time, now, CEILING)[0] or slots.newest(in_time, now, 1)[0]
        case _:
            return slots.newest(on_time, now, CEILING)[0]


def _digest(schedule: Body) -> str:
    """Of all that says when it is due."""
    said = {name: schedule[name] for name in ("cron", "interval", "rrule", "timezone") if schedule.get(name)}
    return names.digest(json.dumps(said, sort_keys=True))


def cause(deployment_uid: str, slug: str, slot: datetime) -> str:
    """Why the run of a slot exists: what its annotation says, be it made by its schedule or by a backfill."""
    return f"schedule {deployment_uid} {slug} {format_time(slot)}"


def run(deployment: Body, schedule: Body, slot: datetime) -> Body:
    """The FlowRun of a slot."""
    meta, slug = deployment["metadata"], str(schedule["slug"])
    spec: Body = {"deploymentRef": {"name": meta["name"]}, "scheduledTime": format_time(slot)}
    if schedule.get("parameters"):
        spec["parameters"] = schedule["parameters"]
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "metadata": {
            "name": names.scheduled_run(meta["name"], meta["uid"], slug, slot),
            "namespace": meta["namespace"],
            "labels": {labels.DEPLOYMENT: meta["name"], labels.SCHEDULE: slug},
            "annotations": {labels.CAUSE: cause(meta["uid"], slug, slot)},
        },
        "spec": spec,
    }


def projection(deployment: Body) -> Body:
    """What the operator keeps of a deployment, of which there may be thousands: its schedules, limits and histories,
    and all of its spec where that is small."""
    spec, meta = deployment["spec"], deployment["metadata"]
    kept, cut = spec, is_cut(deployment) or len(orjson.dumps(spec)) > KEPT_WHOLE
    if cut:
        wanted = (*KEPT_SPEC, *KEPT_SPEC_OF_SCHEDULES, *KEPT_SPEC_OF_RETENTION)
        kept = {name: spec[name] for name in wanted if name in spec}
        if "schedules" in kept:  # their parameters are read when a run is made
            kept["schedules"] = [{k: v for k, v in s.items() if k != "parameters"} for s in kept["schedules"]]
    fields = ("name", "namespace", "uid", "generation", "resourceVersion", "creationTimestamp", "deletionTimestamp")
    return {
        "kind": "FlowDeployment",
        "metadata": {name: meta[name] for name in fields if name in meta},
        "spec": kept,
        "status": deployment.get("status") or {},
        **({CUT: True} if cut else {}),
    }


def is_cut(deployment: Body) -> bool:
    """Whether it is what is kept of one that is too large, so that it has to be read again for the rest."""
    return CUT in deployment


def overdue(deployment: Body, now: datetime) -> bool:
    """Whether a run may be due, by what the status says."""
    coming = (deployment.get("status") or {}).get("nextRuns") or ()
    return any((time := parse_time(entry.get("time"))) is not None and time <= now for entry in coming)


def says(deployment: Body, fields: Mapping[str, Sequence[Body]]) -> bool:
    """Whether the status has these fields of `Plan.status` already."""
    status = deployment.get("status") or {}
    return all(_instants(status.get(name) or ()) == _instants(value) for name, value in fields.items())


def waits_for_its_cursor(deployment: Body | None, slug: str, slot: datetime) -> bool:
    """Whether the run of a slot must stay, for the status does not say yet that the slot was handled."""
    if deployment is None:
        return False
    cursor = read(deployment).get(slug)
    if cursor is None:  # that of a new deployment is written after its first runs were made
        return any(each["slug"] == slug for each in present(deployment["spec"]))
    return cursor.time < slot


def same(before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> bool:
    """Whether a deployment says what it said, but for counts of its runs."""
    if before is None:
        return False
    fields = ("conditions", "lastScheduled", "nextRuns", "revision")
    old, new = before.get("status") or {}, after.get("status") or {}
    meta = ("uid", "generation", "deletionTimestamp")
    return all(before["metadata"].get(name) == after["metadata"].get(name) for name in meta) and all(
        old.get(name) == new.get(name) for name in fields
    )
