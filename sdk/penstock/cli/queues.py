"""`penstock queues`: shares of a work pool, each with its priority and limit."""

from __future__ import annotations

from typing import Any

import click

from ..client import Client
from .kinds import POOL, QUEUE
from .lookup import completing, plain
from .objects import created, deleting, group, listing, showing, suspending
from .options import output_option, with_client
from .parameters import parse_parameters

command = group("queues", "List work queues, and create, show, suspend, resume and delete them.")
command.add_command(listing(QUEUE, {"pool": "spec.workPoolRef.name"}))
command.add_command(showing(QUEUE))
command.add_command(suspending(QUEUE, True))
command.add_command(suspending(QUEUE, False))
command.add_command(deleting(QUEUE))


@command.command("create")
@click.argument("name", metavar="QUEUE")
@click.option("--pool", required=True, help="The WorkPool that it is a queue of.", shell_complete=completing(POOL))
@click.option("--priority", type=click.IntRange(min=1), help="1 is first; 1000 when unset.")
@click.option("--limit", type=click.IntRange(min=0), help="Most runs at once; no limit when unset.")
@click.option("--match-tag", "tags", multiple=True, help="Takes runs with this tag that name no queue. Repeatable.")
@click.option("--match-label", "labels", multiple=True, metavar="KEY=VALUE", help="And with this label. Repeatable.")
@click.option("--description", help="What the queue is for.")
@click.option("--suspend", is_flag=True, help="Start no runs for now.")
@output_option("json", "yaml", "name", unset="what was done")
@with_client
def create(client: Client, name: str, pool: str, output: str | None, **given: Any) -> None:
    """Create a work queue."""
    labels = {key: str(value) for key, value in parse_parameters(given["labels"], "--match-label").items()}
    selector = {key: value for key, value in (("matchTags", list(given["tags"])), ("matchLabels", labels)) if value}
    fields = {
        "workPoolRef": {"name": plain(POOL, pool)},
        "priority": given["priority"],
        "concurrencyLimit": given["limit"],
        "description": given["description"],
        "suspend": given["suspend"] or None,
        "selector": selector or None,
    }
    created(client, QUEUE, name, fields, output)
