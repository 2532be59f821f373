"""`penstock block`: typed configuration, saved from its class. No command prints a secret."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import PenstockError
from ..resources import Body, Resources
from .kinds import BLOCK
from .lookup import completing
from .objects import LIST_FORMS, Listing, print_list
from .options import output_option
from .places import found, print_object, short, with_resources
from .rendering import age, table, utc_now

if TYPE_CHECKING:
    from ..blocks.core import Block


@click.group("block", cls=Listing)
def command() -> None:
    """List, show, save and delete blocks, which flows load by their class."""


@command.command("ls")
@click.option("--type", "type_", help="Only blocks of this type.")
@output_option(*LIST_FORMS)
@with_resources
def list_(where: Resources, type_: str | None, output: str | None) -> None:
    """List blocks."""
    bodies = [body for body in where.list("blocks") if type_ in (None, body["spec"]["type"])]
    if not bodies:
        click.echo(f"No blocks in {where.place}.", err=True)
    print_list(BLOCK, bodies, output, _cells)


@command.command("inspect")
@click.argument("name", shell_complete=completing(BLOCK))
@output_option("json", "yaml")
@with_resources
def inspect(where: Resources, name: str, output: str | None) -> None:
    """Show a block: its fields, and where its secrets are."""
    body = found(where, "blocks", name)
    if output:
        print_object("Block", body, output)
        return
    spec = body["spec"]
    rows = [{"FIELD": field, "VALUE": short(value)} for field, value in (spec.get("data") or {}).items()]
    rows += [
        {"FIELD": field, "VALUE": f"in Secret {reference['name']}, key {reference['key']}"}
        for field, reference in (spec.get("secrets") or {}).items()
    ]
    click.echo(f"{name} is a {spec['type']}.")
    if rows:
        click.echo(table(rows))


@command.command("save")
@click.argument("type_", metavar="FILE.py:CLASS | MODULE:CLASS")
@click.argument("name", shell_complete=completing(BLOCK))
@click.option(
    "-p", "--param", "fields", multiple=True, metavar="FIELD=VALUE", help="A field; JSON or text. Repeatable."
)
@click.option(
    "--secret", "secrets", multiple=True, metavar="FIELD=FILE", help="A field from a file, or - for stdin. Repeatable."
)
@click.option("--overwrite", is_flag=True, help="Change it where it exists.")
@with_resources
def save(
    where: Resources, type_: str, name: str, fields: tuple[str, ...], secrets: tuple[str, ...], overwrite: bool
) -> None:
    """Check fields against a block's class, and save the block; its secrets go into a Secret.

    penstock block save blocks.py:Warehouse prod -p host=db.example --secret password=password.txt
    """
    from pydantic import ValidationError

    from ..blocks import documents
    from ..blocks.core import problems

    chosen = _class(type_)
    given = {field: _value(chosen, field, text) for field, text in (_pair(pair, "--param") for pair in fields)}
    given |= {field: _content(at) for field, at in (_pair(pair, "--secret") for pair in secrets)}
    unknown = sorted(set(given) - {info.alias or key for key, info in chosen.model_fields.items()})
    if unknown:
        known = ", ".join(chosen.model_fields)
        raise click.ClickException(f"{chosen.__name__} has no field {', '.join(unknown)}; it has {known}")
    try:
        block = chosen.model_validate(given)
    except ValidationError as error:
        raise click.ClickException(problems(error)) from None
    if not overwrite and where.get("blocks", documents.checked_name(name)) is not None:
        raise click.ClickException(f"block {name} exists in {where.place}: give --overwrite to change it")
    documents.write(name, block.to_document(), overwrite, where)
    click.echo(f"block {name} saved. Flows use it with @flow(blocks=[{name!r}]) and {chosen.__name__}.load({name!r})")


@command.command("types")
@click.argument("target", metavar="FILE.py | MODULE")
@click.option("-o", "--output", type=click.Choice(("json",)), help="JSON Schemas by type; a table when unset.")
def types(target: str, output: str | None) -> None:
    """List the block classes of a file or module, with their fields."""
    found_types = _classes(_module(target))
    if output:
        schemas = {block.get_block_type_slug(): block.model_json_schema() for block in found_types.values()}
        click.echo(json.dumps(schemas, indent=2))
        return
    if not found_types:
        raise click.ClickException(f"{target} has no block classes: derive one from penstock.blocks.Block")
    rows = [
        {"CLASS": name, "TYPE": block.get_block_type_slug(), "FIELDS": ", ".join(block.model_fields)}
        for name, block in found_types.items()
    ]
    click.echo(table(rows))


@command.command("delete")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@with_resources
def delete(where: Resources, names: tuple[str, ...]) -> None:
    """Delete blocks, and the Secrets that were made for them."""
    from ..blocks import documents

    for name in names:
        if not documents.remove(name, where=where):
            raise click.ClickException(f"blocks/{name} is not in {where.place}")
        click.echo(f"block {name} deleted")


def _cells(body: Body) -> dict[str, str]:
    spec = body["spec"]
    return {
        "NAME": body["metadata"]["name"],
        "TYPE": spec["type"],
        "FIELDS": ", ".join(spec.get("data") or {}),
        "SECRETS": ", ".join(spec.get("secrets") or {}),
        "AGE": age(body["metadata"].get("creationTimestamp"), utc_now()),
    }


def _pair(pair: str, option: str) -> tuple[str, str]:
    field, equals, content = pair.partition("=")
    if not equals or not field:
        what = "file" if option == "--secret" else "value"
        raise click.BadParameter(f"{pair!r}: write it as field={what}", param_hint=option)
    return field, content


def _value(chosen: type[Block], field: str, text: str) -> Any:
    """Text for a field that is text; else JSON, or text where it is none."""
    info = chosen.model_fields.get(field)
    if info is not None and info.annotation is str:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _content(at: str) -> str:
    """A secret from a file, without the newline that editors add."""
    try:
        text = sys.stdin.read() if at == "-" else Path(at).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{at} cannot be read: {error}", param_hint="--secret") from error
    return text.removesuffix("\n")


def _class(target: str) -> type[Block]:
    where, _, name = target.rpartition(":")
    if not where:
        raise click.UsageError(f"{target}: write it as FILE.py:CLASS or MODULE:CLASS")
    known = _classes(_module(where))
    if name not in known:
        raise click.ClickException(f"{where} has no block class {name}; it has {', '.join(known) or 'none'}")
    return known[name]


def _classes(module: Any) -> dict[str, type[Block]]:
    from ..blocks.core import Block

    values = vars(module).items()
    return {k: v for k, v in values if isinstance(v, type) and issubclass(v, Block) and v is not Block}


def _module(target: str) -> Any:
    try:
        if not target.endswith(".py"):
            return importlib.import_module(target)
        path = Path(target)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[path.stem] = module
        spec.loader.exec_module(module)
    except PenstockError:
        raise
    except Exception as error:
        raise click.ClickException(f"{target} cannot be imported: {type(error).__name__}: {error}") from error
    return module
