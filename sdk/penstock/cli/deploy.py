"""`penstock deploy`: apply the manifests of the flows in a file, and say whether they can be used."""

from __future__ import annotations

import time
from typing import Any

import click

from ..client import ApiError, Client, NotFound
from ..manifests import Manifest
from .build import manifest_options, manifests
from .lookup import DEPLOYMENT
from .options import output_option, with_client
from .rendering import Body, show_all, table

READY_SECONDS = 5.0
POLL_SECONDS = 0.1


@click.command("deploy")
@manifest_options
@click.option("--dry-run", is_flag=True, help="Have the API server check everything, and change nothing.")
@output_option("json", "yaml", "name")
@with_client
def command(client: Client, target: str, dry_run: bool, output: str | None, **given: Any) -> None:
    """Apply the Flow and FlowDeployment of the flows in a file (server-side apply).

    The API server checks all of them first: where it refuses one, nothing is changed.
    """
    wanted = manifests(target, **given)
    before = [_before(client, manifest) for manifest in wanted]
    after = [_apply(client, manifest, dry_run=True) for manifest in wanted]
    if not dry_run:
        after = [_apply(client, manifest, dry_run=False) for manifest in wanted]
    if output:
        click.echo(show_all(after, output))
    else:
        mark = " (dry run)" if dry_run else ""
        rows = [
            {"KIND": body["kind"], "NAME": body["metadata"]["name"], "RESULT": _result(old, body) + mark}
            for old, body in zip(before, after, strict=True)
        ]
        click.echo(table(rows))
    if not dry_run:
        deadline = time.monotonic() + READY_SECONDS
        for body in after:
            if body["kind"] == DEPLOYMENT.kind:
                _tell_ready(client, body, deadline)


def _apply(client: Client, manifest: Manifest, *, dry_run: bool) -> Body:
    try:
        return client.apply(manifest, dry_run=dry_run)
    except ApiError as error:
        told = f"{manifest['kind']} {manifest['metadata']['name']}: {error}"
        if dry_run:
            told += ". Nothing was changed."
        raise click.ClickException(told) from error


def _before(client: Client, manifest: Manifest) -> Body | None:
    try:
        return client.get(f"{manifest['kind'].lower()}s", manifest["metadata"]["name"])
    except NotFound as error:
        if error.api_reason == "NotInstalled":
            raise
        return None


def _result(before: Body | None, after: Body) -> str:
    if before is None:
        return "created"
    return "changed" if before["spec"] != after["spec"] else "unchanged"


def _tell_ready(client: Client, body: Body, deadline: float) -> None:
    """Wait a moment for the operator's word on this generation; to stderr, for it is no output."""
    name, generation = body["metadata"]["name"], body["metadata"]["generation"]
    while True:
        status = client.get(DEPLOYMENT.plural, name).get("status") or {}
        ready = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), None)
        if ready and (ready.get("observedGeneration") or 0) >= generation:
            break
        if time.monotonic() > deadline:
            click.secho(f"\nThe operator has not looked at {name} yet: is it running?", fg="yellow", err=True)
            return
        time.sleep(POLL_SECONDS)
    if ready["status"] == "True":
        click.echo(f"\n{name} is ready. Start it with: penstock run {name} --watch", err=True)
    else:
        click.secho(f"\n{name} is not ready: {ready['reason']}: {ready['message']}", fg="yellow", err=True)
