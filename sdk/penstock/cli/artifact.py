"""`penstock artifact`: what runs have shown."""

from __future__ import annotations

import json
from typing import Any

import click

from .. import tables
from ..artifacts import TYPES
from ..resources import Body, Resources
from .kinds import ARTIFACT
from .lookup import completing
from .objects import LIST_FORMS, Listing, print_list
from .options import output_option
from .places import found, print_object, short, with_resources
from .rendering import age, table, utc_now


@click.group("artifact", cls=Listing)
def command() -> None:
    """List and show what runs have shown: texts, tables, links, progress, images."""


@command.command("ls")
@click.option("--key", help="Only the artifact with this key.")
@click.option("--run", help="Only those that this run wrote.")
@click.option("--type", "type_", type=click.Choice(TYPES), help="Only those of this type.")
@output_option(*LIST_FORMS)
@with_resources
def list_(where: Resources, key: str | None, run: str | None, type_: str | None, output: str | None) -> None:
    """List artifacts, the newest last."""
    wanted = {"key": key, "type": type_}
    bodies = [
        body
        for body in where.list("artifacts")
        if all(value in (None, body["spec"].get(field)) for field, value in wanted.items())
        and run in (None, (body["spec"].get("run") or {}).get("name"))
    ]
    bodies.sort(key=lambda body: (body["metadata"].get("creationTimestamp") or "", body["metadata"]["name"]))
    if not bodies:
        click.echo(f"No artifacts in {where.place}.", err=True)
    print_list(ARTIFACT, bodies, output, _cells)


@command.command("inspect")
@click.argument("name", metavar="KEY | ID", shell_complete=completing(ARTIFACT))
@output_option("json", "yaml")
@with_resources
def inspect(where: Resources, name: str, output: str | None) -> None:
    """Show an artifact whole."""
    body = found(where, "artifacts", name)
    if output:
        print_object("Artifact", body, output)
        return
    spec = body["spec"]
    click.echo(table([_cells(body)]))
    if spec.get("description"):
        click.echo(f"\n{spec['description']}")
    click.echo(f"\n{_content(tables.rows(spec.get('data')))}")


@command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="KEY|ID...")
@with_resources
def delete(where: Resources, names: tuple[str, ...]) -> None:
    """Delete artifacts."""
    for name in names:
        if not where.delete("artifacts", name):
            raise click.ClickException(f"artifacts/{name} is not in {where.place}")
        click.echo(f"artifact.penstock.dev/{name} deleted")


def _cells(body: Body) -> dict[str, str]:
    spec = body["spec"]
    return {
        "NAME": body["metadata"]["name"],
        "KEY": spec.get("key") or "",
        "TYPE": spec["type"],
        "RUN": (spec.get("run") or {}).get("name", ""),
        "AGE": age(body["metadata"].get("creationTimestamp"), utc_now()),
        "CONTENT": short(spec.get("data"), 40),
    }


def _content(data: Any) -> str:
    """Text as it is; rows as a table; anything else as JSON."""
    if isinstance(data, str):
        return data
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        columns = list(dict.fromkeys(str(name) for row in data for name in row))
        cells = [{name: _cell(row.get(name)) for name in columns} for row in data]
        return table(cells)
    return json.dumps(data, indent=2, ensure_ascii=False)


def _cell(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
