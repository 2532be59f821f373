"""Options that many commands share: which cluster and namespace, and which form of output."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import click

from ..client import Client
from ..kubeconfig import access


def cluster_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """kubectl's options for cluster and namespace."""
    for option in reversed(
        (
            click.option("-n", "--namespace", help="Namespace; that of the context when unset."),
            click.option("--context", help="Context of the kubeconfig."),
            click.option(
                "--kubeconfig", type=click.Path(), help="Kubeconfig file; KUBECONFIG or ~/.kube/config when unset."
            ),
        )
    ):
        command = option(command)
    return command


def open_client(namespace: str | None, context: str | None, kubeconfig: str | None) -> Client:
    """The client that the values of `cluster_options` ask for."""
    return Client(access(kubeconfig, context), namespace)


def with_client(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `cluster_options`, and pass an open `client`."""

    @cluster_options
    @functools.wraps(command)
    def wrapped(*args: Any, namespace: str | None, context: str | None, kubeconfig: str | None, **kwargs: Any) -> Any:
        with open_client(namespace, context, kubeconfig) as client:
            return command(*args, client=client, **kwargs)

    return wrapped


def selector_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """`-l`, as kubectl has it."""
    words = "Only those with these labels, as in kubectl."
    return click.option("-l", "--selector", default="", metavar="LABELS", help=words)(command)


def output_option(*forms: str, unset: str = "a table") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-o`: one of the given forms; for people when unset."""
    return click.option("-o", "--output", type=click.Choice(forms), help=f"Form of output; {unset} when unset.")
