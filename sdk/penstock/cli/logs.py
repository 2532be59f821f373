"""`penstock logs`: what a run said, from its pods; from the archive, once they are gone."""

from __future__ import annotations

import json
import time
from typing import TypeGuard

import click

from ..api import labels
from ..archive.reading import Archive
from ..client import ApiError, Client
from ..settings import get_current_settings
from .lookup import RUN, NoSuchObject, find, name_argument, plain
from .options import with_client
from .rendering import Body, state_of, terminal, unmet
from .worker_logs import of_run, pod_of_worker, worker_uid

LEVELS = {"DEBUG": "bright_black", "INFO": None, "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
POLL_SECONDS = 0.5
STARTED = ("Running", "Succeeded", "Failed")


@click.command("logs")
@name_argument(RUN, "run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("-o", "--output", type=click.Choice(("json",)), help="Lines as the pod wrote them.")
@click.option("--attempt", type=click.IntRange(min=1), help="Of this attempt; the last when unset.")
@click.option("--archive", "url", help="URL of the logs' archive, for pods that are gone; PENSTOCK_ARCHIVE when unset.")
@with_client
def command(client: Client, run: str, follow: bool, output: str | None, attempt: int | None, url: str | None) -> None:
    """Show the logs of a run."""
    where = url or get_current_settings().archive
    try:
        body = find(client, RUN, run)
    except NoSuchObject:
        if not where or not _print_archived(where, client.namespace, plain(RUN, run), None, attempt, output):
            raise
        return
    name = body["metadata"]["name"]
    pod = _pod(client, body, attempt)
    shown: tuple[str, int | None] | None = None
    while True:
        if _readable(pod) and (told := _what(pod, body, attempt)) != shown:
            shown = told
            _print(client, body, pod, attempt, follow, output)
        if not follow or terminal(body) or (shown and attempt):
            break
        time.sleep(POLL_SECONDS)  # for a pod that has not started, or the next attempt's
        body = find(client, RUN, name)  # before the pod: once it has ended, no other pod comes
        pod = _pod(client, body, attempt)
    if shown is None:
        if pod is not None or not (terminal(body) or attempt):
            raise click.ClickException(_why_not(body, pod))
        if not where or not _print_archived(where, client.namespace, name, body, attempt, output):
            raise click.ClickException(f"{_why_not(body, pod)} {_no_log(where)}".rstrip())


def _no_log(where: str | None) -> str:
    if where:
        return f"Nor is its log in the archive {where}"
    return "If its pool archives logs, say where: --archive URL, or PENSTOCK_ARCHIVE"


def _print_archived(
    where: str, namespace: str, run: str, body: Body | None, attempt: int | None, output: str | None
) -> bool:
    """Whether there was something to print."""
    archive = Archive.at(where)
    if body is None:
        found = archive.logs(namespace, run, attempt=attempt)
    else:  # its pods were made in its life
        meta, ended = body["metadata"], (body.get("status") or {}).get("endTime") or ""
        found = archive.logs(namespace, run, meta["uid"], attempt, meta["creationTimestamp"][:10], ended[:10])
    for address in found:
        for line in archive.log(address):
            if line["kind"] == "LogCut":
                click.echo(line["text"], err=True)
            else:
                click.echo(line["text"] if output else render(line["text"]))
    return bool(found)


def _readable(pod: Body | None) -> TypeGuard[Body]:
    return pod is not None and pod["status"].get("phase") in STARTED


def _what(pod: Body, run: Body, attempt: int | None) -> tuple[str, int | None]:
    """What is shown: a pod's log, or what an attempt wrote into that of its worker."""
    worker = run["status"].get("worker") if run.get("status") else None
    return pod["metadata"]["uid"], (attempt or worker["attempt"]) if worker else None


def _print(client: Client, run: Body, pod: Body, attempt: int | None, follow: bool, output: str | None) -> None:
    try:
        lines = client.logs(pod["metadata"]["name"], labels.CONTAINER, follow=follow)
        for line in of_run(lines, run, attempt) if run["status"].get("worker") else lines:
            click.echo(line if output else render(line))
    except ApiError as error:
        raise click.ClickException(f"no logs of {run['metadata']['name']}: {error}") from error


def _pod(client: Client, run: Body, attempt: int | None) -> Body | None:
    if worker := worker_uid(run, attempt):
        return pod_of_worker(client, worker)
    name = run["metadata"]["name"]
    selector = f"{labels.RUN}={name}" + (f",{labels.ATTEMPT}={attempt}" if attempt else "")
    pods = client.list("pods", label_selector=selector)
    return max(pods, key=lambda pod: (pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]), default=None)


def _why_not(run: Body, pod: Body | None) -> str:
    name, state = run["metadata"]["name"], state_of(run)
    told = "; ".join(f"{c['reason']}: {c['message']}" for c in unmet(run))
    worker = (run.get("status") or {}).get("worker")
    if worker and pod is None:
        return (
            f"{name} is {state['name']}, in worker {worker['name']}, which is no pod of this namespace, or none any "
            "more: a worker outside of the cluster writes its runs' logs where it was started."
        )
    if terminal(run):
        kept = "pods are kept for the pool's podTTLSecondsAfterFinished"
        why = "cancelling a run deletes its pod" if state["type"] == "Cancelled" else kept
        return f"{name} is {state['name']} and its pod is gone: {why}."
    if pod is None:
        return f"{name} has no pod yet ({state.get('name', 'not accepted')}). {told}".strip()
    return f"the pod of {name} has not started yet. {told or 'Try -f to wait for it.'}"


def render(line: str) -> str:
    """A structured line for people; any other line as it is."""
    try:
        record = json.loads(line)
        time_, level, message = record["ts"][11:23], record["level"], record["message"]
    except (ValueError, KeyError, TypeError):
        return line
    task = f" {click.style(record['task'], fg='cyan')}" if record.get("task") else ""
    text = f"{click.style(time_, fg='bright_black')} {click.style(f'{level:<7}', fg=LEVELS.get(level))}{task} {message}"
    return text + (f"\n{record['exception']}" if record.get("exception") else "")
