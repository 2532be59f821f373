"""`penstock run`: start a deployment, a flow in the cluster, or a flow of a file on this machine."""

from __future__ import annotations

import secrets
import sys
from typing import Any

import click

from ..api import labels, names
from ..client import AlreadyExists, Client, NotFound, access
from .flow_files import is_file, load
from .options import parameters_option, parse_parameters
from .rendering import Body, show
from .watch import follow


@click.command("run")
@click.argument("target", metavar="DEPLOYMENT | flow/FLOW | FILE.py[:FLOW]")
@parameters_option
@click.option("--name", help="Name of the run; made up when unset.")
@click.option("--idempotency-key", help="The same key never makes a second run: the first is shown again.")
@click.option("--pool", help="WorkPool instead of the deployment's.")
@click.option("-t", "--tag", "tags", multiple=True, help="A tag of the run. May be repeated.")
@click.option("-w", "--watch", is_flag=True, help="Follow the run until it ends.")
@click.option("-o", "--output", type=click.Choice(("json", "yaml", "name")), help="Print the created run.")
@click.option("-n", "--namespace", envvar="PENSTOCK_NAMESPACE", help="Namespace; that of the context when unset.")
@click.option("--context", help="Context of the kubeconfig.")
@click.option("--kubeconfig", type=click.Path(), help="Kubeconfig file; KUBECONFIG or ~/.kube/config when unset.")
def command(
    target: str,
    parameters: tuple[str, ...],
    name: str | None,
    idempotency_key: str | None,
    pool: str | None,
    tags: tuple[str, ...],
    watch: bool,
    output: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> None:
    """Start a run.

    With --watch the exit code is 0 when the run completed and 1 otherwise. A FILE.py runs here, without a cluster.
    """
    given = parse_parameters(parameters)
    if is_file(target):
        _here(target, given)
        return
    with Client(access(kubeconfig, context), namespace) as client:
        body = _body(target, given, name, idempotency_key, pool, tags)
        _check(client, target, given)
        try:
            run = client.create(body)
        except AlreadyExists as error:
            if not idempotency_key:
                raise click.ClickException(f"{error}; choose another --name") from error
            run = client.get("flowruns", body["metadata"]["name"])
        made = run["metadata"]["name"]
        if watch:
            follow(client, run)
        elif output:
            click.echo(show([run], output))
        else:
            click.echo(f"flowrun.penstock.dev/{made} created. Follow it with: penstock watch {made}")


def _here(target: str, parameters: dict[str, Any]) -> None:
    found = load(target)
    if len(found.flows) > 1:
        raise click.UsageError(f"{target} has several flows ({', '.join(found.flows)}): choose one with {target}:NAME")
    (flow,) = found.flows.values()
    state = flow(**parameters, return_state=True)
    if hasattr(state, "__await__"):
        import asyncio

        async def wait() -> Any:
            return await state

        state = asyncio.run(wait())
    if state.type.value != "Completed":
        click.echo(f"{state.name}: {state.message}", err=True)
        sys.exit(1)
    if state.data is not None:
        click.echo(state.data)


def _body(
    target: str,
    parameters: dict[str, Any],
    name: str | None,
    key: str | None,
    pool: str | None,
    tags: tuple[str, ...],
) -> Body:
    kind, _, plain = target.rpartition("/")
    if kind not in ("", "flow", "deployment"):
        raise click.UsageError(f"{target}: name a deployment, or a flow as flow/NAME")
    reference = {"flowRef" if kind == "flow" else "deploymentRef": {"name": plain}}
    spec: Body = {**reference, **({"parameters": parameters} if parameters else {})}
    if pool:
        spec["workPool"] = pool
    if tags:
        spec["tags"] = list(tags)
    made = name or names.manual_run(names.dns_label(plain, 41), key or secrets.token_hex(8))
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "metadata": {"name": made, "annotations": {labels.CAUSE: "manual"}},
        "spec": spec,
    }


def _check(client: Client, target: str, parameters: dict[str, Any]) -> None:
    """Refuse here what the operator would refuse, where the flow can be read; a missing one may still be applied."""
    from jsonschema import Draft202012Validator
    from referencing import Registry

    kind, _, plain = target.rpartition("/")
    try:
        deployed: Body = {}
        if kind != "flow":
            deployed = client.get("flowdeployments", plain)["spec"]
        flow = client.get("flows", deployed.get("flowRef", {}).get("name", plain))
    except NotFound as error:
        if error.api_reason == "NotInstalled":
            raise
        click.secho(f"{error}: the run waits until it is applied", fg="yellow", err=True)
        return
    schema = flow["spec"].get("parameters")
    if not schema:
        return
    validator = Draft202012Validator({"additionalProperties": False, **schema}, registry=Registry())
    merged = {**deployed.get("parameters", {}), **parameters}
    problems = [
        f"{'.'.join(str(part) for part in error.absolute_path) or 'parameters'}: {error.message}"
        for error in validator.iter_errors(merged)
    ]
    if problems:
        raise click.ClickException("; ".join(problems[:5]))
