"""`penstock runs`: the runs of a namespace."""

from __future__ import annotations

import click

from ..client import Client
from .options import output_option, with_client
from .rendering import cells, show, state_of, table, utc_now


@click.command("runs")
@click.option("-d", "--deployment", help="Only runs of this deployment.")
@click.option("-s", "--state", "states", multiple=True, help="Only runs in this state, by type or name. Repeatable.")
@click.option("--limit", default=50, show_default=True, help="At most so many, the newest.")
@output_option("json", "yaml", "name", "wide")
@with_client
def command(client: Client, deployment: str | None, states: tuple[str, ...], limit: int, output: str | None) -> None:
    """List runs, the newest last."""
    selector = f"spec.deploymentRef.name={deployment}" if deployment else ""
    found = client.list("flowruns", field_selector=selector)
    wanted = {state.lower() for state in states}
    if wanted:
        found = [r for r in found if wanted & {str(state_of(r).get(k, "")).lower() for k in ("type", "name")}]
    found.sort(key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))
    found = found[-limit:]
    if output in ("json", "yaml", "name"):
        click.echo(show([{"apiVersion": "penstock.dev/v1alpha1", "kind": "FlowRun", **r} for r in found], output))
        return
    if not found:
        click.echo(f"No runs in namespace {client.namespace}.", err=True)
        return
    now = utc_now()
    rows = [cells(run, now) for run in found]
    if output == "wide":
        rows = [{**row, "MESSAGE": state_of(run).get("message", "")} for row, run in zip(rows, found, strict=True)]
    click.echo(table(rows))
