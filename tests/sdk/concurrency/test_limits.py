"""How limits are written."""

from __future__ import annotations

import pytest

from penstock.concurrency.limits import Limit, parse
from penstock.errors import InvalidSettings


@pytest.mark.parametrize(
    ("text", "slots", "decay"),
    [
        ("3", 3, 0),
        ("0", 0, 0),
        ("10/s", 10, 10),
        ("120/m", 120, 2),
        ("3600/h", 3600, 1),
        ("86400/d", 86400, 1),
        ("3@0.5", 3, 0.5),
    ],
)
def test_a_limit_is_slots_or_a_rate(text: str, slots: int, decay: float) -> None:
    limit = parse("x", text)
    assert limit == Limit("x", slots, decay)
    assert limit.decays is (decay > 0)


@pytest.mark.parametrize("text", ["", "many", "10/w", "10/", "/s", "1.5", "3@", "3@x", "3/s@1"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"concurrency_limits: x=.*write slots \(3\), a rate"):
        parse("x", text)


@pytest.mark.parametrize(("slots", "decay", "field"), [(-1, 0, "slots"), (1.5, 0, "slots"), (1, -1, "decay")])
def test_impossible_numbers_are_refused(slots: int, decay: float, field: str) -> None:
    with pytest.raises(InvalidSettings, match=field):
        Limit("x", slots, decay)
