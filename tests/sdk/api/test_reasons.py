"""Reasons, as Kubernetes' conditions and events want them."""

import re

from penstock.api import reasons

REASONS = {name: value for name, value in vars(reasons).items() if name.isupper()}


def test_every_reason_is_camel_case_and_short_enough() -> None:
    for value in REASONS.values():
        assert re.fullmatch(r"[A-Z][A-Za-z0-9]{0,127}", value)


def test_no_reason_is_there_twice() -> None:
    assert len(set(REASONS.values())) == len(REASONS)
