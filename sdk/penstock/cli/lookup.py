"""Objects by the names people type, and for a name that is not there, what is. For every command that takes one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from ..api import labels
from ..api.schema import Kind
from ..client import ApiError, Client, NotFound
from ..errors import PenstockError
from .kinds import DEPLOYMENT, FLOW, RUN, SPOKEN
from .rendering import Body
from .suggestions import instead

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

__all__ = [
    "DEPLOYMENT",
    "FLOW",
    "RUN",
    "NoSuchObject",
    "completing",
    "completing_by",
    "find",
    "missing",
    "name_argument",
    "names_argument",
    "plain",
]


class NoSuchObject(PenstockError):
    """There is no object of this name; the message says which there are."""

    reason = "NotFound"


def plain(kind: Kind, text: str) -> str:
    """The name in `name`, `flowrun/name` or `flowrun.penstock.dev/name`, as commands print it and kubectl takes it."""
    prefix, slash, name = text.rpartition("/")
    word = prefix.removesuffix(f".{labels.GROUP}").lower()
    spoken = SPOKEN[kind.kind]
    if name and (not slash or word in (kind.singular, kind.plural, kind.short, spoken.word, spoken.plural)):
        return name
    raise NoSuchObject(f"{text!r} is no name of a {spoken.word}: write NAME or {kind.singular}/NAME")


def find(client: Client, kind: Kind, text: str) -> Body:
    """The object that `text` names. Raises `NoSuchObject`, with the names that were probably meant."""
    name = plain(kind, text)
    try:
        return client.get(kind.plural, name)
    except NotFound as error:
        if error.api_reason == "NotInstalled":
            raise
        raise missing(client, kind, name) from error


def missing(client: Client, kind: Kind, name: str) -> NoSuchObject:
    """The error for a name that is not there."""
    spoken = SPOKEN[kind.kind]
    text = f"there is no {spoken.word} {name} in namespace {client.namespace}"
    try:
        none = f"there are none yet: {spoken.remedy}"
        return NoSuchObject(f"{text}; {instead(name, client.names(kind.plural), none)}")
    except ApiError:  # who may get may not be one who may list
        return NoSuchObject(text)


def name_argument(kind: Kind, parameter: str = "name", metavar: str | None = None) -> Callable[[Any], Any]:
    """The argument that names one object; shells complete it."""
    return click.argument(parameter, metavar=metavar or _metavar(kind), shell_complete=completing(kind))


def names_argument(kind: Kind, parameter: str = "names") -> Callable[[Any], Any]:
    """The argument that names one or more objects; shells complete it."""
    return click.argument(
        parameter, nargs=-1, required=True, metavar=f"{_metavar(kind)}...", shell_complete=completing(kind)
    )


def _metavar(kind: Kind) -> str:
    return SPOKEN[kind.kind].word.upper()


def completing(*kinds: Kind, files: bool = False) -> Complete:
    """What completes the names of objects of these kinds, in the namespace that the words before say; and `files`."""
    return completing_by(lambda client, _: [name for kind in kinds for name in client.names(kind.plural)], files=files)


def completing_by(names_of: Callable[[Client, dict[str, Any]], Iterable[str]], *, files: bool = False) -> Complete:
    """What completes the words that `names_of` finds in the cluster, with what was typed before at hand."""

    def complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from .options import open_client

        where = {option: ctx.params.get(option) for option in ("namespace", "context", "kubeconfig")}
        try:
            with open_client(**where) as client:
                names = list(names_of(client, ctx.params))
        except PenstockError:  # there is nobody to tell it to
            names = []
        found = [CompletionItem(name) for name in names if name.startswith(incomplete)]
        return [*found, CompletionItem(incomplete, type="file")] if files else found

    return complete
