"""Delays before retries."""

from __future__ import annotations

import asyncio
from statistics import fmean

import pytest

from penstock.engine.retries import checked_delays, interrupted, jittered, seconds_before


def raised(on_the_way_out_of: BaseException) -> Exception:
    """What cleanup code raises."""
    try:
        try:
            raise on_the_way_out_of
        finally:
            raise OSError("no database")
    except OSError as error:
        return error


@pytest.mark.parametrize(
    ("error", "so"),
    {
        "a failure": (ValueError(), False),
        "an interrupt": (KeyboardInterrupt(), True),
        "cleanup after an interrupt": (raised(KeyboardInterrupt()), True),
        "cleanup after an exit": (raised(SystemExit(3)), True),
        "cleanup after a failure": (raised(ValueError()), False),
        "a time-out of user code's own": (raised(asyncio.CancelledError()), False),
        "a generator that is closed": (raised(GeneratorExit()), False),
        "no exception": ("some value", False),
    }.values(),
)
def test_an_interrupt_is_no_failure_to_try_again_after(error: object, so: bool) -> None:
    assert interrupted(error, None) is so


def test_causes_that_go_in_circles_end() -> None:
    first, second = ValueError(), ValueError()
    first.__cause__, second.__cause__ = second, first
    assert not interrupted(first, None)


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
