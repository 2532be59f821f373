"""Waits double up to a bound, for ever, and no two who wait come back together."""

from __future__ import annotations

import pytest

from penstock_operator.backoff import backoff, spread


@pytest.mark.parametrize(("failures", "longest"), [(1, 0.4), (2, 0.8), (3, 1.6), (5, 6.4), (6, 10.0), (100_000, 10.0)])
def test_waits_double_up_to_their_bound(failures: int, longest: float) -> None:
    """And for ever: an API server may be away for days."""
    found = [backoff(failures, 0.4, 10.0) for _ in range(500)]
    assert longest / 2 <= min(found) < 0.6 * longest
    assert 0.9 * longest < max(found) <= longest


def test_what_somebody_asks_for_is_never_undercut() -> None:
    found = [spread(4.0) for _ in range(500)]
    assert 4.0 <= min(found) < 4.2
    assert 5.8 < max(found) <= 6.0
    assert spread(0.0) == 0.0
