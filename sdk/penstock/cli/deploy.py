"""`penstock deploy`: apply flows, or what penstock.yaml says, and tell whether it can be used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import unified_diff
from typing import Any, NoReturn

import click

from ..applying import Applied, apply_all
from ..client import Client
from ..readiness import await_readiness
from ..yaml_text import dump
from .build import manifest_options, manifests
from .options import output_option, with_client
from .rendering import show_all, table

DIFFERS = 3  # exit code of --diff


@click.command("deploy")
@manifest_options
@click.option(
    "--diff", is_flag=True, help="Show what would change, and change nothing; exit code 3 where anything would."
)
@click.option("--dry-run", is_flag=True, help="Have the API server check everything, and change nothing.")
@click.option("--force", is_flag=True, help="Take over fields that others have set otherwise.")
@output_option("json", "yaml", "name")
@with_client
def command(
    client: Client, target: str | None, diff: bool, dry_run: bool, force: bool, output: str | None, **given: Any
) -> None:
    """Apply the Flow and FlowDeployment of the flows in a file (server-side apply), or what penstock.yaml says.

    The API server checks all of them first: where it refuses one, nothing is changed. Nor is what others have set.
    The exit code is 1 where the operator says that a deployment must be mended.
    """
    done = apply_all(client, manifests(target, **given), force=force, dry_run=dry_run or diff)
    if diff:
        show_diff(done)
    if output:
        click.echo(show_all([each.after for each in done], output))
    else:
        mark = " (dry run)" if dry_run else ""
        rows = [
            {"KIND": each.after["kind"], "NAME": each.after["metadata"]["name"], "RESULT": each.result + mark}
            for each in done
        ]
        click.echo(table(rows))
    if not dry_run:
        tell_ready(client, done)


def show_diff(done: Sequence[Applied]) -> NoReturn:
    """What differs, as `diff -u` shows it."""
    text = "".join(map(difference, done))
    for line in text.splitlines():
        colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
        click.echo(click.style(line, fg=colour) if colour else line)
    sys.exit(DIFFERS if text else 0)


def difference(applied: Applied) -> str:
    """The specs before and after as a unified diff of YAML; empty where they are the same."""
    name = f"{applied.after['kind']}/{applied.after['metadata']['name']}"
    before = [] if applied.before is None else dump([applied.before["spec"]]).splitlines(keepends=True)
    after = dump([applied.after["spec"]]).splitlines(keepends=True)
    now = "(not there)" if applied.before is None else "in the cluster"
    return "".join(unified_diff(before, after, f"{name} {now}", f"{name} as deployed"))


def tell_ready(client: Client, done: Sequence[Applied]) -> None:
    """The operator's word, on stderr, for it is no output. Exits 1 where a deployment must be mended."""
    found = await_readiness(client, done)
    for each in found:
        if each.ready:
            click.echo(f"\n{each}. Start it with: penstock run {each.name} --watch", err=True)
        else:
            click.secho(f"\n{each}", fg="red" if each.wrong else "yellow", err=True)
    if any(each.wrong for each in found):
        sys.exit(1)
