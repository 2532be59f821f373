"""`penstock rollback`: a deployment, or a flow, as it was deployed before."""

from __future__ import annotations

import click

from ..applying import Applied
from ..client import Client, Conflict
from ..revisions import NoRevision, chosen, differences, history, roll_back
from .deploy import show_diff
from .kinds import DEPLOYMENT, FLOW, SPOKEN, address
from .lookup import completing, find
from .options import with_client
from .rendering import Body
from .run import kind_of


@click.command("rollback")
@click.argument("target", metavar="DEPLOYMENT | flow/FLOW", shell_complete=completing(DEPLOYMENT))
@click.option("--to-revision", type=click.IntRange(min=1), help="This revision; the one before when unset.")
@click.option(
    "--diff", is_flag=True, help="Show what would change, and change nothing; exit code 3 where anything would."
)
@click.option("--dry-run", is_flag=True, help="Have the API server check it, and change nothing.")
@with_client
def command(client: Client, target: str, to_revision: int | None, diff: bool, dry_run: bool) -> None:
    """Go back to what was deployed before; `penstock deployments history` lists it.

    What is suspended stays so. Runs under way go on with what they were started with. The code is the flow's: it goes
    back with flow/FLOW.
    """
    kind = kind_of(target)
    owner = find(client, kind, target)
    name = owner["metadata"]["name"]
    try:
        revision = chosen(history(client, kind, owner), owner["spec"], to_revision)
    except NoRevision as error:
        raise click.ClickException(f"{SPOKEN[kind.kind].word} {name}: {error}{_code(owner)}") from error
    try:
        after = roll_back(client, kind, owner, revision, dry_run=dry_run or diff)
    except Conflict as error:
        raise click.ClickException(f"{address(kind, name)} was changed meanwhile: look at it, and try again") from error
    if diff:
        show_diff([Applied(owner, after)])
    fields = differences(owner["spec"], after["spec"])
    if not fields:
        click.echo(f"{address(kind, name)} is as it was in revision {revision.number}")
        return
    mark = " (dry run)" if dry_run else ""
    click.echo(f"{address(kind, name)} is rolled back to revision {revision.number}: {', '.join(fields)}{mark}")


def _code(owner: Body) -> str:
    """Where the code is, which a deployment does not hold."""
    flow = (owner["spec"].get("flowRef") or {}).get("name")
    return f"; its code is of flow {flow}: penstock rollback {FLOW.singular}/{flow}" if flow else ""
