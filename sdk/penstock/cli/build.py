"""`penstock build`: manifests of the flows in a file or of penstock.yaml, for `kubectl apply -f -`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from .. import project
from ..api import names
from ..api.flow import Code
from ..bundling import bundled
from ..flows import Flow
from ..manifests import Manifest, Options, deployment_manifest, flow_manifest
from ..runner_deployments import schedules_of
from ..settings import get_current_settings
from ..yaml_text import dump
from .code_options import code_of, code_options, requirements_of
from .flow_files import Found, load
from .kinds import POOL, QUEUE
from .lookup import completing
from .parameters import parameters_option, parse_parameters, problems


def manifest_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `build` and `deploy` share."""
    for option in reversed(
        (
            click.argument("target", metavar="[FILE.py[:FLOW]]", required=False, type=click.Path()),
            click.option("--all", "every", is_flag=True, help="All deployments of penstock.yaml."),
            click.option("-f", "--file", type=click.Path(path_type=Path), help="Another file than penstock.yaml."),
            click.option(
                "--name",
                "names",
                multiple=True,
                help="Name of the Flow; that of the flow when unset. Without FILE.py: a deployment of penstock.yaml, "
                "repeatable.",
            ),
            click.option("--deployment-name", help="Name of the FlowDeployment; that of the Flow when unset."),
            click.option(
                "--pool", help="WorkPool that runs it; `default` when unset.", shell_complete=completing(POOL)
            ),
            click.option("--queue", help="WorkQueue of the pool.", shell_complete=completing(QUEUE)),
            click.option("--image", help="Image of its runs; that of the pool when unset."),
            click.option("--from-image", is_flag=True, help="The code is in the image: deliver no source."),
            click.option("--version", "version", help="The author's word for this version of the deployment."),
            code_options,
            parameters_option,
            click.option("--cron", multiple=True, metavar="EXPRESSION", help="A schedule. May be repeated."),
            click.option("--interval", multiple=True, type=click.IntRange(1), metavar="SECONDS", help="A schedule."),
            click.option("--rrule", multiple=True, metavar="RULE", help="A schedule."),
            click.option("--timezone", help="Of these schedules, such as Europe/Oslo; UTC when unset."),
            click.option("-t", "--tag", "tags", multiple=True, help="A tag of its runs. May be repeated."),
            click.option("--suspend/--no-suspend", default=None, help="Start no runs for now, or start them again."),
        )
    ):
        command = option(command)
    return command


def manifests(target: str | None, **given: Any) -> list[Manifest]:
    """What the target names: Flow and FlowDeployment of every flow of a file; without one, what penstock.yaml says."""
    every, file = given.pop("every"), given.pop("file")
    if target is None:
        return _of_project(file or Path(project.FILE), given.pop("names"), every, given)
    if every or file:
        raise click.UsageError(f"--all and --file are for penstock.yaml: leave {target} out, or them")
    return _of_file(target, **given)


def _of_file(target: str, **given: Any) -> list[Manifest]:
    if len(given["names"]) > 1:
        raise click.UsageError("--name names the Flow of a file: give it once")
    name = given["names"][0] if given["names"] else None
    found = load(target)
    if len(found.flows) > 1 and (name or given["deployment_name"]):
        known = ", ".join(found.flows)
        raise click.UsageError(f"{target} has several flows ({known}): choose one with {target}:NAME to name it")
    options = Options(
        flow_name=name,
        deployment_name=given["deployment_name"],
        work_pool=given["pool"] or get_current_settings().deploy_work_pool,
        queue=given["queue"],
        image=given["image"] or get_current_settings().deploy_image,
        from_image=given["from_image"],
        parameters=parse_parameters(given["parameters"]),
        tags=given["tags"],
        suspend=given["suspend"],
        fields={
            key: value for key, value in (("version", given["version"]), ("schedules", _schedules(given))) if value
        },
        requirements=requirements_of(given["requirements"]),
    )
    result: list[Manifest] = []
    names: dict[str, str] = {}
    for key, flow in found.flows.items():
        result += _of_flow(target, found, key, flow, replace(options, code=code_of(flow, target, given)))
        called = result[-1]["metadata"]["name"]
        if called in names:
            raise click.ClickException(
                f"{target}: {names[called]} and {key} would both be named {called}: give one of them @flow(name=...)"
            )
        names[called] = key
    return result


def _schedules(given: dict[str, Any]) -> list[dict[str, Any]]:
    found, timezone = schedules_of(given["interval"], given["cron"], given["rrule"], ()), given["timezone"]
    if timezone and not found:
        raise click.UsageError("--timezone is that of --cron, --interval or --rrule: give one of them")
    return [{**each, "timezone": timezone} if timezone else each for each in found]


def _of_flow(target: str, found: Found, key: str, flow: Flow[Any, Any], options: Options) -> list[Manifest]:
    entrypoint = f"{found.module}:{key}"  # not the function's name: with_options makes several flows of one
    wrong = problems(flow.parameter_schema, options.parameters, partial=True)
    if wrong:
        raise click.ClickException(f"{target}: {key}: {'; '.join(wrong)}")
    return [flow_manifest(flow, entrypoint, found.source, options), deployment_manifest(flow, options)]


OVER_PROJECT = ("image", "version", "suspend")  # what a release may say beside the file


class Files:
    """The files of a project; each is loaded once, and each bundle made once."""

    def __init__(self, read: project.Read) -> None:
        self._read = read
        self._loaded: dict[str, Found] = {}
        self._bundles: dict[str, Code] = {}

    def flow(self, deployment: project.Deployment) -> tuple[str, Found, str, Flow[Any, Any]]:
        """The target of a deployment, its file, the name there, the flow. Raises BadProject where it is unclear."""
        target = self._read.target(deployment)
        found = self._loaded.get(target) or load(target)
        self._loaded[target] = found
        if len(found.flows) > 1:
            raise project.BadProject(
                f"{self._read.path}: {deployment.entrypoint} has several flows ({', '.join(found.flows)}): "
                f"choose one with entrypoint: {deployment.entrypoint}:NAME"
            )
        ((key, flow),) = found.flows.items()
        return target, found, key, flow

    def code(self, deployment: project.Deployment) -> Code | None:
        """What the deployment says of its code, a bundle made."""
        if not deployment.bundle:
            return deployment.code
        target, _, _, flow = self.flow(deployment)
        if target not in self._bundles:
            self._bundles[target] = bundled(flow)
        return self._bundles[target]

    def name(self, deployment: project.Deployment) -> str:
        """The name of its FlowDeployment."""
        return names.dns_label(deployment.name or deployment.flow_name or self.flow(deployment)[3].name)


def _of_project(path: Path, chosen: tuple[str, ...], every: bool, given: dict[str, Any]) -> list[Manifest]:
    held = [f"--{name.replace('_', '-')}" for name, value in given.items() if value and name not in OVER_PROJECT]
    if held:
        field = " (as bundle: true)" if held == ["--bundle"] else ""
        raise click.UsageError(f"{', '.join(sorted(held))}: say it in {path}{field}, or name a FILE.py")
    read = project.read(path)
    files = Files(read)
    flows: dict[str, Manifest] = {}
    deployments: dict[str, Manifest] = {}
    for deployment in read.chosen(chosen, every, files.name):
        flow, deployed = _deployed(files, deployment, given)
        other = flows.setdefault(flow["metadata"]["name"], flow)
        if other != flow:
            raise project.BadProject(
                f"{path}: two deployments have different flows named {flow['metadata']['name']}: "
                "give one of them another flowName"
            )
        name = deployed["metadata"]["name"]
        if name in deployments:
            raise project.BadProject(f"{path}: deployments: two would be named {name}: give one of them another name")
        deployments[name] = deployed
    return [*project.manifests_of(read.project), *flows.values(), *deployments.values()]


def _deployed(files: Files, deployment: project.Deployment, given: dict[str, Any]) -> list[Manifest]:
    target, found, key, flow = files.flow(deployment)
    fields = project.fields_of(deployment)
    said = {name: given[name] for name in ("version", "suspend") if given[name] is not None}
    options = Options(
        flow_name=deployment.flow_name,
        deployment_name=deployment.name,
        work_pool=None if "workPool" in fields else get_current_settings().deploy_work_pool,
        image=given["image"] or deployment.image or get_current_settings().deploy_image,
        from_image=deployment.from_image,
        code=files.code(deployment),
        parameters=fields.pop("parameters", {}),
        fields={**fields, **said},
    )
    return _of_flow(target, found, key, flow, options)


@click.command("build")
@manifest_options
@click.option("-o", "--output", type=click.Choice(("yaml", "json")), default="yaml", show_default=True)
def command(target: str | None, output: str, **given: Any) -> None:
    """Print the manifests of the flows in a file, or of penstock.yaml. Needs no cluster.

    \b
    penstock build flow.py | kubectl apply -f -
    """
    found = manifests(target, **given)
    if output == "json":
        click.echo(json.dumps({"apiVersion": "v1", "kind": "List", "items": found}, indent=2))
    else:
        click.echo(dump(found), nl=False)
