"""Why each run waits, and which of those that wait were told something else.

`slots` asks when a run is looked at, and has those looked at that are to be told anew. A status is written for each,
so only the first of a line are told when it stands at another limit; the others when they get there.
"""

from __future__ import annotations

from ..core import places
from ..core.admission import Books, Line
from ..core.resolve import Waiting
from .rules import Rules

TOLD_AHEAD = 20  # runs of a line that are told anew when it waits for something else


class Telling:
    """What runs were told, in one term."""

    def __init__(self, books: Books, rules: Rules) -> None:
        self._books, self._rules = books, rules
        self._told: dict[str, Waiting] = {}
        self._anew: dict[str, None] = {}

    def tell(self, uid: str) -> Waiting:
        """Why a run waits; it is told so."""
        self._anew.pop(uid, None)
        self._told[uid] = self._reason(uid)
        return self._told[uid]

    def forget(self, uid: str) -> None:
        """A run does not wait any more, or is no more."""
        self._told.pop(uid, None)
        self._anew.pop(uid, None)

    def moved(self, uid: str) -> None:
        """A run waits elsewhere than before."""
        if uid in self._told:
            self._anew[uid] = None

    def stands_elsewhere(self, line: Line) -> None:
        """A line waits for something else than before."""
        for order in self._books.lines[line][:TOLD_AHEAD]:
            self.moved(order.uid)

    def admitted(self, uid: str, line: Line) -> None:
        """A run has left its line: those behind it have moved up."""
        self._anew.pop(uid, None)
        behind = self._books.lines.get(line, ())
        if len(behind) >= TOLD_AHEAD:
            self._anew[behind[TOLD_AHEAD - 1].uid] = None

    def outdated(self, most: int) -> list[str]:
        """Up to so many runs that wait for something else than they were told."""
        asked = list(self._anew)[:most]
        for uid in asked:
            del self._anew[uid]
        return [uid for uid in asked if uid in self._books.waiting and self._reason(uid) != self._told.get(uid)]

    def _reason(self, uid: str) -> Waiting:
        line = self._books.waiting[uid].limits
        stop = self._books.stands.get(line)
        limit = stop.limit if stop else line[-1]  # it stands nowhere for a moment only
        size = self._books.bounds.get(limit, 0)
        kept = len(self._books.holders.get(limit, ())) < size
        said = places.words(limit, size, suspended=self._rules.suspended(limit), kept=kept)
        return Waiting(said.reason, said.message, slot=said.full)
