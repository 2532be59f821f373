"""One term of a leader after the other: forget, list anew, take over, act, until the lease is lost.

The controller gives it what belongs to a term. Informers go on between terms, so that a standby knows everything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

from .agenda import Agenda
from .informer import Informer
from .leadership import Leadership
from .takeover import Takeover

Loop = Callable[[], Coroutine[Any, Any, None]]


class Term:
    """The terms of this process."""

    def __init__(
        self,
        agenda: Agenda,
        takeover: Takeover,
        informers: Sequence[Informer],
        unhurried: Informer,
        *,
        forget: Sequence[Callable[[], None]],
        begin: Callable[[], None],
        loops: Mapping[str, Loop],
    ) -> None:
        """`unhurried`: the one of the informers for whose list nothing waits. `forget`: what forgets an earlier term.
        `begin` is called before the `loops` start, which run as long as the term does."""
        self._agenda, self._takeover, self._informers, self._unhurried = agenda, takeover, informers, unhurried
        self._forget, self._begin, self._loops = forget, begin, loops
        self.acts = False
        """Whether keys are looked at."""

    async def serve(self, leadership: Leadership) -> None:
        """Act until the lease is lost."""
        if not self._agenda.leads:
            self.renew()
        acts = asyncio.create_task(self.act(), name="term")
        lost = asyncio.create_task(leadership.lost(), name="lease")
        try:
            await asyncio.wait((acts, lost), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._agenda.leads = self.acts = False
            for task in (acts, lost):
                task.cancel()
            ends = await asyncio.gather(acts, lost, return_exceptions=True)
        if isinstance(ends[0], Exception):
            raise ends[0]

    def renew(self) -> None:
        """Forget what an earlier term knew, and list anew: others have acted since."""
        for forget in self._forget:
            forget()
        self._agenda.leads = True
        for informer in self._informers:
            informer.relist()

    async def act(self) -> None:
        """Name every key, then look at them until cancelled."""
        begun = time.monotonic()
        # Nothing is decided before everything is known: a run whose pod is not listed yet is not a run without one.
        for informer in self._informers:
            if informer is not self._unhurried:
                await informer.synced.wait()
        await self._takeover.name_all(begun)
        self._begin()
        self.acts = True
        async with asyncio.TaskGroup() as group:
            for name, loop in self._loops.items():
                group.create_task(loop(), name=name)
