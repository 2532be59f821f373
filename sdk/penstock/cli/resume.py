"""`penstock resume`: answer a run that waits for a person, or let go on one that was suspended."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from ..client import Client
from ..cluster_pauses import pause_of, problems, resume
from .lookup import RUN, find, name_argument
from .options import with_client
from .parameters import parse_parameters, value_of
from .rendering import Body


@click.command("resume")
@name_argument(RUN, "run")
@click.option(
    "--input",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="A field of the input; the value is JSON, or text when it is no JSON. May be repeated.",
)
@click.option("--json", "text", metavar="JSON", help="The whole input as a JSON object, in place of --input.")
@with_client
def command(client: Client, run: str, pairs: tuple[str, ...], text: str | None) -> None:
    """Resume a run that waits. On a terminal, fields that it asks for are asked for where none are given.

    \b
    penstock resume publish-1 --input approved=true --input note=fine
    """
    body = find(client, RUN, run)
    given = parse(pairs, text)
    pause = pause_of(body)
    if given is None and pause is not None and "schema" in pause and sys.stdin.isatty():
        given = ask(pause, lambda prompt: str(click.prompt(prompt, default="", show_default=False, err=True)))
    resume(client, body, given)
    click.echo(f"flowrun.penstock.dev/{body['metadata']['name']} is resumed")


def parse(pairs: tuple[str, ...], text: str | None) -> dict[str, Any] | None:
    """The input that was given; None for none."""
    if text is not None:
        if pairs:
            raise click.UsageError("--json is the whole input: leave --input out")
        try:
            whole = json.loads(text)
        except ValueError as error:
            raise click.BadParameter(f"it is no JSON: {error}", param_hint="--json") from None
        if not isinstance(whole, dict):
            raise click.BadParameter("the input is a JSON object, with the fields as its names", param_hint="--json")
        return whole
    return parse_parameters(pairs, "--input") if pairs else None


def ask(pause: Body, line: Callable[[str], str]) -> dict[str, Any]:
    """The fields of the pause's schema, each asked for until it fits; an empty line leaves an optional one out."""
    schema = pause["schema"]
    required = schema.get("required") or ()
    if schema.get("description"):
        click.echo(schema["description"], err=True)
    found: dict[str, Any] = {}
    for name, field in (schema.get("properties") or {}).items():
        alone = {**schema, "properties": {name: field}, "required": [name]}
        default = "" if name in required else f" [{json.dumps(field.get('default'))}]"
        while True:
            text = line(f"{name}{default}")
            if not text and name not in required:
                break
            readings = [value for value in (value_of(text), text) if not problems({"schema": alone}, {name: value})]
            if readings:
                found[name] = readings[0]
                break
            click.echo("; ".join(problems({"schema": alone}, {name: value_of(text)})), err=True)
    return found
