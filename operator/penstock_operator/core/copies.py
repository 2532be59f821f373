"""Which copies of code and specs nobody needs any more. Called by `reconcile.copies`.

A copy is a ConfigMap of source text or a ControllerRevision, made for runs and owned by none of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby

REVISION_HISTORY = 10  # of each deployment and flow that is there, for going back to; a Deployment keeps as many


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy as it is found."""

    kind: str
    namespace: str
    name: str
    uid: str
    owner: str = ""
    """uid of the object whose spec it keeps; empty for code."""
    revision: int = 0
    """Generation of that object."""
    deployed: str = ""
    """The same for specs that differ only in what is suspended; empty: like no other."""

    @property
    def ref(self) -> tuple[str, str]:
        """How runs name it."""
        return self.namespace, self.name


def unneeded(copies: Iterable[Copy], referenced: Collection[tuple[str, str]], owners: Collection[str]) -> list[Copy]:
    """Those that no run names and that a deployment or a flow which is there (by uid) does not go back to."""
    history: dict[str, list[Copy]] = defaultdict(list)
    found = list(copies)
    for copy in found:
        if copy.owner in owners:
            history[copy.owner].append(copy)
    kept = {copy for revisions in history.values() for copy in _last(revisions)}
    return [copy for copy in found if copy.ref not in referenced and copy not in kept]


def _last(revisions: list[Copy]) -> set[Copy]:
    """The newest, and the last that say something else than the one before."""
    ordered = sorted(revisions, key=lambda copy: copy.revision, reverse=True)
    differ = [list(same)[-1] for _, same in groupby(ordered, key=lambda copy: copy.deployed or copy.uid)]
    return {ordered[0], *differ[:REVISION_HISTORY]}
