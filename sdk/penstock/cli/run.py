"""`penstock run`: start a deployment, a flow in the cluster, or a flow of a file on this machine."""

from __future__ import annotations

import secrets
import sys
from typing import Any

import click

from ..api import labels, names
from ..api.reasons import POOL_NOT_FOUND, QUEUE_NOT_FOUND
from ..api.schema import Kind
from ..client import AlreadyExists, ApiError, Client
from ..errors import ParameterBind
from .flow_files import is_file, load
from .kinds import POOL
from .lookup import DEPLOYMENT, FLOW, NoSuchObject, completing, find
from .options import cluster_options, open_client, output_option
from .parameters import no_parameters, parameters_option, parse_parameters, problems
from .rendering import Body, show
from .watch import follow


@click.command("run")
@click.argument(
    "target", metavar="DEPLOYMENT | flow/FLOW | FILE.py[:FLOW]", shell_complete=completing(DEPLOYMENT, files=True)
)
@parameters_option
@click.option("--name", help="Name of the run; made up when unset.")
@click.option("--idempotency-key", help="The same key never makes a second run: the first is shown again.")
@click.option("--pool", help="WorkPool instead of the deployment's.", shell_complete=completing(POOL))
@click.option("-t", "--tag", "tags", multiple=True, help="A tag of the run. May be repeated.")
@click.option("-w", "--watch", is_flag=True, help="Follow the run until it ends.")
@output_option("json", "yaml", "name", unset="what to do next")
@cluster_options
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
        _only_for_the_cluster(target, name, idempotency_key, pool, tags, output)
        _here(target, given)
        return
    if name and idempotency_key:
        raise click.UsageError("--name and --idempotency-key both decide the name of the run: give one of them")
    kind = kind_of(target)
    with open_client(namespace, context, kubeconfig) as client:
        owner = find(client, kind, target)
        _check(client, owner, given)
        _warn(client, owner, pool)
        body = _body(kind, owner["metadata"]["name"], given, name, idempotency_key, pool, tags)
        try:
            run, done = client.create(body), "created"
        except AlreadyExists as error:
            if not idempotency_key:
                taken = body["metadata"]["name"]
                raise click.ClickException(f"there is a run {taken} already: choose another --name") from error
            run, done = _first(client, body, idempotency_key), "was created with this key before"
        made = run["metadata"]["name"]
        if watch:
            follow(client, run, output)
        elif output:
            click.echo(show(run, output))
        else:
            click.echo(f"flowrun.penstock.dev/{made} {done}. Follow it with: penstock watch {made}")


def _only_for_the_cluster(target: str, *given: object) -> None:
    options = ("--name", "--idempotency-key", "--pool", "--tag", "--output")
    unused = [option for option, value in zip(options, given, strict=True) if value]
    if unused:
        raise click.UsageError(
            f"{', '.join(unused)}: only for runs in the cluster, and {target} runs here; "
            f"for the cluster, first: penstock deploy {target}"
        )


def _here(target: str, parameters: dict[str, Any]) -> None:
    found = load(target)
    if len(found.flows) > 1:
        raise click.UsageError(f"{target} has several flows ({', '.join(found.flows)}): choose one with {target}:NAME")
    (flow,) = found.flows.values()
    try:
        args, kwargs = flow.signature.arguments(flow.signature.with_defaults(parameters))
    except ParameterBind as error:
        known = flow.signature.inspected.parameters
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise click.ClickException(f"{target}: {no_parameters(unknown, known)}") from error
        raise click.ClickException(f"{error}; parameters are given with -p NAME=VALUE") from error
    interrupts: tuple[type[BaseException], ...] = (KeyboardInterrupt,)
    state = flow(*args, **kwargs, return_state=True)
    if hasattr(state, "__await__"):
        import asyncio

        interrupts += (asyncio.CancelledError,)  # what a loop makes of it

        async def wait() -> Any:
            return await state

        state = asyncio.run(wait())
    if state.type.value != "Completed":
        sys.exit(130 if isinstance(state.data, interrupts) else 1)  # why, the run has said
    if state.data is not None:
        click.echo(state.data)


def kind_of(target: str) -> Kind:
    """Whether a target names a flow (`flow/NAME`) or a deployment."""
    prefix, slash, _ = target.rpartition("/")
    word = prefix.removesuffix(f".{labels.GROUP}").lower()
    return FLOW if slash and word in (FLOW.singular, FLOW.plural, FLOW.short) else DEPLOYMENT


def _body(
    kind: Kind,
    owner: str,
    parameters: dict[str, Any],
    name: str | None,
    key: str | None,
    pool: str | None,
    tags: tuple[str, ...],
) -> Body:
    spec: Body = {"flowRef" if kind is FLOW else "deploymentRef": {"name": owner}}
    if parameters:
        spec["parameters"] = parameters
    if pool:
        spec["workPool"] = pool
    if tags:
        spec["tags"] = list(tags)
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "metadata": {
            "name": name or names.manual_run(owner, key or secrets.token_hex(8)),
            "annotations": {labels.CAUSE: "manual"},
        },
        "spec": spec,
    }


def _first(client: Client, body: Body, key: str) -> Body:
    """The run that the key made before, if it is one of the same deployment or flow."""
    run = client.get("flowruns", body["metadata"]["name"])
    for reference in ("deploymentRef", "flowRef"):
        if run["spec"].get(reference) != body["spec"].get(reference):
            raise click.ClickException(
                f"--idempotency-key {key} was used for another run, {run['metadata']['name']}: choose another"
            )
    return run


def _warn(client: Client, owner: Body, pool: str | None) -> None:
    """Say, as far as it is known, why the run will wait."""
    name, why = owner["metadata"]["name"], ""
    if owner["spec"].get("suspend"):
        why = f"{name} is suspended; the run waits until: penstock deployments resume {name}"
    elif pool:
        try:
            find(client, POOL, pool)
        except NoSuchObject as error:
            why = f"{error}; the run waits until it is applied"
        except ApiError:  # who may create runs need not be one who may read pools
            return
    else:
        told = (owner.get("status") or {}).get("conditions") or ()
        ready = next((c for c in told if c["type"] == "Ready" and c["status"] == "False"), None)
        if ready and ready["reason"] in (POOL_NOT_FOUND, QUEUE_NOT_FOUND):
            why = f"{name} is not ready: {ready['message']}"
    if why:
        click.secho(why, fg="yellow", err=True)


def _check(client: Client, owner: Body, parameters: dict[str, Any]) -> None:
    """Refuse here what the operator would refuse; a deployment may be applied before its flow, and its runs wait."""
    flow, beneath = owner, dict[str, Any]()
    if owner["kind"] != FLOW.kind:
        try:
            flow = find(client, FLOW, owner["spec"]["flowRef"]["name"])
        except NoSuchObject as error:
            click.secho(f"{error}; the run waits until it is applied", fg="yellow", err=True)
            return
        beneath = owner["spec"].get("parameters") or {}
    schema = flow["spec"].get("parameters")
    wrong = problems(schema, {**beneath, **parameters}) if schema else []
    if wrong:
        raise click.ClickException(f"{owner['kind']} {owner['metadata']['name']}: {'; '.join(wrong)}")
