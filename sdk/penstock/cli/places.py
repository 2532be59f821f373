"""Where the commands for artifacts, variables and blocks look: a cluster, or with `--local` this machine's files."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import Any

import click

from ..api import labels
from ..resources import Body, Resources
from .rendering import show


def with_resources(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--local` and kubectl's options for cluster and namespace, and pass `where`."""

    @click.option("--local", is_flag=True, help="The files under PENSTOCK_HOME instead of a cluster.")
    @click.option("-n", "--namespace", help="Namespace; that of the context when unset.")
    @click.option("--context", help="Context of the kubeconfig.")
    @click.option("--kubeconfig", type=click.Path(), help="Kubeconfig file; KUBECONFIG or ~/.kube/config when unset.")
    @functools.wraps(command)
    def wrapped(
        *args: Any, local: bool, namespace: str | None, context: str | None, kubeconfig: str | None, **kwargs: Any
    ) -> Any:
        if local:
            from ..resources.local import LocalResources, home

            return command(*args, where=LocalResources(home()), **kwargs)
        from ..client import Client
        from ..kubeconfig import NONE, ClusterUnavailable, access
        from ..resources.cluster import ClusterResources

        try:
            access_ = access(kubeconfig, context)
        except ClusterUnavailable as error:
            if str(error) != NONE:
                raise
            raise ClusterUnavailable(f"{NONE}; --local looks at the files of runs on this machine") from error
        with Client(access_, namespace) as client:
            return command(*args, where=ClusterResources(client), **kwargs)

    return wrapped


def print_object(kind: str, body: Body, output: str) -> None:
    """One object for programs."""
    click.echo(show(_whole(kind, body), output))


def _whole(kind: str, body: Body) -> Body:
    return {"apiVersion": labels.API_VERSION, "kind": kind, **body}


def found(where: Resources, plural: str, name: str) -> Body:
    """The object of that name, or the error that there is none."""
    body = where.get(plural, name)
    if body is None:
        raise click.ClickException(f"{plural}/{name} is not in {where.place}")
    return body


def short(value: Any, width: int = 60) -> str:
    """A value as JSON on one line, cut."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= width else f"{text[: width - 1]}…"
