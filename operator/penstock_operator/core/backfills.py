"""What a Backfill does next: which of its runs have ended, which slots become runs now, what its status says then.

`reconcile.backfills` reads the runs of its active slots, makes and cancels what is decided here, and writes the status
in one go, so that each run is counted once. A slot is handled once: the cursor goes over the range in one direction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice, takewhile

from penstock.api import labels, names, reasons
from penstock.api.states import StateType
from penstock.schedules.rrule import REMEDY
from penstock.schedules.slots import Slots, present

from . import parameters, schedules
from .views import Body, RunView, format_time, parse_time

MOST = 10_000  # slots of a backfill
MOST_STEPS = 5_000_000  # of an rrule, to count them; they take 1.5 s
INSTANT = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Range:
    """The slots of a backfill: those of a schedule from `begin` until before `end`."""

    schedule: Body
    slots: Slots
    begin: datetime
    end: datetime
    descending: bool = False

    def all(self) -> Iterator[datetime]:
        """Every slot, ascending; one more than a backfill may have, where there are more."""
        return islice(takewhile(lambda slot: slot < self.end, self.slots.after(self.begin - INSTANT)), MOST + 1)

    def count(self) -> int | None:
        """How many slots there are, `MOST` + 1 where there are more; None where it takes too many steps to tell."""
        total = 0
        for _ in self.all():
            total += 1
            if self.slots.steps > MOST_STEPS:
                return None
        return total

    def following(self, cursor: datetime | None, most: int) -> list[datetime]:
        """The next slots after a cursor, in the order of the backfill."""
        if most <= 0:
            return []
        if not self.descending:
            after = self.begin - INSTANT if cursor is None else cursor
            return list(islice(takewhile(lambda slot: slot < self.end, self.slots.after(after)), most))
        until = (self.end if cursor is None else cursor) - INSTANT
        found, _ = self.slots.newest(self.begin - INSTANT, until, most)
        return found[::-1]


def range_of(backfill: Body, schedule: Body, deployed: datetime) -> Range:
    """The range. It ends when the backfill was created: later slots are those of the schedule itself."""
    spec = backfill["spec"]
    begin, end = parse_time(spec["from"]), parse_time(spec["to"])
    created = parse_time(backfill["metadata"]["creationTimestamp"])
    assert begin is not None
    assert end is not None
    assert created is not None
    return Range(schedule, Slots(schedule, deployed), begin, min(end, created), spec.get("order") == "Descending")


def too_many_steps(schedule: Body) -> str:
    """What is said of a range whose slots cannot be counted, with the remedy."""
    return (
        f"schedules[{schedule['slug']}].rrule.rule: to count the slots of the range takes more than {MOST_STEPS} "
        f"steps; make several backfills of parts of it (spec.to), or, for the times of the rule, {REMEDY}"
    )


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill has come."""

    total: int
    created: int = 0
    skipped: int = 0
    done: int = 0
    failed: int = 0
    cursor: datetime | None = None
    active: tuple[datetime, ...] = ()

    @classmethod
    def read(cls, status: Body) -> Progress:
        """From the status."""
        counts = {name: int(status.get(name) or 0) for name in ("total", "created", "skipped", "done", "failed")}
        active = tuple(time for time in map(parse_time, status.get("active") or ()) if time is not None)
        return cls(**counts, cursor=parse_time(status.get("cursor")), active=active)

    def written(self) -> Body:
        """For the status."""
        return {
            "total": self.total,
            "created": self.created,
            "skipped": self.skipped,
            "done": self.done,
            "failed": self.failed,
            "cursor": None if self.cursor is None else format_time(self.cursor),
            "active": [format_time(slot) for slot in self.active] or None,
        }

    def counted(self, runs: Mapping[datetime, RunView | None]) -> Progress:
        """After the runs of active slots were looked at; one that is deleted has not completed."""
        ended = {slot: run for slot, run in runs.items() if run is None or (run.type is not None and run.type.terminal)}
        done = sum(run is not None and run.type is StateType.COMPLETED for run in ended.values())
        return replace(
            self,
            done=self.done + done,
            failed=self.failed + len(ended) - done,
            active=tuple(slot for slot in self.active if slot not in ended),
        )

    def handled(self, slot: datetime, *, made: bool) -> Progress:
        """After the next slot became a run, or was left out."""
        return replace(
            self,
            created=self.created + made,
            skipped=self.skipped + (not made),
            cursor=slot,
            active=(*self.active, slot) if made else self.active,
        )


def room(backfill: Body, deployment: Body, progress: Progress) -> int:
    """How many runs may be made now; of a deployment that ends runs beyond its limit, no more than that limit."""
    spec, concurrency = backfill["spec"], deployment["spec"].get("concurrency") or {}
    if spec.get("cancel") or spec.get("suspend"):
        return 0
    most, limit = int(spec.get("parallelism") or 1), concurrency.get("limit")
    if limit is not None and concurrency.get("policy", "Queue") != "Queue":
        most = min(most, max(1, int(limit)))  # else slots would be Cancelled, and count as made
    return max(0, most - len(progress.active))


@dataclass(frozen=True, slots=True)
class Verdict:
    """The Complete condition."""

    complete: bool
    reason: str
    message: str


def begun_with(backfill: Body, deployment: Body | None) -> Body | None:
    """The deployment by whose name and uid its runs are called: the one that is there, unless it began with another.

    None where it has not begun, and there is none.
    """
    uid, name = (backfill.get("status") or {}).get("deploymentUid"), backfill["spec"]["deploymentRef"]["name"]
    if uid is None or (deployment is not None and deployment["metadata"]["uid"] == uid):
        return deployment
    return {"metadata": {"name": name, "uid": uid}}


def verdict(backfill: Body, progress: Progress, *, exhausted: bool, orphaned: bool = False) -> Verdict:
    """What the Complete condition says; `exhausted`: there are no further slots; `orphaned`: it makes no more."""
    spec, parts = backfill["spec"], [f"{progress.done} of {progress.total} completed"]
    parts += [f"{progress.failed} did not"] if progress.failed else []
    parts += [f"{progress.skipped} were left out"] if progress.skipped else []
    text = ", ".join(parts)
    if progress.active:
        text += f"; {len(progress.active)} under way"
    if spec.get("cancel"):
        if not progress.active:
            return Verdict(True, reasons.CANCELLED, text)
        return Verdict(False, reasons.CANCEL_REQUESTED, text)
    if orphaned:
        text = f"the FlowDeployment that it began with was deleted: {text}; make another backfill"
        return Verdict(not progress.active, reasons.DEPLOYMENT_NOT_FOUND, text)
    if exhausted and not progress.active:
        return Verdict(True, reasons.SOME_FAILED if progress.failed else reasons.SUCCEEDED, text)
    if spec.get("suspend"):
        return Verdict(False, reasons.BACKFILL_SUSPENDED, f"{text}; it goes on when spec.suspend is unset")
    return Verdict(False, reasons.PROGRESSING, text)


def run_name(backfill: Body, deployment: Body, slot: datetime) -> str:
    """Name of the run of a slot."""
    meta, slug = deployment["metadata"], str(backfill["spec"]["schedule"])
    if backfill["spec"].get("mode") == "All":
        return names.backfill_run(meta["name"], backfill["metadata"]["uid"], slug, slot)
    return names.scheduled_run(meta["name"], meta["uid"], slug, slot)


def run(backfill: Body, deployment: Body, schedule: Body, slot: datetime) -> Body:
    """The FlowRun of a slot."""
    body, meta = schedules.run(deployment, schedule, slot), backfill["metadata"]
    found = body["metadata"]
    found["name"] = run_name(backfill, deployment, slot)
    found["labels"] = {**found["labels"], labels.BACKFILL: meta["name"]}
    annotations = {**found["annotations"], labels.BACKFILL_UID: meta["uid"]}
    if backfill["spec"].get("mode") == "All":
        annotations[labels.CAUSE] = f"backfill {meta['uid']} {format_time(slot)}"
    found["annotations"] = annotations
    given = parameters.merge(schedule.get("parameters"), backfill["spec"].get("parameters"))
    if given:
        body["spec"]["parameters"] = given
    return body


def made_by(backfill: Body, found: Body) -> bool:
    """Whether a run that is there was made by this very backfill."""
    return bool((found["metadata"].get("annotations") or {}).get(labels.BACKFILL_UID) == backfill["metadata"]["uid"])


def of_slug(deployment: Body, slug: str) -> Body | None:
    """The schedule of that slug."""
    return next((schedule for schedule in present(deployment["spec"]) if schedule["slug"] == slug), None)
