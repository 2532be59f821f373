"""`penstock pools`: where runs are executed."""

from __future__ import annotations

from typing import Any

import click

from ..client import Client
from .kinds import POOL, QUEUE
from .objects import created, deleting, group, listing, showing, suspending
from .options import output_option, with_client
from .rendering import Body, table_of, utc_now


def _queues(client: Client, body: Body) -> list[str]:
    queues = client.list(QUEUE.plural, field_selector=f"spec.workPoolRef.name={body['metadata']['name']}")
    queues.sort(key=lambda queue: (queue["spec"].get("priority", 1000), queue["metadata"]["name"]))
    shown = table_of(QUEUE, queues, utc_now()).splitlines()
    return ["Queues:", *(f"  {line}" for line in shown)] if shown else []


command = group("pools", "List work pools, and create, show, suspend, resume and delete them.")
command.add_command(listing(POOL))
command.add_command(showing(POOL, _queues))
command.add_command(suspending(POOL, True))
command.add_command(suspending(POOL, False))
command.add_command(deleting(POOL))


@command.command("create")
@click.argument("name", metavar="POOL")
@click.option("--type", "type_", type=click.Choice(("Pod", "Job", "Process")), default="Pod", show_default=True)
@click.option("--image", help="Image of runs whose flow names none.")
@click.option("--limit", type=click.IntRange(min=0), help="Most runs at once; no limit when unset.")
@click.option("--service-account", help="ServiceAccount of its pods.")
@click.option("--description", help="What the pool is for.")
@click.option("--suspend", is_flag=True, help="Start no runs for now.")
@output_option("json", "yaml", "name", unset="what was done")
@with_client
def create(client: Client, name: str, output: str | None, type_: str, **given: Any) -> None:
    """Create a work pool. What else it may say, such as a pod template, kubectl takes as a manifest."""
    fields = {
        "type": type_,
        "image": given["image"],
        "concurrencyLimit": given["limit"],
        "serviceAccountName": given["service_account"],
        "description": given["description"],
        "suspend": given["suspend"] or None,
    }
    created(client, POOL, name, fields, output)
