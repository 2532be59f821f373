"""What is told of conflicts; that nothing is lost is seen on a real API server (tests/integration/test_applying.py)."""

from __future__ import annotations

import pytest

from penstock.applying import Applied, owner


@pytest.mark.parametrize(
    ("why", "who"),
    [
        ('conflict with "kubectl-edit" using penstock.dev/v1alpha1', "kubectl-edit"),
        ('conflict with "penstock" with subresource "status" using v1', "penstock"),
        ("somebody", "somebody"),
    ],
)
def test_who_has_said_a_field_otherwise(why: str, who: str) -> None:
    assert owner(why) == who


@pytest.mark.parametrize(
    ("before", "after", "result"),
    [(None, {"a": 1}, "created"), ({"a": 1}, {"a": 1}, "unchanged"), ({"a": 1}, {"a": 2}, "changed")],
)
def test_what_was_done(before: dict[str, int] | None, after: dict[str, int], result: str) -> None:
    old = None if before is None else {"spec": before}
    assert Applied(old, {"spec": after}).result == result
