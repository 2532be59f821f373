"""What becomes of runs of a deployment beyond its limit, where its policy is not to have them wait.

`controller.slots` asks when a run asks for a slot and when the deployment changes. It is a question of state, not of
the moment: asked twice, it is answered alike, so that a restart loses no cancellation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Policy = Literal["Queue", "Forbid", "Replace"]


@dataclass(frozen=True, slots=True)
class Sibling:
    """A run of the deployment that holds a slot or waits for one."""

    created: float
    first: float
    """When it was first looked at, which tells apart those of one second."""
    uid: str
    waits: bool
    new: bool = True
    """It was never launched; what has been is not taken for a run too many."""
    ending: bool = False
    """It has ended, or is being cancelled: it holds its slot until its pod is gone."""


def cancelled(policy: Policy, limit: int, siblings: Iterable[Sibling]) -> frozenset[str]:
    """The uids that are to be cancelled.

    Forbid: of the new runs that wait, all but the oldest for which the others leave room. A run that has ended counts
    no more, though its pod does: who starts the next when one has completed is not to be refused.
    Replace: while one waits, the oldest, until those that are left fit; with a limit of 0 nobody is replaced.
    """
    if policy == "Queue":
        return frozenset()
    alive = sorted((s for s in siblings if not s.ending), key=lambda s: (s.created, s.first, s.uid))
    if policy == "Forbid":
        kept = sum(not (s.waits and s.new) for s in alive)
        return frozenset(s.uid for s in [s for s in alive if s.waits and s.new][max(limit - kept, 0) :])
    if not limit or not any(s.waits for s in alive):
        return frozenset()
    return frozenset(s.uid for s in alive[: max(len(alive) - limit, 0)])
