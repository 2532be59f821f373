"""`penstock suspend`: ask runs to stop, and to go on later."""

from __future__ import annotations

import click

from ..client import Client
from ..cluster_pauses import suspend
from .kinds import address
from .lookup import RUN, find, names_argument
from .objects import each
from .options import with_client


@click.command("suspend")
@names_argument(RUN, "runs")
@with_client
def command(client: Client, runs: tuple[str, ...]) -> None:
    """Ask runs to stop; `penstock resume` lets them go on in new pods, from the results that were kept.

    A run that has not started waits. One that goes on is interrupted as by the end of its pod, unless no other pod
    could reach its results: then it goes on, and `penstock show` says why.
    """
    each(runs, lambda text: _suspend(client, text))


def _suspend(client: Client, text: str) -> str:
    run = find(client, RUN, text)
    suspend(client, run)
    return f"{address(RUN, run['metadata']['name'])} is asked to stop"
