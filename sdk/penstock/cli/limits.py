"""`penstock limits`: ConcurrencyLimits, and who holds their slots and waits for them."""

from __future__ import annotations

from typing import Any

import click

from ..api import labels, names
from ..api.bounds import MAX_SHOWN_CLAIMS
from ..client import Client, NotFound
from ..concurrency.limits import parse
from ..errors import InvalidSettings
from .kinds import LIMIT, address
from .lookup import find, name_argument
from .objects import created, deleting, group, listing, showing
from .options import output_option, with_client
from .rendering import Body, age, table, utc_now


def _claims(_: Client, body: Body) -> list[str]:
    """Who holds slots and who waits for some."""
    claims = (body.get("status") or {}).get("claims") or []
    now = utc_now()
    rows = [
        {
            "RUN": claim["run"],
            "ATTEMPT": str(claim["attempt"]),
            "HOLDS": str(claim.get("active") or 0),
            "WAITS FOR": str(claim.get("queued") or 0),
            "SINCE": age(claim["since"], now),
        }
        for claim in claims
    ]
    more = ["  … perhaps more: the status of each run has what it claims"] if len(claims) >= MAX_SHOWN_CLAIMS else []
    return ["Claims:", *(f"  {line}" for line in table(rows).splitlines()), *more] if rows else []


command = group("limits", "List limits of which runs take slots, and create, show, reset and delete them.")
command.add_command(listing(LIMIT))
command.add_command(showing(LIMIT, _claims))
command.add_command(deleting(LIMIT))


@command.command("create")
@click.argument("name", metavar="LIMIT")
@click.argument("slots", metavar="SLOTS | RATE")
@click.option("--task-tag", help="Task runs with this tag take a slot each.")
@click.option("--tag", help="Flow runs with this tag take a slot each to start.")
@click.option("--description", help="What the limit protects.")
@click.option("--overwrite", is_flag=True, help="Change it where it exists.")
@output_option("json", "yaml", "name", unset="what was done")
@with_client
def create(
    client: Client,
    name: str,
    slots: str,
    output: str | None,
    task_tag: str | None,
    tag: str | None,
    description: str | None,
    overwrite: bool,
) -> None:
    """Create a limit of so many slots (3), or a rate: 10/s, 100/m, 1000/h, 5000/d, or 3@0.5, which is slots, and how
    many come back a second. Who holds slots of a limit that is lowered keeps them until he is done."""
    made = names.concurrency_limit(name)
    if not made:
        raise click.UsageError(f"LIMIT: {name!r} has no letter or digit that a name in Kubernetes can have")
    fields = {**_spec(made, slots), "taskTag": task_tag, "tag": tag, "description": description}
    if overwrite and _exists(client, made):
        spec = {field: value for field, value in fields.items() if value is not None}
        client.patch(LIMIT.plural, made, [{"op": "add", "path": "/spec", "value": spec}])
        click.echo(f"{address(LIMIT, made)} changed")
        return
    created(client, LIMIT, made, fields, output, remedy="--overwrite")


@command.command("reset")
@name_argument(LIMIT)
@with_client
def reset(client: Client, name: str) -> None:
    """Let a rate begin anew, as if nothing of it were used.

    Slots of other limits come back with the runs that hold them and cannot be lost: to free them, cancel the run.
    """
    body = find(client, LIMIT, name)
    meta = body["metadata"]
    if not body["spec"].get("slotDecayPerSecond"):
        holders = [c["run"] for c in (body.get("status") or {}).get("claims") or [] if c.get("active")]
        remedy = f"`penstock cancel {' '.join(holders[:3])}`" if holders else "nobody holds any"
        raise click.ClickException(
            f"limit {meta['name']} is no rate: its slots come back with the runs that hold them ({remedy})"
        )
    now = utc_now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    annotations = {**(meta.get("annotations") or {}), labels.RESET_AT: now}
    client.patch(LIMIT.plural, meta["name"], [{"op": "add", "path": "/metadata/annotations", "value": annotations}])
    click.echo(f"{address(LIMIT, meta['name'])} reset")


def _exists(client: Client, name: str) -> bool:
    try:
        client.get(LIMIT.plural, name)
    except NotFound:
        return False
    return True


def _spec(name: str, slots: str) -> dict[str, Any]:
    try:
        limit = parse(name, slots)
    except InvalidSettings:
        raise click.UsageError(
            f"{slots!r}: write slots (3), a rate (10/s, 100/m, 1000/h, 5000/d) or slots and how many come back a "
            "second (3@0.5)"
        ) from None
    return {"limit": limit.slots, "slotDecayPerSecond": limit.slot_decay_per_second or None}
