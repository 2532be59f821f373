"""The commands that every kind has: `ls`, `show`, `delete`, and `suspend` and `resume` where its spec can say so.

A kind's own module makes its group of these, and adds what only it has:

    command = group("pools", "Work pools: where runs are executed.")
    command.add_command(listing(POOL))
    command.add_command(showing(POOL))
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from ..api import labels
from ..api.schema import Kind
from ..client import AlreadyExists, Client
from ..errors import PenstockError
from ..yaml_text import dump
from .kinds import DEPLOYMENT, SPOKEN, address
from .lookup import find, name_argument, names_argument
from .options import output_option, selector_option, with_client
from .rendering import Body, cells, show, show_all, table, table_of, utc_now
from .suggestions import instead

LIST_FORMS = ("json", "yaml", "name", "wide")
SUSPENDING = "penstock-suspend"  # field manager of spec.suspend, so that no later deploy takes it back


class Listing(click.Group):
    """A group that lists where it is given no command: `penstock pools -o wide` is `penstock pools ls -o wide`.

    `also` are commands that stand at the top too: the modules of these names, imported when they are used.
    """

    def __init__(self, name: str | None = None, *, also: tuple[str, ...] = (), **more: Any) -> None:
        super().__init__(name, **more)
        self._also = also

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *self._also])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._also:
            return super().get_command(ctx, cmd_name)
        command: click.Command = importlib.import_module(f".{cmd_name}", __package__).command
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        lists = args[0].startswith("-") and args[0] not in ctx.help_option_names if args else not ctx.resilient_parsing
        return super().parse_args(ctx, ["ls", *args] if lists else args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not ctx.resilient_parsing:
            raise click.UsageError(f"{ctx.command_path} has no command {args[0]}; {instead(args[0], known, '')}", ctx)
        return super().resolve_command(ctx, args)


def group(name: str, text: str, also: tuple[str, ...] = ()) -> Listing:
    """The group of a kind's commands; `also` as `Listing` has it."""
    return Listing(name, help=text, also=also)


def print_list(
    kind: Kind,
    bodies: Iterable[Body],
    output: str | None,
    row: Callable[[Body], dict[str, str]] | None = None,
) -> None:
    """Objects as `-o` says: for people a table of the kind's columns, or of those that `row` makes."""
    whole = [
        {"apiVersion": labels.API_VERSION, "kind": kind.kind, **body} for body in bodies
    ]  # a list's items say neither
    if output in ("json", "yaml", "name"):
        text = show_all(whole, output)
    elif row is not None:
        text = table([row(body) for body in whole])
    else:
        text = table_of(kind, whole, utc_now(), wide=output == "wide")
    if text:
        click.echo(text)


def listing(kind: Kind, filters: Mapping[str, str] | None = None) -> click.Command:
    """`ls`; `filters` are further options, each with the field that it selects by."""
    spoken, fields = SPOKEN[kind.kind], dict(filters or {})

    @click.command("ls", help=f"List {spoken.plural}.")
    @selector_option
    @output_option(*LIST_FORMS)
    @with_client
    def ls(client: Client, selector: str, output: str | None, **chosen: str | None) -> None:
        wanted = {fields[option]: value for option, value in chosen.items() if value}
        chosen_by = ",".join(f"{field}={value}" for field, value in wanted.items())
        found = client.list(kind.plural, label_selector=selector, field_selector=chosen_by)
        found.sort(key=lambda body: str(body["metadata"]["name"]))
        if not found:
            such = "such " if wanted or selector else ""
            remedy = "" if such else f"; {spoken.remedy}"
            click.echo(f"No {such}{spoken.plural} in namespace {client.namespace}{remedy}", err=True)
        print_list(kind, found, output)

    for option, field in reversed(fields.items()):
        click.option(f"--{option}", help=f"Only those whose {field} is this.")(ls)
    return ls


def showing(kind: Kind, more: Callable[[Client, Body], list[str]] | None = None) -> click.Command:
    """`show`: one object, whole; `more` adds lines of what else concerns it."""
    word = SPOKEN[kind.kind].word

    @click.command("show", help=f"Show everything about a {word}.")
    @name_argument(kind)
    @output_option("json", "yaml", "name", unset="for people")
    @with_client
    def show_(client: Client, name: str, output: str | None) -> None:
        body = find(client, kind, name)
        if output:
            click.echo(show(body, output))
            return
        click.echo("\n".join([*described(kind, body), *(more(client, body) if more else [])]))

    return show_


def described(kind: Kind, body: Body) -> list[str]:
    """An object for people: its columns, spec and conditions, a line each."""
    now = utc_now()
    found = [f"{name.capitalize() + ':':<12} {text or '-'}" for name, text in cells(kind, body, now, wide=True).items()]
    spec = dump([body.get("spec") or {}]).removeprefix("---\n").rstrip()
    found += ["Spec:", *(f"  {line}" for line in spec.splitlines())]
    conditions = (body.get("status") or {}).get("conditions") or []
    if conditions:
        rows = [
            {key.upper(): str(c.get(key, "")) for key in ("type", "status", "reason", "message")} for c in conditions
        ]
        found += ["Conditions:", *(f"  {line}" for line in table(rows).splitlines())]
    return found


def deleting(kind: Kind) -> click.Command:
    """`delete`."""
    spoken = SPOKEN[kind.kind]

    @click.command("delete", help=f"Delete {spoken.plural}.")
    @names_argument(kind)
    @with_client
    def delete(client: Client, names: tuple[str, ...]) -> None:
        def one(text: str) -> str:
            body = find(client, kind, text)
            client.delete(kind.plural, body["metadata"]["name"])
            return f"{address(kind, body['metadata']['name'])} deleted"

        each(names, one)

    return delete


def suspending(kind: Kind, suspend: bool) -> click.Command:
    """`suspend`, or `resume`: what is said by it stays said, whatever is deployed later."""
    spoken = SPOKEN[kind.kind]
    verb, done = ("suspend", "is suspended") if suspend else ("resume", "is resumed")
    does = "Start no runs" if suspend else "Start runs again"
    of = "of" if kind is DEPLOYMENT else "in"

    @click.command(verb, help=f"{does} {of} {spoken.plural}. Runs under way go on.")
    @names_argument(kind)
    @with_client
    def command(client: Client, names: tuple[str, ...]) -> None:
        def one(text: str) -> str:
            meta = find(client, kind, text)["metadata"]
            suspended(client, kind, meta, suspend)
            return f"{address(kind, meta['name'])} {done}"

        each(names, one)

    return command


def suspended(client: Client, kind: Kind, meta: Body, suspend: bool) -> Body:
    """Say `spec.suspend`, and own it: a deploy that says nothing of it leaves it, another is told of it."""
    body: Body = {
        "apiVersion": labels.API_VERSION,
        "kind": kind.kind,
        "metadata": {"name": meta["name"], "uid": meta["uid"]},  # of this object, and of none that is made meanwhile
        "spec": {"suspend": suspend},
    }
    return client.apply(body, manager=SUSPENDING)


def created(
    client: Client, kind: Kind, name: str, fields: Mapping[str, Any], output: str | None, remedy: str | None = None
) -> None:
    """Create an object whose spec has those of the fields that are not None, and say so.

    `remedy`: how one that is there is changed, where kubectl is not the way.
    """
    spec = {field: value for field, value in fields.items() if value is not None}
    body = {"apiVersion": labels.API_VERSION, "kind": kind.kind, "metadata": {"name": name}, "spec": spec}
    try:
        made = client.create(body)
    except AlreadyExists as error:
        raise click.ClickException(
            f"{address(kind, name)} exists already: change it with {remedy or f'`kubectl edit {kind.singular} {name}`'}"
        ) from error
    click.echo(show(made, output) if output else f"{address(kind, name)} created")


def each(names: Sequence[str], one: Callable[[str], str]) -> None:
    """Do it to each and print what was done; the first that fails keeps none of the others from it."""
    errors = []
    for name in names:
        try:
            click.echo(one(name))
        except PenstockError as error:
            errors.append(str(error))
    if errors:
        raise click.ClickException("; ".join(errors))
