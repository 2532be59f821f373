"""Stands for a run's slots until its code asks for some: most never do, and should not pay for the import."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .assignment import Assignment
from .connection import Api

if TYPE_CHECKING:
    from .slots import RunSlots


class SlotsWhenAsked:
    """Makes the giver of slots on first use; `lost` is called when the run is seen to be another's."""

    def __init__(self, api: Api, assignment: Assignment) -> None:
        self._api, self._at = api, assignment
        self._lock = threading.Lock()
        self._made: RunSlots | None = None
        self.lost: Callable[[], object] = lambda: None

    def __call__(self) -> RunSlots:
        """The giver."""
        with self._lock:
            if self._made is None:
                from .slots import RunSlots

                self._made = RunSlots(self._api, self._at, lambda: self.lost())
            return self._made

    def check(self) -> None:
        """Return where nothing says that the run is another's. Raises Fenced."""
        if self._made is not None:
            self._made.check()

    def close(self) -> None:
        """Write no more claims: the end of the run gives everything back."""
        if self._made is not None:
            self._made.close()
