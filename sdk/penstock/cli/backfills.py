"""`penstock backfills`: runs for a range of a schedule's slots in the past."""

from __future__ import annotations

import secrets
from typing import Any

import click

from ..client import Client
from ..schedules.slots import present
from .kinds import BACKFILL, DEPLOYMENT, address
from .lookup import completing, find, names_argument, plain
from .objects import created, deleting, each, group, listing, showing, suspending
from .options import output_option, with_client
from .parameters import parse_parameters
from .times import parse_time

command = group("backfills", "List backfills, and create, show, suspend, resume, cancel and delete them.")
command.add_command(listing(BACKFILL))
command.add_command(showing(BACKFILL))
command.add_command(suspending(BACKFILL, True))
command.add_command(suspending(BACKFILL, False))
command.add_command(deleting(BACKFILL))


@command.command("create")
@click.argument("deployment", metavar="DEPLOYMENT", shell_complete=completing(DEPLOYMENT))
@click.option("--schedule", help="Slug of its schedule; the only one that it has when unset.")
@click.option("--from", "from_", required=True, metavar="TIME", help="First instant of the range.")
@click.option("--to", required=True, metavar="TIME", help="End of the range, which is not in it.")
@click.option("--name", help="Name of the backfill; made of the deployment's when unset.")
@click.option("--mode", type=click.Choice(["Missing", "All"]), help="Missing runs only (default), or all anew.")
@click.option("--order", type=click.Choice(["Ascending", "Descending"]), help="Oldest first (default), or newest.")
@click.option("--parallelism", type=click.IntRange(1, 1000), help="Runs at once; 1 when unset.")
@click.option("-p", "--param", "given", multiple=True, metavar="NAME=VALUE", help="Over those of the schedule.")
@output_option("json", "yaml", "name", unset="what was done")
@with_client
def create(client: Client, deployment: str, output: str | None, given: tuple[str, ...], **option: Any) -> None:
    """Make runs of the slots that a schedule has in a range of the past."""
    body = find(client, DEPLOYMENT, plain(DEPLOYMENT, deployment))
    there = [str(schedule["slug"]) for schedule in present(body["spec"])]
    slug = option["schedule"] or (there[0] if len(there) == 1 else None)
    if slug not in there:
        raise click.ClickException(f"--schedule: name one of those that it has: {', '.join(there) or 'none'}")
    name = option["name"] or f"{body['metadata']['name'][:54].rstrip('-')}-{secrets.token_hex(4)}"
    fields = {
        "deploymentRef": {"name": body["metadata"]["name"]},
        "schedule": slug,
        "from": parse_time(option["from_"], "--from").isoformat(),
        "to": parse_time(option["to"], "--to").isoformat(),
        "mode": option["mode"],
        "order": option["order"],
        "parallelism": option["parallelism"],
        "parameters": parse_parameters(given, "--param") or None,
    }
    created(client, BACKFILL, name, fields, output)


@command.command("cancel")
@names_argument(BACKFILL)
@with_client
def cancel(client: Client, names: tuple[str, ...]) -> None:
    """Ask backfills to end, with the runs that they have made. It cannot be taken back."""

    def one(text: str) -> str:
        name = find(client, BACKFILL, text)["metadata"]["name"]
        client.merge(BACKFILL.plural, name, {"spec": {"cancel": True}})
        return f"{address(BACKFILL, name)} is asked to end"

    each(names, one)
