"""`penstock serve`: deploy the flows of a file and run them here, until Ctrl-C."""

from __future__ import annotations

from typing import Any

import click

from ..kubeconfig import access
from .flow_files import load
from .kinds import POOL
from .lookup import completing
from .options import cluster_options
from .parameters import parameters_option, parse_parameters
from .worker import show, tell


@click.command("serve")
@click.argument("target", metavar="FILE.py[:FLOW]")
@click.option("--name", help="Name of the deployment, where it is one flow; the flow's when unset.")
@click.option("--cron", multiple=True, metavar="EXPRESSION", help="A schedule. May be repeated.")
@click.option("--interval", multiple=True, type=click.IntRange(1), metavar="SECONDS", help="A schedule.")
@click.option("--rrule", multiple=True, metavar="RULE", help="A schedule.")
@parameters_option
@click.option("-t", "--tag", "tags", multiple=True, help="A tag of its runs. May be repeated.")
@click.option("--limit", type=click.IntRange(1, 1000), help="Runs at once; 5 when unset.")
@click.option("--pool", help="The pool, of type Process; one of its own when unset.", shell_complete=completing(POOL))
@click.option(
    "--pause-on-shutdown/--no-pause-on-shutdown", default=True, show_default=True, help="Suspend it at the end."
)
@cluster_options
def command(
    target: str,
    name: str | None,
    cron: tuple[str, ...],
    interval: tuple[int, ...],
    rrule: tuple[str, ...],
    parameters: tuple[str, ...],
    tags: tuple[str, ...],
    limit: int | None,
    pool: str | None,
    pause_on_shutdown: bool,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> None:
    """Deploy the flows of a file, and run on this machine what is started of them, with their output shown live.

    Ctrl-C lets the runs that go on end; a second one ends them. The deployments are suspended at the end.
    """
    from ..serving import work

    flows = load(target).flows.values()
    if name is not None and len(flows) > 1:
        raise click.UsageError(f"--name is for one flow: choose one with {target}:FLOW")
    options: dict[str, Any] = {
        "cron": list(cron) or None,
        "interval": list(interval) or None,
        "rrule": list(rrule) or None,
        "parameters": parse_parameters(parameters),
        "tags": tags,
    }
    work(
        [flow.to_deployment(name, **options) for flow in flows],
        lambda: access(kubeconfig, context),
        limit=limit,
        pause_on_shutdown=pause_on_shutdown,
        work_pool_name=pool,
        namespace=namespace,
        say=tell,
        show=show,
    )
