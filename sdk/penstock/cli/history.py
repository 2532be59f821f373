"""`history` of deployments and of flows: what was deployed, revision by revision. Added to their groups."""

from __future__ import annotations

import click

from ..api.schema import Kind
from ..client import Client
from ..revisions import NoRevision, Revision, chosen, differences, history
from ..yaml_text import dump
from .kinds import SPOKEN
from .lookup import find, name_argument
from .objects import LIST_FORMS
from .options import output_option, with_client
from .rendering import Body, age, show_all, table, utc_now


def showing_history(kind: Kind) -> click.Command:
    """`history`; with `--revision`, one of them whole."""

    @click.command("history", help=f"List what was deployed of a {SPOKEN[kind.kind].word}: go back with rollback.")
    @name_argument(kind)
    @click.option("--revision", type=click.IntRange(min=1), help="Show this one whole.")
    @output_option(*LIST_FORMS)
    @with_client
    def command(client: Client, name: str, revision: int | None, output: str | None) -> None:
        owner = find(client, kind, name)
        found = history(client, kind, owner)
        if revision is not None:
            try:
                found = [chosen(found, owner["spec"], revision)]
            except NoRevision as error:
                raise click.ClickException(f"{SPOKEN[kind.kind].word} {name}: {error}") from error
        if output in ("json", "yaml", "name"):
            click.echo(_for_programs([each.body for each in found], output))
        elif revision is not None:
            click.echo(dump([found[0].spec]).rstrip())
        elif not found:
            click.echo("No revision is kept yet: the operator keeps them.", err=True)
        else:
            click.echo(table(rows(found, owner, wide=output == "wide")))

    return command


def _for_programs(bodies: list[Body], output: str) -> str:
    if output == "name":
        return "\n".join(f"controllerrevision.apps/{body['metadata']['name']}" for body in bodies)
    return show_all([{"apiVersion": "apps/v1", "kind": "ControllerRevision", **body} for body in bodies], output)


def rows(revisions: list[Revision], owner: Body, *, wide: bool = False) -> list[dict[str, str]]:
    """A row for each: what it changed of the one before, and which of them is deployed."""
    now, found = utc_now(), []
    for before, each in zip([None, *revisions], revisions, strict=False):
        deployed = each.number == owner["metadata"]["generation"]
        row = {
            "REVISION": f"{each.number}{' *' if deployed else ''}",
            "CHANGED": ", ".join(differences(before.spec, each.spec)) if before else "",
            "VERSION": str(each.spec.get("version", "")),
            "AGE": age(each.time, now),
        }
        if wide:
            row["NAME"] = each.body["metadata"]["name"]
        found.append(row)
    return found
