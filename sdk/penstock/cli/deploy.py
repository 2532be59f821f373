"""`penstock deploy`: apply the manifests of the flows in a file, and say whether they can be used."""

from __future__ import annotations

import time
from typing import Any

import click

from ..client import ApiError, Client, NotFound
from .build import manifest_options, manifests
from .options import with_client
from .rendering import Body, table

READY_SECONDS = 5.0


@click.command("deploy")
@manifest_options
@click.option("--dry-run", is_flag=True, help="Have the API server check everything, and change nothing.")
@with_client
def command(client: Client, target: str, dry_run: bool, **given: Any) -> None:
    """Apply the Flow and FlowDeployment of the flows in a file (server-side apply)."""
    rows: list[dict[str, str]] = []
    deployments: list[Body] = []
    for manifest in manifests(target, **given):
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        before = _before(client, kind, name)
        try:
            after = client.apply(manifest, dry_run=dry_run)
        except ApiError as error:
            raise click.ClickException(f"{kind} {name}: {error}") from error
        if kind == "FlowDeployment":
            deployments.append(after)
        rows.append({"KIND": kind, "NAME": name, "RESULT": _result(before, after) + (" (dry run)" if dry_run else "")})
    click.echo(table(rows, colour=None))
    if dry_run:
        return
    for body in deployments:
        _tell_ready(client, body)


def _before(client: Client, kind: str, name: str) -> Body | None:
    try:
        return client.get(f"{kind.lower()}s", name)
    except NotFound as error:
        if error.api_reason == "NotInstalled":
            raise
        return None


def _result(before: Body | None, after: Body) -> str:
    if before is None:
        return "created"
    return "changed" if before["spec"] != after["spec"] else "unchanged"


def _tell_ready(client: Client, body: Body) -> None:
    """Wait a moment for the operator's word on this generation."""
    name, generation = body["metadata"]["name"], body["metadata"]["generation"]
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        status = client.get("flowdeployments", name).get("status") or {}
        ready = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
        if ready and (ready.get("observedGeneration") or 0) >= generation:
            if ready["status"] == "True":
                click.echo(f"\nReady. Start it with: penstock run {name} --watch")
            else:
                click.secho(f"\n{name} is not ready: {ready['reason']}: {ready['message']}", fg="yellow", err=True)
            return
        time.sleep(0.1)
    click.secho(f"\nThe operator has not looked at {name} yet: is it running?", fg="yellow", err=True)
