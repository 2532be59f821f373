"""`penstock flows`: the code that deployments run."""

from __future__ import annotations

from .history import showing_history
from .kinds import FLOW
from .objects import deleting, group, listing, showing

command = group("flows", "List flows, and show and delete them.")
command.add_command(listing(FLOW))
command.add_command(showing(FLOW))
command.add_command(deleting(FLOW))
command.add_command(showing_history(FLOW))
