"""`penstock logs`: what a run said, from its pods."""

from __future__ import annotations

import json
import time

import click

from ..api import labels
from ..client import ApiError, Client
from .options import with_client
from .rendering import Body, state_of, terminal, unmet

LEVELS = {"DEBUG": "bright_black", "INFO": None, "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
STARTED = ("Running", "Succeeded", "Failed")


@click.command("logs")
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends.")
@click.option("-o", "--output", type=click.Choice(("json",)), help="Lines as the pod wrote them.")
@click.option("--attempt", type=int, help="Of this attempt; the last when unset.")
@with_client
def command(client: Client, run: str, follow: bool, output: str | None, attempt: int | None) -> None:
    """Show the logs of a run."""
    body = client.get("flowruns", run)
    pod = _pod(client, run, attempt)
    while follow and not terminal(body) and (pod is None or pod["status"].get("phase") not in STARTED):
        time.sleep(0.5)
        body, pod = client.get("flowruns", run), _pod(client, run, attempt)
    if pod is None or pod["status"].get("phase") not in STARTED:
        raise click.ClickException(_why_not(body, pod))
    try:
        for line in client.logs(pod["metadata"]["name"], labels.CONTAINER, follow=follow):
            click.echo(line if output else render(line))
    except ApiError as error:
        raise click.ClickException(f"no logs of {run}: {error}") from error


def _pod(client: Client, run: str, attempt: int | None) -> Body | None:
    selector = f"{labels.RUN}={run}" + (f",{labels.ATTEMPT}={attempt}" if attempt else "")
    pods = client.list("pods", label_selector=selector)
    return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)


def _why_not(run: Body, pod: Body | None) -> str:
    name, state = run["metadata"]["name"], state_of(run)
    told = "; ".join(f"{c['reason']}: {c['message']}" for c in unmet(run))
    if terminal(run):
        return (
            f"{name} is {state['name']} and its pod is gone: pods are kept for the pool's podTTLSecondsAfterFinished. "
            f"{state.get('message', '')}"
        )
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
