"""Which states of a run become Events: those that last, and those that people want to know of anyway.

`controller.events` posts them. What a run has passed through is in its history, which is the record; an Event of each
state cost as much as all that a short run's states say (docs/designs/020-events-of-what-lasts.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from penstock.api.states import StateName, StateType

from .views import Body, parse_time

LASTS = timedelta(seconds=1)
"""How long a run stays in a state that is told, where it is none that is told at once."""
RETRIES = frozenset({StateName.AWAITING_RETRY, StateName.RETRYING})


class Telling(NamedTuple):
    """What to do with entries of a history: tell some, and look at the last again once it has lasted."""

    tell: tuple[Body, ...]
    held: Body | None


def telling(history: Sequence[Body], after: int) -> Telling:
    """Of the entries beyond the seq `after`: those of which there is to be an Event."""
    tell, held = [], None
    for number, entry in enumerate(history):
        if entry["seq"] <= after:
            continue
        if _at_once(entry, history[number - 1] if number else None):
            tell.append(entry)
        elif number + 1 == len(history):
            held = entry
        elif _lasted(entry, history[number + 1]):
            tell.append(entry)
    return Telling(tuple(tell), held)


def _at_once(entry: Body, before: Body | None) -> bool:
    """Whether it is told however short it is: an end, a retry, an attempt that was taken back."""
    if StateType(entry["type"]).terminal or entry.get("name") in RETRIES:
        return True
    again = before is not None and before["type"] != StateType.SCHEDULED
    return again and entry["type"] == StateType.SCHEDULED


def _lasted(entry: Body, following: Body) -> bool:
    begun, ended = parse_time(entry["time"]), parse_time(following["time"])
    return begun is not None and ended is not None and ended - begun >= LASTS
