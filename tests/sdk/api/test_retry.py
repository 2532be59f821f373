"""Retry delays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api.retry import MAX_DELAYS, delay_before, exponential


@given(st.integers(0, 1000), st.floats(0, 1e6))
def test_one_number_is_the_delay_before_each_retry(retry: int, delay: float) -> None:
    assert delay_before(retry, delay) == delay


@pytest.mark.parametrize(
    ("retry", "delay"), [(0, 1.0), (1, 5.0), (2, 30.0), (3, 30.0), (99, 30.0)], ids=lambda value: f"{value}"
)
def test_the_last_delay_of_a_list_repeats(retry: int, delay: float) -> None:
    assert delay_before(retry, [1, 5, 30]) == delay


def test_an_empty_list_means_at_once() -> None:
    assert delay_before(3, []) == 0.0


def test_exponential_doubles_from_its_base() -> None:
    assert exponential(3, 4) == [3.0, 6.0, 12.0, 24.0]


@given(st.floats(0.001, 100), st.integers(0, 10_000))
def test_exponential_is_bounded_and_never_shrinks(base: float, retries: int) -> None:
    delays = exponential(base, retries)
    assert len(delays) == min(retries, MAX_DELAYS)
    assert delays == sorted(delays)
