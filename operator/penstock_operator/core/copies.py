"""Which copies of code and specs nobody needs any more. Called by `reconcile.copies`.

A copy is a ConfigMap of source text or a ControllerRevision, made for runs and owned by none of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

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

    @property
    def ref(self) -> tuple[str, str]:
        """How runs name it."""
        return self.namespace, self.name


def unneeded(copies: Iterable[Copy], referenced: Collection[tuple[str, str]], owners: Collection[str]) -> list[Copy]:
    """Those that no run names and that are not among the last of a deployment or a flow that is there (by uid)."""
    history: dict[str, list[int]] = defaultdict(list)
    found = list(copies)
    for copy in found:
        if copy.owner in owners:
            history[copy.owner].append(copy.revision)
    oldest = {owner: sorted(revisions)[-REVISION_HISTORY:][0] for owner, revisions in history.items()}
    return [
        copy
        for copy in found
        if copy.ref not in referenced and not (copy.owner in oldest and copy.revision >= oldest[copy.owner])
    ]
