"""`penstock schedules`: when deployments run by themselves, and what a schedule means before it is deployed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import click

from ..api import labels
from ..client import Client
from ..errors import InvalidSchedule
from ..schedules import slots as reading
from ..yaml_text import dump
from .kinds import DEPLOYMENT, address
from .lookup import completing, completing_by, find, name_argument, plain
from .objects import LIST_FORMS, SUSPENDING, each, group
from .options import cluster_options, open_client, output_option, selector_option, with_client
from .rendering import Body, table
from .times import parse_time

MOST = 1000
command = group("schedules", "List schedules, preview, suspend and resume them.")


@command.command("ls")
@click.argument("deployment", required=False, metavar="[DEPLOYMENT]", shell_complete=completing(DEPLOYMENT))
@selector_option
@output_option(*LIST_FORMS)
@with_client
def ls(client: Client, deployment: str | None, selector: str, output: str | None) -> None:
    """List the schedules of all deployments, of those that -l selects, or of one."""
    if deployment and selector:
        raise click.UsageError("give a DEPLOYMENT, or -l")
    every = client.list(DEPLOYMENT.plural, label_selector=selector) if not deployment else []
    bodies = [find(client, DEPLOYMENT, deployment)] if deployment else every
    found = [
        (body, schedule)
        for body in sorted(bodies, key=lambda body: str(body["metadata"]["name"]))
        for schedule in reading.present(body["spec"])
    ]
    if output == "name":
        for body, schedule in found:
            click.echo(f"{body['metadata']['name']}/{schedule['slug']}")
    elif output in ("json", "yaml"):
        items = [{"deployment": body["metadata"]["name"], **_known(body, schedule)} for body, schedule in found]
        whole = {"apiVersion": "v1", "kind": "List", "items": items}
        click.echo(json.dumps(whole, indent=2) if output == "json" else dump([whole]).rstrip())
    elif not found:
        where = f"{address(DEPLOYMENT, bodies[0]['metadata']['name'])} has none" if deployment else "there are none"
        remedy = "have some with `penstock deploy FILE.py --cron EXPRESSION`, or in `spec.schedules`"
        click.echo(f"No schedules in namespace {client.namespace}: {where}; {remedy}", err=True)
    else:
        click.echo(table([_row(body, schedule, wide=output == "wide") for body, schedule in found]))


def _known(body: Body, schedule: Body) -> Body:
    status = body.get("status") or {}
    last: Body = next((e for e in status.get("lastScheduled") or () if e["slug"] == schedule["slug"]), {})
    coming = [_seconds(entry["time"]) for entry in status.get("nextRuns") or () if entry["slug"] == schedule["slug"]]
    runs = last.get("runs") or 0  # while there is none, the cursor stands where the schedule began, which is no slot
    return {**schedule, "next": coming, "last": _seconds(last["time"]) if runs else None, "runs": runs}


def _seconds(time: str) -> str:
    """Slots are of whole seconds, whatever the form of a time in the API is."""
    return time.replace(".000000Z", "Z")


def _row(body: Body, schedule: Body, *, wide: bool) -> dict[str, str]:
    known = _known(body, schedule)
    suspended = schedule.get("suspend") or body["spec"].get("suspend")
    return {
        "DEPLOYMENT": body["metadata"]["name"],
        "SLUG": schedule["slug"],
        "WHEN": _form(schedule),
        "TIMEZONE": _zone(schedule),
        "NEXT": "suspended" if suspended else (known["next"] or ["-"])[0],
        "RUNS": str(known["runs"]),
        **({"LAST": known["last"] or "-", "END": schedule.get("end") or "-"} if wide else {}),
    }


def _zone(schedule: Body) -> str:
    """That of its times; also of a schedule that cannot be read."""
    try:
        return reading.Slots(schedule, reading.EARLIEST).where.key
    except InvalidSchedule:
        return str(schedule.get("timezone") or "UTC")


def _form(schedule: Body) -> str:
    for form, field in (("cron", "expression"), ("interval", "seconds"), ("rrule", "rule")):
        if schedule.get(form):
            return f"{form} {schedule[form][field]}".replace("\n", " ")
    return ""


def _slugs(client: Client, typed: dict[str, Any]) -> list[str]:
    """For a shell: the slugs of the deployment that stands before."""
    name = typed.get("name")
    spec = client.get(DEPLOYMENT.plural, plain(DEPLOYMENT, name))["spec"] if name else {}
    return [str(schedule["slug"]) for schedule in reading.present(spec)]


@command.command("preview")
@click.argument("deployment", required=False, metavar="[DEPLOYMENT]", shell_complete=completing(DEPLOYMENT))
@click.option("--slug", help="Only this schedule of the deployment.")
@click.option("--cron", help="A cron expression, instead of a deployment; asks no cluster.")
@click.option("--interval", type=click.IntRange(min=1), metavar="SECONDS", help="An interval, likewise.")
@click.option("--rrule", help="A recurrence rule, likewise.")
@click.option("--timezone", help="In which the expression is read; UTC when unset.")
@click.option("--anchor", help="An instant that is a slot of the interval; now when unset.")
@click.option("--and", "both", is_flag=True, help="Join day of month and day of week of the cron by and.")
@click.option("--after", help="Show slots later than this; now when unset.")
@click.option("--count", type=click.IntRange(1, MOST), default=5, help="How many slots; 5 when unset.")
@output_option("json", "yaml")
@cluster_options
def preview(deployment: str | None, output: str | None, count: int, **given: Any) -> None:
    """Show when a schedule is due: of a deployment in the cluster, or of an expression, for which none is needed.

    Of a deployment it shows no more than the runs that are left of maxRuns, and which of its schedules are suspended.
    """
    now = datetime.now(UTC)
    start = parse_time(given["after"], "--after") if given["after"] else now
    forms = [form for form in ("cron", "interval", "rrule") if given[form] is not None]
    if len(forms) + bool(deployment) != 1:
        raise click.UsageError("give a DEPLOYMENT, or one of --cron, --interval and --rrule")
    if deployment:
        with open_client(given["namespace"], given["context"], given["kubeconfig"]) as client:
            schedules, created = _of_deployment(client, deployment, given["slug"])
    else:
        schedules, created = [Previewed(_of_expression(forms[0], given))], now
    wrong = reading.problems(one.schedule for one in schedules)
    if wrong:
        mine = "" if deployment else f"schedules[{schedules[0].schedule['slug']}]."
        raise InvalidSchedule("; ".join(text.removeprefix(mine) for text in wrong))
    rows = [row for one in schedules for row in one.rows(created, start, count, now)]
    _show(sorted(rows, key=lambda row: (row.slot, row.slug))[:count], output, several=len(schedules) > 1)


@dataclass(frozen=True)
class Row:
    """A slot, as it is shown."""

    slot: datetime
    slug: str
    where: ZoneInfo
    suspended: bool


@dataclass(frozen=True)
class Previewed:
    """A schedule, and what its deployment knows of it."""

    schedule: Body
    suspended: bool = False
    left: int | None = None
    """How many runs it may still make; None: as many as it is due."""

    def rows(self, created: datetime, start: datetime, count: int, now: datetime) -> Iterator[Row]:
        """Its first slots later than `start`, of which those of the future are no more than the runs that are left."""
        slots, left = reading.Slots(self.schedule, created), self.left
        if left is not None and start > now:
            left -= sum(1 for _ in islice(slots.between(now, start), left))
        for slot in slots.next(start, count):
            if left is not None and slot > now:
                if left <= 0:
                    return
                left -= 1
            yield Row(slot, str(self.schedule["slug"]), slots.where, self.suspended)


def _of_deployment(client: Client, deployment: str, slug: str | None) -> tuple[list[Previewed], datetime]:
    body = find(client, DEPLOYMENT, deployment)
    found = [
        Previewed(
            schedule,
            suspended=bool(schedule.get("suspend") or body["spec"].get("suspend")),
            left=max(0, int(schedule["maxRuns"]) - _known(body, schedule)["runs"]) if "maxRuns" in schedule else None,
        )
        for schedule in reading.present(body["spec"])
        if slug in (None, schedule["slug"])
    ]
    if not found:
        what = f"schedule {slug}" if slug else "schedule"
        raise click.ClickException(f"{address(DEPLOYMENT, body['metadata']['name'])} has no {what}")
    return found, datetime.fromisoformat(body["metadata"]["creationTimestamp"])


def _of_expression(form: str, given: dict[str, Any]) -> Body:
    timezone, value = given["timezone"], given[form]
    field = {"cron": "expression", "interval": "seconds", "rrule": "rule"}[form]
    body: Body = {"slug": form, form: {field: value}}
    if form == "cron" and given["both"]:
        body["cron"]["dayOr"] = False
    if form == "interval" and given["anchor"]:
        body["interval"]["anchor"] = parse_time(given["anchor"], "--anchor").isoformat()
    return {**body, "timezone": timezone} if timezone else body


def _show(rows: list[Row], output: str | None, *, several: bool) -> None:
    held = any(row.suspended for row in rows)
    found = [
        {
            **({"SCHEDULE": row.slug} if several else {}),
            "LOCAL": row.slot.astimezone(row.where).isoformat(sep=" ", timespec="seconds"),
            "UTC": row.slot.strftime("%Y-%m-%dT%H:%M:%SZ"),
            **({"STATE": "suspended" if row.suspended else "due"} if held else {}),
        }
        for row in rows
    ]
    if output:
        items = [
            {"schedule": row.slug, "time": shown["UTC"], **({"suspended": True} if row.suspended else {})}
            for row, shown in zip(rows, found, strict=True)
        ]
        click.echo(json.dumps(items, indent=2) if output == "json" else dump([items]).rstrip())
    elif found:
        click.echo(table(found))
    else:
        click.echo("It has ended: no slot follows.", err=True)


def _switching(verb: str, suspend: bool) -> click.Command:
    text = (
        "Make no runs of schedules. They stay suspended whatever is deployed later."
        if suspend
        else "Make runs of schedules again, from now on; what they missed is not made up for."
    )

    @click.command(verb, help=text)
    @name_argument(DEPLOYMENT)
    @click.argument("slugs", nargs=-1, metavar="[SLUG]...", shell_complete=completing_by(_slugs))
    @click.option("--all", "all_", is_flag=True, help="All schedules of the deployment.")
    @with_client
    def switch(client: Client, name: str, slugs: tuple[str, ...], all_: bool) -> None:
        body = find(client, DEPLOYMENT, name)
        there = [str(schedule["slug"]) for schedule in reading.present(body["spec"])]
        if bool(slugs) == all_:
            raise click.UsageError(f"name a SLUG, or give --all; it has {', '.join(there) or 'no schedules'}")

        def one(slug: str) -> str:
            if slug not in there:
                raise InvalidSchedule(f"there is no schedule {slug}; it has {', '.join(there) or 'none'}")
            meta = body["metadata"]
            client.apply(
                {
                    "apiVersion": labels.API_VERSION,
                    "kind": DEPLOYMENT.kind,
                    "metadata": {"name": meta["name"], "uid": meta["uid"]},
                    "spec": {"schedules": [{"slug": slug, "suspend": suspend}]},
                },
                manager=f"{SUSPENDING}-{slug}",  # one of its own for each: to apply is to say all that one owns
            )
            return f"schedule {slug} of {address(DEPLOYMENT, meta['name'])} is {'suspended' if suspend else 'resumed'}"

        each(there if all_ else slugs, one)

    return switch


command.add_command(_switching("suspend", True))
command.add_command(_switching("resume", False))
