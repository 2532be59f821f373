"""`penstock show`: one run, whole: state, history, parameters, tasks, failures, result."""

from __future__ import annotations

import json
from collections import Counter

import click

from ..client import Client
from .options import output_option, with_client
from .rendering import COLOURS, Body, age, show, state_of, table, unmet, utc_now


@click.command("show")
@click.argument("run")
@output_option("json", "yaml")
@with_client
def command(client: Client, run: str, output: str | None) -> None:
    """Show everything about a run."""
    body = client.get("flowruns", run)
    if output:
        click.echo(show([body], output))
        return
    pages = client.list("taskrunpages", field_selector=f"run.name={run}")
    mine = [page for page in pages if page["run"]["uid"] == body["metadata"]["uid"]]
    click.echo("\n".join(lines(body, mine)))


def lines(run: Body, pages: list[Body]) -> list[str]:
    """The run for people, a line each."""
    status, state, now = run.get("status") or {}, state_of(run), utc_now()
    name = state.get("name", "not accepted yet")
    found = [
        f"Name:        {run['metadata']['name']}",
        f"Deployment:  {(run['spec'].get('deploymentRef') or {}).get('name', '-')}",
        f"State:       {click.style(name, fg=COLOURS.get(state.get('type', '')))}  {state.get('reason', '')}",
    ]
    if state.get("message"):
        found.append(f"Message:     {state['message']}")
    for condition in unmet(run):
        found.append(f"Condition:   {condition['type']}: {condition['reason']}: {condition['message']}")
    pod = status.get("pod") or {}
    found += [
        f"Pool:        {((status.get('resolved') or {}).get('pool') or {}).get('name', '-')}",
        f"Attempt:     {status.get('attempt', '-')}  (pod {pod.get('name', 'none')})",
        f"Duration:    {status.get('duration', '-')}",
    ]
    parameters = status.get("parameters") or run["spec"].get("parameters") or {}
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
        found += [f"  {f['name']}: {f['state']}: {f['message']}" for f in failures[:20]]
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
