"""Large parameters are not kept, small ones are, and the body that was given stays as it is."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from penstock_operator.core.parameters_left_out import KEPT, LEFT_OUT, are_left_out, projection

SMALL, LARGE = {"n": 1}, {"n": "x" * KEPT}


@pytest.mark.parametrize(
    ("given", "resolved", "left_out"),
    [(None, None, False), (SMALL, None, False), (SMALL, LARGE, False), (LARGE, None, True), (LARGE, LARGE, True)],
)
def test_what_is_large_is_left_out(given: Any, resolved: Any, left_out: bool) -> None:
    run = {"spec": {"parameters": given}, "status": {"parameters": resolved}}
    before = copy.deepcopy(run)
    kept = projection(run)
    assert are_left_out(kept) is left_out
    assert kept["spec"]["parameters"] == (LEFT_OUT if given is LARGE else given)
    assert kept["status"]["parameters"] == (LEFT_OUT if resolved is LARGE else resolved)
    assert run == before


def test_a_run_without_parameters_is_the_run() -> None:
    run = {"metadata": {"name": "a"}}
    assert projection(run) is run
