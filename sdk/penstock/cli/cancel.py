"""`penstock cancel`: ask runs to end."""

from __future__ import annotations

import click

from ..client import Client
from .lookup import RUN, find, names_argument
from .objects import each
from .options import with_client
from .rendering import state_of, terminal


@click.command("cancel")
@names_argument(RUN, "runs")
@with_client
def command(client: Client, runs: tuple[str, ...]) -> None:
    """Ask runs to end; their pods get SIGTERM, and are killed after their grace period.

    \b
    penstock runs -d etl -s Running -o name | xargs penstock cancel
    """
    each(runs, lambda text: _cancel(client, text))


def _cancel(client: Client, text: str) -> str:
    run = find(client, RUN, text)
    name = run["metadata"]["name"]
    if terminal(run):
        return f"flowrun.penstock.dev/{name} has ended already: {state_of(run)['name']}"
    client.merge(RUN.plural, name, {"spec": {"cancel": True}})
    return f"flowrun.penstock.dev/{name} is asked to end"
