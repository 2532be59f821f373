"""Slots that no other test has taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from penstock.concurrency.claims import give_slots_from
from penstock.concurrency.local import LocalSlots


@pytest.fixture
def slots() -> Iterator[LocalSlots]:
    """The giver of slots for the test."""
    giver = LocalSlots()
    before = give_slots_from(giver)
    yield giver
    give_slots_from(before)
