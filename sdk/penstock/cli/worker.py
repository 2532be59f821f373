"""`penstock worker`: workers outside of the cluster, on a laptop, a virtual machine or a GPU box."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import click

from ..api import labels, names
from ..api.workers import LEASE_SECONDS, facts
from ..client import ApiError, Client, NotFound
from ..kubeconfig import access
from ..settings import get_current_settings
from ..worker.output import END
from .kinds import POOL
from .logs import render
from .lookup import NoSuchObject, completing, completing_by
from .objects import LIST_FORMS, each, group
from .options import cluster_options, output_option, selector_option, with_client
from .rendering import Body, instant, show_all, table, terminal, utc_now
from .suggestions import instead

if TYPE_CHECKING:
    from ..worker.container_engine import Pull
    from ..worker.containers import Options

LEASE = "lease.coordination.k8s.io"

command = group("worker", "List warm workers, drain them, and be one on this machine.")


@command.command("ls")
@click.option("-p", "--pool", help="Only those of this pool.", shell_complete=completing(POOL))
@selector_option
@output_option(*LIST_FORMS)
@with_client
def ls(client: Client, pool: str | None, selector: str, output: str | None) -> None:
    """List the workers that have a Lease."""
    found = _leases(client, *([f"{labels.POOL}={pool}"] if pool else []), *([selector] if selector else []))
    if not found:
        remedy = "penstock worker start --pool POOL, or spec.worker of the pool"
        click.echo(f"No workers in namespace {client.namespace}; have some by {remedy}", err=True)
    whole = [{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease} for lease in found]
    if output == "name":
        text = "\n".join(f"{LEASE}/{lease['metadata']['name']}" for lease in found)
    elif output in ("json", "yaml"):
        text = show_all(whole, output)
    else:
        runs = Counter(
            ((run.get("status") or {}).get("worker") or {}).get("name")
            for run in client.list("flowruns", field_selector="status.settled!=true")
            if holds_slot(run)
        )
        text = table([row(lease, runs, utc_now(), wide=output == "wide") for lease in found])
    if text:
        click.echo(text)


def _leases(client: Client, *chosen_by: str) -> list[Body]:
    """The Leases that are workers, by name."""
    found = client.list("leases", label_selector=",".join((f"{labels.COMPONENT}={labels.WORKER}", *chosen_by)))
    return sorted(found, key=lambda lease: str(lease["metadata"]["name"]))


def _names(client: Client, _: object = None) -> list[str]:
    return [lease["metadata"]["name"].removeprefix(names.worker_lease("")) for lease in _leases(client)]


def row(lease: Body, runs: Mapping[str | None, int], now: datetime, *, wide: bool = False) -> dict[str, str]:
    """A worker for people; `wide` says more."""
    meta = lease["metadata"]
    name = meta["name"].removeprefix(names.worker_lease(""))
    about = facts((meta.get("annotations") or {}).get(labels.WORKER_FACTS))
    renewed = (now - instant(lease["spec"]["renewTime"])).total_seconds()
    drains = (meta.get("annotations") or {}).get(labels.DRAIN) == "true"
    silent = renewed > lease["spec"].get("leaseDurationSeconds", LEASE_SECONDS)
    more = (
        {"TYPE": about.type, "VERSION": about.version, "PRELOADED": ",".join(about.preloaded)} if about and wide else {}
    )
    return {
        "NAME": name,
        "POOL": meta["labels"].get(labels.POOL, ""),
        "STATE": "Silent" if silent else "Draining" if drains else "Ready",
        "RUNS": f"{runs.get(name, 0)}/{about.slots if about else '?'}",
        "WHERE": "-" if about is None else f"pod {about.pod.name}" if about.pod else "outside",
        "RENEWED": f"{max(0, int(renewed))}s",
        **more,
    }


def holds_slot(run: Body) -> bool:
    """Whether the run has a process in its worker, as far as its status says."""
    status = run.get("status") or {}
    exited = (status.get("worker") or {}).get("exited") or {}
    return not terminal(run) and "worker" in status and exited.get("attempt") != status["worker"]["attempt"]


def _missing(client: Client, name: str) -> NoSuchObject:
    text = f"there is no worker {name} in namespace {client.namespace}"
    try:
        none = "there are none yet: have some by penstock worker start --pool POOL"
        return NoSuchObject(f"{text}; {instead(name, _names(client), none)}")
    except ApiError:  # who may drain may not be one who may list
        return NoSuchObject(text)


def plain(text: str) -> str:
    """The name of a worker in `mill`, or in the name of its Lease as `worker ls -o name` prints it."""
    kind, slash, lease = text.rpartition("/")
    return lease.removeprefix(names.worker_lease("")) if slash and kind in ("lease", "leases", LEASE) else text


@command.command("drain")
@click.argument("worker", nargs=-1, required=True, shell_complete=completing_by(_names))
@with_client
def drain(client: Client, worker: tuple[str, ...]) -> None:
    """Have workers take no more runs; one outside of the cluster ends with its last run."""

    def one(name: str) -> str:
        lease = names.worker_lease(name)
        try:
            client.merge("leases", lease, {"metadata": {"annotations": {labels.DRAIN: "true"}}})
        except NotFound as error:
            raise _missing(client, name) from error
        return f"worker {name} drains"

    each([plain(text) for text in worker], one)


@command.command("start")
@click.option("-p", "--pool", required=True, help="The WorkPool, of type Process.", shell_complete=completing(POOL))
@click.option(
    "--slots",
    type=click.IntRange(1, 1000),
    default=lambda: get_current_settings().worker_slots,
    show_default="PENSTOCK_WORKER_SLOTS, or 1",
    help="Runs at once.",
)
@click.option("--name", help="Name of the worker; made of that of this machine when unset.")
@click.option(
    "--type",
    "type_",
    type=click.Choice(("process", "docker")),
    default="process",
    show_default=True,
    help="What a run is: a process, or a container of Docker or Podman.",
)
@click.option("--image", default="", help="Of runs that name none. With --type docker.")
@click.option(
    "--pull",
    type=click.Choice(("always", "missing", "never")),
    default="missing",
    show_default=True,
    help="When images are pulled. With --type docker.",
)
@click.option("--network", default="", help="Network of the containers; the engine's own when unset.")
@click.option("--volume", multiple=True, metavar="HOST:CONTAINER[:ro]", help="Mount it. May be repeated.")
@click.option("--memory", metavar="SIZE", help="Limit of each container, such as 512Mi.")
@click.option("--cpus", type=click.FloatRange(0.01), help="Limit of each container.")
@click.option("--preload", multiple=True, metavar="MODULE", help="Import it before the first run. May be repeated.")
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds that runs have to end after the first Ctrl-C or SIGTERM.",
)
@click.option("-o", "--output", type=click.Choice(("json",)), help="Output of runs as JSON lines.")
@cluster_options
def start(
    pool: str,
    slots: int,
    name: str | None,
    type_: str,
    image: str,
    pull: Pull,
    network: str,
    volume: tuple[str, ...],
    memory: str | None,
    cpus: float | None,
    preload: tuple[str, ...],
    grace: float,
    output: str | None,
    namespace: str | None,
    context: str | None,
    kubeconfig: str | None,
) -> None:
    """Take runs until Ctrl-C or SIGTERM; a second one ends the runs that still go on.

    Each run is a process of its own, forked from one that has Penstock loaded; with --type docker it is a container
    of the image that its flow, deployment or pool names.
    """
    from ..worker.containers import Options
    from ..worker.outside import work
    from ..worker.upstream import Unreachable

    if name is not None and (name != names.dns_label(name) or len(name) > 63):
        raise click.UsageError(f"--name {name}: lower-case letters, digits and dashes, at most 63")
    options = Options(image, pull, network, list(volume), _size(memory), cpus or 0.0)
    only_of_containers = [word for word, given in _given(options).items() if given]
    if type_ == "process" and only_of_containers:
        raise click.UsageError(f"{', '.join(only_of_containers)}: only with --type docker")
    if type_ == "docker" and preload:
        raise click.UsageError("--preload: a container starts its own interpreter; it is for --type process")
    for mount in volume:
        if not re.fullmatch(r"[^:]+:/[^:]*(:[a-z,]+)?", mount, re.IGNORECASE):
            raise click.UsageError(f"--volume {mount}: HOST:CONTAINER[:ro], with an absolute path in the container")
    where = namespace or access(kubeconfig, context).namespace
    try:
        asyncio.run(
            work(
                lambda: access(kubeconfig, context),
                where,
                pool,
                name=name,
                slots=slots,
                preload=preload,
                containers=options if type_ == "docker" else None,
                grace=grace,
                show=None if output else show,
                say=tell,
            )
        )
    except Unreachable as error:
        raise click.ClickException(str(error)) from error


def _given(options: Options) -> dict[str, bool]:
    return {
        "--image": bool(options.image),
        "--pull": options.pull != "missing",
        "--network": bool(options.network),
        "--volume": bool(options.volumes),
        "--memory": bool(options.memory),
        "--cpus": bool(options.cpus),
    }


def _size(text: str | None) -> int:
    """Bytes of a quantity such as 512Mi."""
    if not text:
        return 0
    from kubernetes.utils.quantity import parse_quantity

    try:
        return int(parse_quantity(text))  # type: ignore[no-untyped-call]
    except ValueError as error:
        raise click.UsageError(f"--memory {text}: a number of bytes, such as 512Mi or 2G") from error


def show(line: bytes) -> None:
    """A line of a run's output, for people, with the run it is of."""
    text = line.decode("utf-8", "replace")
    run = ""
    with suppress(ValueError, KeyError, TypeError):
        record = json.loads(text)
        if END in record:
            return
        run = f"{click.style(record['run'], fg='green')} "
    click.echo(f"{run}{render(text)}", color=None if sys.stdout.isatty() else False)


def tell(text: str) -> None:
    """What the worker itself has to say."""
    click.echo(click.style(text, fg="bright_black"), err=True, color=False if os.environ.get("NO_COLOR") else None)
