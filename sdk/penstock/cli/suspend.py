"""`penstock suspend`: ask runs to stop, and to go on later."""

from __future__ import annotations

import click

from ..client import Client
from ..cluster_pauses import suspend
from ..errors import PenstockError
from .lookup import RUN, find
from .options import with_client


@click.command("suspend")
@click.argument("runs", nargs=-1, required=True, metavar="RUN...")
@with_client
def command(client: Client, runs: tuple[str, ...]) -> None:
    """Ask runs to stop; `penstock resume` lets them go on in new pods, from the results that were kept.

    A run that has not started waits. One that goes on is interrupted as by the end of its pod, unless no other pod
    could reach its results: then it goes on, and `penstock show` says why.
    """
    errors = []
    for text in runs:
        try:
            run = find(client, RUN, text)
            suspend(client, run)
            click.echo(f"flowrun.penstock.dev/{run['metadata']['name']} is asked to stop")
        except PenstockError as error:  # the others are asked all the same
            errors.append(str(error))
    if errors:
        raise click.ClickException("; ".join(errors))
