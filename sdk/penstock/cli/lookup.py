"""Objects by the names people type, and for a name that is not there, what is. For every command that takes one."""

from __future__ import annotations

from ..api import labels
from ..api.flow import Flow
from ..api.flowdeployment import FlowDeployment
from ..api.flowrun import FlowRun
from ..api.schema import Kind
from ..client import ApiError, Client, NotFound
from ..errors import PenstockError
from .rendering import Body
from .suggestions import instead

RUN, DEPLOYMENT, FLOW = FlowRun.about, FlowDeployment.about, Flow.about

_WORDS = {RUN.kind: "run", DEPLOYMENT.kind: "deployment", FLOW.kind: "flow"}
_FIRST = {
    RUN.kind: "there are none yet: start one with `penstock run DEPLOYMENT`",
    DEPLOYMENT.kind: "there are none yet: make one with `penstock deploy FILE.py`",
    FLOW.kind: "there are none yet: make one with `penstock deploy FILE.py`",
}


class NoSuchObject(PenstockError):
    """There is no object of this name; the message says which there are."""

    reason = "NotFound"


def plain(kind: Kind, text: str) -> str:
    """The name in `name`, `flowrun/name` or `flowrun.penstock.dev/name`, as commands print it and kubectl takes it."""
    prefix, slash, name = text.rpartition("/")
    word = prefix.removesuffix(f".{labels.GROUP}").lower()
    if name and (not slash or word in (kind.singular, kind.plural, kind.short, _WORDS[kind.kind])):
        return name
    raise NoSuchObject(f"{text!r} is no name of a {_WORDS[kind.kind]}: write NAME or {kind.singular}/NAME")


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
    text = f"there is no {_WORDS[kind.kind]} {name} in namespace {client.namespace}"
    try:
        return NoSuchObject(f"{text}; {instead(name, client.names(kind.plural), _FIRST[kind.kind])}")
    except ApiError:  # who may get may not be one who may list
        return NoSuchObject(text)
