"""`penstock variable`: small JSON values by name."""

from __future__ import annotations

import json

import click

from .. import variables
from ..resources import Body, Resources
from .kinds import VARIABLE
from .lookup import completing
from .objects import LIST_FORMS, Listing, print_list
from .options import output_option
from .places import short, with_resources
from .rendering import age, utc_now


@click.group("variable", cls=Listing)
def command() -> None:
    """Read and write variables, which flows read with Variable.get."""


@command.command("ls")
@output_option(*LIST_FORMS)
@with_resources
def list_(where: Resources, output: str | None) -> None:
    """List variables."""
    bodies = where.list("variables")
    if not bodies:
        click.echo(f"No variables in {where.place}.", err=True)
    print_list(VARIABLE, bodies, output, _cells)


@command.command("get")
@click.argument("name", shell_complete=completing(VARIABLE))
@output_option("json")
@with_resources
def get(where: Resources, name: str, output: str | None) -> None:
    """Print the value of a variable: text as it is, anything else as JSON."""
    nothing = object()
    value = variables.read(name, nothing, where)
    if value is nothing:
        raise click.ClickException(f"variable {name} is not in {where.place}")
    click.echo(value if isinstance(value, str) and output is None else json.dumps(value, ensure_ascii=False))


@command.command("set")
@click.argument("name", shell_complete=completing(VARIABLE))
@click.argument("value")
@click.option("--text", is_flag=True, help="The value is text, even where it could be JSON.")
@click.option("-t", "--tag", "tags", multiple=True, help="A tag. May be repeated.")
@click.option("--overwrite", is_flag=True, help="Change it where it exists.")
@with_resources
def set_(where: Resources, name: str, value: str, text: bool, tags: tuple[str, ...], overwrite: bool) -> None:
    """Set a variable; the value is JSON, or text when it is no JSON."""
    taken = value
    if not text:
        try:
            taken = json.loads(value)
        except ValueError:
            taken = value
    if not overwrite and variables.exists(name, where):
        raise click.ClickException(f"variable {name} exists in {where.place}: give --overwrite to change it")
    variables.write(name, taken, tags or None, overwrite, where)
    click.echo(f"variable {name} set")


@command.command("unset")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@with_resources
def unset(where: Resources, names: tuple[str, ...]) -> None:
    """Delete variables."""
    for name in names:
        if not variables.remove(name, where):
            raise click.ClickException(f"variable {name} is not in {where.place}")
        click.echo(f"variable {name} unset")


def _cells(body: Body) -> dict[str, str]:
    return {
        "NAME": body["metadata"]["name"],
        "VALUE": short(body["spec"].get("value")),
        "TAGS": ",".join(body["spec"].get("tags") or ()),
        "AGE": age(body["metadata"].get("creationTimestamp"), utc_now()),
    }
