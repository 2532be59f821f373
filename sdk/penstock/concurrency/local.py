"""Limits of this process: named in the settings or declared by code, given in order of asking, woken on release.

Threads and coroutines of the process share them; other processes on the machine, other pods, and the children of a
process task runner do not. (A task's `tag:` limits hold for those children too: the flow's process takes them.) In a
pod the runner has ConcurrencyLimits besides (`runner.slots`), and comes here for names that have none.
"""

from __future__ import annotations

import os
import threading
import time
from itertools import count
from typing import TYPE_CHECKING

from ..errors import ConcurrencySlotAcquisitionError
from ..settings import get_current_settings
from .claims import Claim
from .decision import Request, Taken, decide, give_back, refusal
from .limits import Limit, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class LocalSlots:
    """Implements `claims.Slots`; the decisions are `decision.decide`'s."""

    answers_within = 0.0

    def __init__(self, remedy: Callable[[str, bool], str] | None = None) -> None:
        """`remedy`: what to do where a name (is it a rate?) has no limit."""
        self._remedy = remedy or _remedy
        self._lock = threading.Lock()
        self._numbers = count()
        self._declared: dict[str, Limit] = {}
        self._written: tuple[dict[str, str], dict[str, Limit]] = ({}, {})  # settings, and the limits they mean
        self._taken = Taken(at=time.monotonic())
        self._queue: dict[int, tuple[Request, Claim]] = {}
        self._held: dict[int, Request] = {}  # with the names that were limits when it was granted
        self._timer: threading.Timer | None = None
        self._warned: set[str] = set()

    def declare(self, limit: Limit) -> None:
        """Set a limit, over what the settings say; those who wait may get their slots by it."""
        with self._lock:
            self._declared[limit.name] = limit
        self._refuse_hopeless()
        self._settle()

    def remove(self, name: str) -> None:
        """Forget a declared limit; what the settings say holds again."""
        with self._lock:
            self._declared.pop(name, None)
        self._refuse_hopeless()
        self._settle()

    def limits(self) -> dict[str, Limit]:
        """All limits that hold now, by name."""
        written = get_current_settings().concurrency_limits
        if written != self._written[0]:
            self._written = (written, {name: parse(name, text) for name, text in written.items()})
        return {**self._written[1], **self._declared}

    def known(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that have a limit."""
        limits = self.limits()
        return tuple(name for name in names if name in limits)

    def looking(self) -> None:
        return None

    @property
    def local(self) -> LocalSlots:
        return self

    def missing(self, unknown: Sequence[str], rate: bool) -> str:
        """That these names have no limit, and what to do."""
        many = "s" if len(unknown) > 1 else ""
        return f"there is no concurrency limit{many} {', '.join(unknown)}: {self._remedy(unknown[0], rate)}"

    def taken(self, name: str) -> float:
        """How many slots of the limit are taken now."""
        with self._lock:
            return decide(self.limits(), self._taken, (), time.monotonic()).taken.slots.get(name, 0.0)

    def ask(
        self,
        names: Sequence[str],
        occupy: int,
        *,
        rate: bool,
        strict: bool,
        lease_seconds: float,  # noqa: ARG002 - slots of a process end with it
        holder: str | None,  # noqa: ARG002
    ) -> Claim:
        """A claim, granted at once where there is room."""
        claim = Claim(self, next(self._numbers), tuple(dict.fromkeys(names)), occupy)
        limits = self.limits()
        unknown = [name for name in claim.names if name not in limits]
        why = refusal(limits, claim.names, occupy, rate=rate)
        if why is None and unknown and strict:
            why = self.missing(unknown, rate)
        if why is not None:
            claim.error = ConcurrencySlotAcquisitionError(why)
            claim.happen()
            return claim
        if unknown:
            self._warn(unknown, rate)
        with self._lock:
            self._queue[claim.id] = (Request(claim.id, claim.names, occupy), claim)
        self._settle()
        return claim

    def release(self, claim: Claim) -> None:
        """Take slots back, or the claim out of the queue."""
        with self._lock:
            waited = self._queue.pop(claim.id, None)
            held = self._held.pop(claim.id, None)
            if held is not None:
                self._taken = give_back(self.limits(), self._taken, held)
        if waited or held:
            self._settle()

    def _refuse_hopeless(self) -> None:
        """Tell those who wait for more than a changed limit will ever give."""
        limits, refused = self.limits(), []
        with self._lock:
            for request, claim in list(self._queue.values()):
                why = refusal(limits, request.names, request.occupy, rate=False)
                if why is not None:
                    claim.error = ConcurrencySlotAcquisitionError(why)
                    del self._queue[request.id]
                    refused.append(claim)
        for claim in refused:
            claim.happen()

    def _settle(self) -> None:
        """Decide, and wake those who were granted."""
        woken: list[Claim] = []
        with self._lock:
            limits = self.limits()
            decision = decide(limits, self._taken, [request for request, _ in self._queue.values()], time.monotonic())
            self._taken = decision.taken
            for identity in decision.granted:
                request, claim = self._queue.pop(identity)
                self._held[identity] = Request(
                    identity, tuple(name for name in request.names if name in limits), request.occupy
                )
                woken.append(claim)
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if decision.again is not None:
                self._timer = threading.Timer(decision.again, self._settle)
                self._timer.daemon = True
                self._timer.start()
        for claim in woken:
            claim.happen()

    def _warn(self, unknown: Sequence[str], rate: bool) -> None:
        with self._lock:  # a map asks from many threads at once
            new = [name for name in unknown if name not in self._warned]
            self._warned.update(new)
        if new:
            from ..logging import get_logger

            get_logger("concurrency").warning("%s; going on without", self.missing(new, rate))


def _remedy(name: str, rate: bool) -> str:
    setting, arguments = ("10/s", "10, slot_decay_per_second=10") if rate else ("3", "3")
    here = f"set PENSTOCK_CONCURRENCY_LIMITS={name}={setting}, or call declare_limit({name!r}, {arguments})"
    if os.environ.get("PENSTOCK_RUN"):
        return f"a worker process of a task runner has limits of its own only: {here}; or take the slot in the flow"
    return here
