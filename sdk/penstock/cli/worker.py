"""`penstock worker`: workers outside of the cluster, on a laptop, a virtual machine or a GPU box."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress

import click

from ..kubeconfig import access
from ..worker.output import END
from .logs import render
from .options import cluster_options


@click.group("worker")
def command() -> None:
    """Run flow runs on this machine, for a pool of type Process."""


@command.command("start")
@click.option("-p", "--pool", required=True, help="The WorkPool, of type Process.")
@click.option("--slots", type=click.IntRange(1, 1000), default=1, show_default=True, help="Runs at once.")
@click.option("--name", help="Name of the worker; made of that of this machine when unset.")
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it before the first run. May be repeated.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds that runs have to end after the first Ctrl-C or SIGTERM.",
)
@click.option("-o", "--output", type=click.Choice(("json",)), help="Output of runs as JSON lines.")
@cluster_options
def start(
    pool: str,
    slots: int,
    name: str | None,
    preload: tuple[str, ...],
    grace: float,
    output: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> None:
    """Take runs until Ctrl-C or SIGTERM; a second one ends the runs that still go on.

    Each run is a process of its own, forked from one that has Penstock loaded.
    """
    from ..api import names
    from ..worker.outside import work
    from ..worker.upstream import Unreachable

    if name is not None and (name != names.dns_label(name) or len(name) > 63):
        raise click.UsageError(f"--name {name}: lower-case letters, digits and dashes, at most 63")
    where = namespace or access(kubeconfig, context).namespace
    try:
        asyncio.run(
            work(
                lambda: access(kubeconfig, context),
                where,
                pool,
                name=name,
                slots=slots,
                preload=preload,
                grace=grace,
                show=None if output else show,
                say=tell,
            )
        )
    except Unreachable as error:
        raise click.ClickException(str(error)) from error


def show(line: bytes) -> None:
    """A line of a run's output, for people, with the run it is of."""
    text = line.decode("utf-8", "replace")
    run = ""
    with suppress(ValueError, KeyError, TypeError):
        record = json.loads(text)
        if END in record:
            return
        run = f"{click.style(record['run'], fg='green')} "
    click.echo(f"{run}{render(text)}", color=None if sys.stdout.isatty() else False)


def tell(text: str) -> None:
    """What the worker itself has to say."""
    click.echo(click.style(text, fg="bright_black"), err=True, color=False if os.environ.get("NO_COLOR") else None)
