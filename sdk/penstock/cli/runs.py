"""`penstock runs`: the runs of a namespace, and what is done with one; those commands also stand at the top."""

from __future__ import annotations

import click

from ..client import Client
from .archived import ArchivedRuns, archive_options
from .lookup import DEPLOYMENT, RUN, completing, missing, plain
from .objects import LIST_FORMS, deleting, group, print_list
from .options import cluster_options, open_client, output_option, selector_option
from .rendering import Body, state_of
from .suggestions import instead

command = group(
    "runs",
    "List runs, and see, cancel, answer, retry and delete them.",
    also=("cancel", "logs", "resume", "retry", "show", "suspend", "watch"),
)
command.add_command(deleting(RUN))


@command.command("ls")
@click.option("-d", "--deployment", help="Only runs of this deployment.", shell_complete=completing(DEPLOYMENT))
@click.option("-s", "--state", "states", multiple=True, help="Only runs in this state, by type or name. Repeatable.")
@selector_option
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many, the newest.")
@output_option(*LIST_FORMS)
@cluster_options
@archive_options
def ls(
    deployment: str | None,
    states: tuple[str, ...],
    selector: str,
    limit: int,
    output: str | None,
    archived: ArchivedRuns | None,
    **where: str | None,
) -> None:
    """List runs, the newest last."""
    name = plain(DEPLOYMENT, deployment) if deployment else None
    if archived is not None:
        if selector:
            raise click.UsageError("-l: the archive keeps no index of labels; choose by --deployment and --state")
        found = archived.latest(name, states, limit)[::-1]
        if not found:
            click.echo(f"No such runs {archived.place}.", err=True)
    else:
        with open_client(**where) as client:
            found = _listed(client, name, states, selector, limit)
    print_list(RUN, found, output)


def _listed(client: Client, name: str | None, states: tuple[str, ...], selector: str, limit: int) -> list[Body]:
    """The newest runs in the cluster, the newest last; says when there are more, or none."""
    chosen_by = f"spec.deploymentRef.name={name}" if name else ""
    every = client.list(RUN.plural, label_selector=selector, field_selector=chosen_by)
    found = [run for run in every if not states or _words(run) & {state.lower() for state in states}]
    found.sort(key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))
    shown = found[-limit:]
    if not shown:
        click.echo(_why_none(client, every, name, states, selector), err=True)
    if len(shown) < len(found):
        click.echo(f"The newest {len(shown)} of {len(found)} runs; --limit shows more.", err=True)
    return shown


def _words(run: Body) -> set[str]:
    """What `--state` may call the state of a run."""
    state = state_of(run)
    return {str(state.get(key, "")).lower() for key in ("type", "name")}


def _why_none(client: Client, every: list[Body], deployment: str | None, states: tuple[str, ...], selector: str) -> str:
    where = f"in namespace {client.namespace}"
    if every:
        words = {str(state_of(run).get("name", "no state yet")) for run in every}
        return f"No runs in state {' or '.join(states)} {where}; {instead(states[0], sorted(words), '')}"
    if selector:
        return f"No runs {where} with labels {selector}."
    if deployment is None:
        return f"No runs {where}."
    if deployment not in client.names(DEPLOYMENT.plural):
        return f"No runs: {missing(client, DEPLOYMENT, deployment)}"
    return f"No runs of deployment {deployment} {where}. Start one with: penstock run {deployment}"
