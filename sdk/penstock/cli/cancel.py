"""`penstock cancel`: ask runs to end."""

from __future__ import annotations

import click

from ..client import Client
from .options import with_client


@click.command("cancel")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@with_client
def command(client: Client, runs: tuple[str, ...]) -> None:
    """Ask runs to end; their pods get SIGTERM, and are killed after their grace period."""
    for name in runs:
        client.merge("flowruns", name, {"spec": {"cancel": True}})
        click.echo(f"flowrun.penstock.dev/{name} is asked to end")
