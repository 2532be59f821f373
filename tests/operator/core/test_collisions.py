"""Runs beyond their deployment's limit: who is cancelled, by policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.collisions import Policy, Sibling, cancelled


def runs(waits: str, uid: str, created: float, *, first: float = 0, new: bool = True, ending: bool = False) -> Sibling:
    return Sibling(created, first, uid, waits == "waits", new, ending)


CASES: dict[str, tuple[Policy, int, list[Sibling], set[str]]] = {
    "Queue cancels nobody": ("Queue", 1, [runs("holds", "1", 1), runs("waits", "2", 2)], set()),
    "Forbid: the new run": ("Forbid", 1, [runs("holds", "1", 1), runs("waits", "2", 2)], {"2"}),
    "Forbid: of one second, the one that was looked at later": (
        "Forbid",
        1,
        [runs("waits", "1", 1, first=2), runs("waits", "2", 1, first=1)],
        {"1"},
    ),
    "Forbid: not while there is room": ("Forbid", 2, [runs("holds", "1", 1), runs("waits", "2", 2)], set()),
    "Forbid: what waits for its pool counts": ("Forbid", 1, [runs("waits", "1", 1), runs("waits", "2", 2)], {"2"}),
    "Forbid: of a limit of 0 every new one": ("Forbid", 0, [runs("waits", "1", 1)], {"1"}),
    "Forbid: what has ended counts no more": (
        "Forbid",
        1,
        [runs("holds", "1", 1, ending=True), runs("waits", "2", 2)],
        set(),
    ),
    "Forbid: not what was launched before": (
        "Forbid",
        1,
        [runs("holds", "1", 2), runs("waits", "2", 1, new=False)],
        set(),
    ),
    "Forbid: who goes on is not to be cancelled, however late it was made": (
        "Forbid",
        1,
        [runs("waits", "1", 1), runs("holds", "2", 2)],
        {"1"},
    ),
    "Replace: the oldest": ("Replace", 1, [runs("holds", "1", 1), runs("waits", "2", 2)], {"1"}),
    "Replace: also one that waits": ("Replace", 1, [runs("waits", "1", 1), runs("waits", "2", 2)], {"1"}),
    "Replace: as many as are too many": (
        "Replace",
        1,
        [runs("holds", "1", 1), runs("holds", "2", 2), runs("waits", "3", 3)],
        {"1", "2"},
    ),
    "Replace: nobody while nobody waits": ("Replace", 1, [runs("holds", "1", 1), runs("holds", "2", 2)], set()),
    "Replace: one that is ending is enough": (
        "Replace",
        1,
        [runs("holds", "1", 1, ending=True), runs("waits", "2", 2)],
        set(),
    ),
    "Replace: with a limit of 0 nobody": ("Replace", 0, [runs("holds", "1", 1), runs("waits", "2", 2)], set()),
}


@pytest.mark.parametrize("name", CASES)
def test_who_is_cancelled(name: str) -> None:
    policy, limit, siblings, wanted = CASES[name]
    assert cancelled(policy, limit, siblings) == wanted
    assert cancelled(policy, limit, reversed(siblings)) == wanted


siblings = st.lists(
    st.builds(Sibling, st.integers(0, 5).map(float), st.uuids().map(str), st.booleans(), st.booleans(), st.booleans()),
    max_size=8,
)


@given(st.sampled_from(["Forbid", "Replace"]), st.integers(1, 3), siblings)
def test_who_is_left_is_not_cancelled_the_next_time(policy: Policy, limit: int, found: list[Sibling]) -> None:
    """Else cancelling some would call for more."""
    gone = cancelled(policy, limit, found)
    left = [sibling for sibling in found if sibling.uid not in gone]
    assert not cancelled(policy, limit, left)
    assert not any(sibling.ending for sibling in found if sibling.uid in gone)
