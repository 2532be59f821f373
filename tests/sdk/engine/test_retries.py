"""Delays before retries."""

from __future__ import annotations

from statistics import fmean

import pytest

from penstock.engine.retries import checked_delays, jittered, seconds_before


def test_the_last_delay_of_a_list_repeats() -> None:
    delays = checked_delays("task t", [1, 5], retries=4)
    assert [seconds_before(retry, delays, None) for retry in range(4)] == [1, 5, 5, 5]


def test_no_delay_is_never_jittered() -> None:
    assert seconds_before(0, 0.0, 5.0) == 0.0


@pytest.mark.parametrize("factor", [0.1, 0.5, 1.0, 3.0])
def test_jitter_keeps_the_mean_and_the_upper_bound(factor: float) -> None:
    draws = [jittered(10.0, factor, (i + 0.5) / 2000) for i in range(2000)]
    assert fmean(draws) == pytest.approx(10.0, rel=0.01)
    assert max(draws) <= 10.0 * (1 + factor)
    assert min(draws) >= 0
    assert max(draws) - min(draws) > 10.0 * factor  # it spreads
