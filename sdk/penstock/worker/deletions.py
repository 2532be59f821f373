"""Runs that were deleted while they had a process here, of which the worker's Lease tells: what they held is held by
their processes, until these have ended. Pure; `membership` owns one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..api.launches import is_awaited
from ..api.states import StateType
from ..api.workers import DeletedRun

Body = dict[str, Any]
TOLD_SECONDS = 120.0  # for which the end of a process is said, so that it is heard


class Deletions:
    """By the id of the process."""

    def __init__(self) -> None:
        self._there: dict[str, DeletedRun] = {}
        self._ended: dict[str, tuple[DeletedRun, float | None]] = {}
        """With the time since which the Lease says so."""
        self._said = False

    def deleted(self, process: str, name: str, uid: str, last: Body | None) -> bool:
        """A run is no more that has a process; whether that is news. `last`: the run as it was last seen.

        One that had come to its end is settled, and holds nothing.
        """
        status = (last or {}).get("status") or {}
        if process in self._there or ("state" in status and StateType(status["state"]["type"]).terminal):
            return False
        spec, resolved = (last or {}).get("spec") or {}, status.get("resolved") or {}
        deployment = (resolved.get("deployment") or {}).get("name")
        admitted = None if is_awaited(spec) else status.get("admitted") or {}
        self._there[process] = DeletedRun(name=name, uid=uid, deployment=deployment, admitted=admitted)
        return True

    def ended(self, process: str) -> bool:
        """A process has ended; whether that is news of a run that was deleted."""
        known = self._there.pop(process, None)
        if known is not None:
            self._ended[process] = (DeletedRun(name=known.name, uid=known.uid, ended=True), None)
        return known is not None

    def said(self, now: float) -> list[DeletedRun] | None:
        """What the Lease is to say, what ended last before what did earlier; None where it says nothing already.

        `now`: any clock's seconds.
        """
        self._ended = {
            id_: (run, since)
            for id_, (run, since) in self._ended.items()
            if since is None or now < since + TOLD_SECONDS
        }
        ended = [run for run, _ in reversed(self._ended.values())]
        if not (self._there or ended or self._said):
            return None
        return [*self._there.values(), *ended]

    def heard(self, said: Sequence[DeletedRun] | None, now: float) -> None:
        """The API server has taken what was `said`: from now on the Lease says so."""
        if said is None:
            return
        self._said = bool(said)
        for id_, (run, since) in self._ended.items():
            if since is None and run in said:
                self._ended[id_] = (run, now)
