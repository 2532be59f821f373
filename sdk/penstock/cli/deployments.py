"""`penstock deployments`: what is deployed, and whether its runs start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .history import showing_history
from .kinds import DEPLOYMENT
from .objects import deleting, group, listing, showing, suspending

if TYPE_CHECKING:
    from ..client import Client
    from .rendering import Body

SHOWN_RUNS = 5


def _more(client: Client, body: Body) -> list[str]:
    """The newest runs of a deployment."""
    from .kinds import RUN
    from .rendering import table_of, utc_now

    runs = client.list(RUN.plural, field_selector=f"spec.deploymentRef.name={body['metadata']['name']}")
    runs.sort(key=lambda run: (run["metadata"]["creationTimestamp"], run["metadata"]["name"]))
    shown = table_of(RUN, runs[-SHOWN_RUNS:], utc_now()).splitlines()
    return ["Runs:", *(f"  {line}" for line in shown)] if shown else []


command = group("deployments", "List deployments, and show, run, suspend, resume and delete them.", also=("run",))
command.add_command(listing(DEPLOYMENT, {"flow": "spec.flowRef.name", "pool": "spec.workPool"}))
command.add_command(showing(DEPLOYMENT, _more))
command.add_command(suspending(DEPLOYMENT, True))
command.add_command(suspending(DEPLOYMENT, False))
command.add_command(deleting(DEPLOYMENT))
command.add_command(showing_history(DEPLOYMENT))
