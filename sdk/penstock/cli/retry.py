"""`penstock retry`: a new run of what has run before, without doing again what was kept."""

from __future__ import annotations

import click

from ..client import AlreadyExists, Client
from ..run_retries import retry
from .lookup import RUN, find, name_argument
from .options import output_option, with_client
from .rendering import show
from .watch import follow


@click.command("retry")
@name_argument(RUN, "run")
@click.option("--name", help="Name of the new run; made up when unset.")
@click.option("-w", "--watch", is_flag=True, help="Follow the new run until it ends.")
@output_option("json", "yaml", "name", unset="what to do next")
@with_client
def command(client: Client, run: str, name: str | None, watch: bool, output: str | None) -> None:
    """Run again what has ended, as it was: same code and parameters, in its pool as it is now.

    Tasks that completed and kept their results where pods share them are not run again. With --watch the exit code is
    0 when the new run completed and 1 otherwise.
    """
    old = find(client, RUN, run)
    try:
        made, warned = retry(client, old, name)
    except AlreadyExists as error:
        raise click.ClickException(f"there is a run {name} already: choose another --name") from error
    if warned:
        click.secho(f"warning: {warned}", fg="yellow", err=True)
    if watch:
        follow(client, made, output)
    elif output:
        click.echo(show(made, output))
    else:
        new = made["metadata"]["name"]
        click.echo(
            f"flowrun.penstock.dev/{new} retries {old['metadata']['name']}. Follow it with: penstock watch {new}"
        )
