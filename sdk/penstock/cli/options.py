"""Options that many commands share: which cluster and namespace, which form of output, parameters as key=value."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable
from typing import Any

import click

from ..client import Client, access


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add kubectl's options for cluster and namespace, and pass an open `client`."""

    @click.option("-n", "--namespace", envvar="PENSTOCK_NAMESPACE", help="Namespace; that of the context when unset.")
    @click.option("--context", help="Context of the kubeconfig.")
    @click.option("--kubeconfig", type=click.Path(), help="Kubeconfig file; KUBECONFIG or ~/.kube/config when unset.")
    @functools.wraps(command)
    def wrapped(*args: Any, namespace: str | None, context: str | None, kubeconfig: str | None, **kwargs: Any) -> Any:
        with Client(access(kubeconfig, context), namespace) as client:
            return command(*args, client=client, **kwargs)

    return wrapped


def output_option(*forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-o`: one of the given forms; a table when unset."""
    return click.option("-o", "--output", type=click.Choice(forms), help="Form of output; a table when unset.")


def parse_parameters(pairs: Iterable[str]) -> dict[str, Any]:
    """`key=value` pairs: a value that is JSON is taken as JSON, anything else as text."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"{pair!r}: write it as name=value", param_hint="--param")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


parameters_option = click.option(
    "-p",
    "--param",
    "parameters",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter; the value is JSON, or text when it is no JSON. May be repeated.",
)
