"""`penstock show`: one run, whole: state, history, parameters, tasks, failures, result."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import click

from ..client import Client
from .archived import ArchivedRuns, archive_options
from .lookup import RUN, find, name_argument
from .options import cluster_options, open_client, output_option
from .rendering import COLOURS, Body, age, show, state_of, table, untold, utc_now, waits_for

MAX_FAILURES = 20


@click.command("show")
@name_argument(RUN, "run")
@output_option("json", "yaml", unset="for people")
@cluster_options
@archive_options
def command(run: str, output: str | None, archived: ArchivedRuns | None, **where: str | None) -> None:
    """Show everything about a run."""
    if archived is not None:
        body, pages = archived.run(run)
    else:
        with open_client(**where) as client:
            body = find(client, RUN, run)
            pages = [] if output else pages_of(client, body)
    click.echo(show(body, output) if output else "\n".join(lines(body, pages)))


def pages_of(client: Client, run: Body) -> list[Body]:
    """The task records of this run, and of no other run that had its name."""
    pages = client.list("taskrunpages", field_selector=f"run.name={run['metadata']['name']}")
    return [page for page in pages if page["run"]["uid"] == run["metadata"]["uid"]]


def lines(run: Body, pages: list[Body]) -> list[str]:
    """The run for people, a line each."""
    spec, status, state, now = run["spec"], run.get("status") or {}, state_of(run), utc_now()
    name = state.get("name", "not accepted yet")
    owner = "Deployment" if "deploymentRef" in spec else "Flow"
    found = [
        f"Name:        {run['metadata']['name']}",
        f"{owner + ':':<12} {(spec.get('deploymentRef') or spec.get('flowRef'))['name']}",
        f"State:       {click.style(name, fg=COLOURS.get(state.get('type', '')))}{_because(state)}",
    ]
    if "retryOf" in spec:
        found.append(f"Retry of:    {spec['retryOf']['name']}")
    if state.get("message"):
        found.append(f"Message:     {state['message']}")
    found += [f"Waits for:   {text}" for text in waits_for(run)]
    for condition in untold(run):
        found.append(f"Condition:   {condition['type']}: {condition['reason']}: {condition['message']}")
    pod, place = (status.get("pod") or {}).get("name"), "worker" if status.get("worker") else "pod"
    pool = ((status.get("resolved") or {}).get("pool") or {}).get("name") or spec.get("workPool")
    found += [
        f"Pool:        {pool or '-'}",
        f"Attempt:     {status.get('attempt') or '-'}" + (f"  ({place} {pod})" if pod else ""),
        f"Created:     {_when(run['metadata'].get('creationTimestamp'), now)}",
        f"Started:     {_when(status.get('startTime'), now)}",
        f"Duration:    {status.get('duration', '-')}",
    ]
    if spec.get("tags"):
        found.append(f"Tags:        {', '.join(spec['tags'])}")
    parameters = status.get("parameters") or spec.get("parameters") or {}
    if parameters:
        found.append("Parameters:")
        found += [f"  {key} = {json.dumps(value)}" for key, value in parameters.items()]
    if status.get("history"):
        rows = [
            {"SEQ": str(e["seq"]), "STATE": e["name"], "REASON": e["reason"], "AGE": age(e["time"], now)}
            for e in status["history"]
        ]
        found += ["History:", *(f"  {line}" for line in table(rows).splitlines())]
    counts: dict[str, Counter[str]] = {}
    for page in pages:
        for task in page.get("summary") or []:
            counts.setdefault(task["task"], Counter()).update(task["states"])
    if counts:
        found.append(f"Tasks:       {(status.get('tasks') or {}).get('summary', '')}")
        found += [f"  {task}: {', '.join(f'{n} {s}' for s, n in states.items())}" for task, states in counts.items()]
    failures = [failure for page in pages for failure in page.get("failures") or []]
    if failures:
        found.append("Failures:")
        found += [f"  {f['name']}: {f['state']}: {f['message']}" for f in failures[:MAX_FAILURES]]
        if len(failures) > MAX_FAILURES:
            found.append(f"  and {len(failures) - MAX_FAILURES} more")
    result = status.get("result") or {}
    if "inline" in result:
        value = result["inline"]
        text = value if isinstance(value, str) else json.dumps(value, indent=2)
        found += ["Result:", *(f"  {line}" for line in text.splitlines())]
    if result.get("reference"):
        found.append(f"Result at:   {result['reference']}")
    elif result.get("omitted"):
        found.append(f"Result:      {result['omitted']}")
    return found


def _because(state: Body) -> str:
    reason = state.get("reason") or ""
    return f"  {reason}" if reason != state.get("name", "") else ""


def _when(time: str | None, now: datetime) -> str:
    return f"{time[:19]}Z  ({age(time, now)} ago)" if time else "-"
