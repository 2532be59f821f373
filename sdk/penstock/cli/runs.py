"""`penstock runs`: the runs of a namespace."""

from __future__ import annotations

import click

from ..api import labels
from ..client import Client
from .lookup import DEPLOYMENT, RUN, missing, plain
from .options import output_option, with_client
from .rendering import Body, run_table, show_all, state_of, utc_now
from .suggestions import instead


@click.command("runs")
@click.option("-d", "--deployment", help="Only runs of this deployment.")
@click.option("-s", "--state", "states", multiple=True, help="Only runs in this state, by type or name. Repeatable.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many, the newest.")
@output_option("json", "yaml", "name", "wide")
@with_client
def command(client: Client, deployment: str | None, states: tuple[str, ...], limit: int, output: str | None) -> None:
    """List runs, the newest last."""
    name = plain(DEPLOYMENT, deployment) if deployment else None
    every = client.list(RUN.plural, field_selector=f"spec.deploymentRef.name={name}" if name else "")
    found = [run for run in every if not states or _words(run) & {state.lower() for state in states}]
    found.sort(key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))
    shown = found[-limit:]
    if not shown:
        click.echo(_why_none(client, every, name, states), err=True)
    if len(shown) < len(found):
        click.echo(f"The newest {len(shown)} of {len(found)} runs; --limit shows more.", err=True)
    if output in ("json", "yaml", "name"):
        text = show_all(
            ({"apiVersion": labels.API_VERSION, "kind": RUN.kind, **run} for run in shown), output
        )  # items of a list say neither
    else:
        text = run_table(shown, utc_now(), wide=output == "wide")
    if text:
        click.echo(text)


def _words(run: Body) -> set[str]:
    """What `--state` may call the state of a run."""
    state = state_of(run)
    return {str(state.get(key, "")).lower() for key in ("type", "name")}


def _why_none(client: Client, every: list[Body], deployment: str | None, states: tuple[str, ...]) -> str:
    where = f"in namespace {client.namespace}"
    if every:
        words = {str(state_of(run).get("name", "no state yet")) for run in every}
        return f"No runs in state {' or '.join(states)} {where}; {instead(states[0], sorted(words), '')}"
    if deployment is None:
        return f"No runs {where}."
    if deployment not in client.names(DEPLOYMENT.plural):
        return f"No runs: {missing(client, DEPLOYMENT, deployment)}"
    return f"No runs of deployment {deployment} {where}. Start one with: penstock run {deployment}"
