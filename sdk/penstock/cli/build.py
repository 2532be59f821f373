"""`penstock build`: manifests of the flows in a file, for `kubectl apply -f -`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from ..manifests import Manifest, Options, deployment_manifest, flow_manifest
from ..yaml_text import dump
from .flow_files import load
from .parameters import parameters_option, parse_parameters, problems


def manifest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `build` and `deploy` share."""
    for option in reversed(
        (
            click.argument("target", metavar="FILE.py[:FLOW]"),
            click.option("--name", help="Name of the Flow; that of the flow when unset. For files with one flow."),
            click.option("--deployment-name", help="Name of the FlowDeployment; that of the Flow when unset."),
            click.option("--pool", help="WorkPool that runs it; `default` when unset."),
            click.option("--queue", help="WorkQueue of the pool."),
            click.option("--image", help="Image of its runs; that of the pool when unset."),
            click.option("--from-image", is_flag=True, help="The code is in the image: deliver no source."),
            parameters_option,
            click.option("-t", "--tag", "tags", multiple=True, help="A tag of its runs. May be repeated."),
            click.option("--suspend/--no-suspend", default=None, help="Start no runs for now, or start them again."),
        )
    ):
        command = option(command)
    return command


def manifests(target: str, **given: Any) -> list[Manifest]:
    """Flow and FlowDeployment of every flow that the target names."""
    found = load(target)
    if len(found.flows) > 1 and (given["name"] or given["deployment_name"]):
        known = ", ".join(found.flows)
        raise click.UsageError(f"{target} has several flows ({known}): choose one with {target}:NAME to name it")
    options = Options(
        flow_name=given["name"],
        deployment_name=given["deployment_name"],
        work_pool=given["pool"],
        queue=given["queue"],
        image=given["image"],
        from_image=given["from_image"],
        parameters=parse_parameters(given["parameters"]),
        tags=given["tags"],
        suspend=given["suspend"],
    )
    result: list[Manifest] = []
    names: dict[str, str] = {}
    for key, flow in found.flows.items():
        entrypoint = f"{found.module}:{key}"  # not the function's name: with_options makes several flows of one
        wrong = problems(flow.parameter_schema, options.parameters, partial=True)
        if wrong:
            raise click.ClickException(f"{target}: {key}: {'; '.join(wrong)}")
        result += [flow_manifest(flow, entrypoint, found.source, options), deployment_manifest(flow, options)]
        name = result[-1]["metadata"]["name"]
        if name in names:
            raise click.ClickException(
                f"{target}: {names[name]} and {key} would both be named {name}: give one of them @flow(name=...)"
            )
        names[name] = key
    return result


@click.command("build")
@manifest_options
@click.option("-o", "--output", type=click.Choice(("yaml", "json")), default="yaml", show_default=True)
def command(target: str, output: str, **given: Any) -> None:
    """Print the manifests of the flows in a file. Needs no cluster.

    \b
    penstock build flow.py | kubectl apply -f -
    """
    found = manifests(target, **given)
    if output == "json":
        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}, indent=2))
    else:
        click.echo(dump(found), nl=False)
