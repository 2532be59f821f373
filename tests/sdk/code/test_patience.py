"""What passes is tried again, what lasts is not."""

from __future__ import annotations

import pytest

from penstock.code import patience
from penstock.code.patience import patiently
from penstock.errors import CodeUnavailable


class Server:
    def __init__(self, *errors: CodeUnavailable) -> None:
        self.errors = list(errors)

    def __call__(self) -> str:
        if self.errors:
            raise self.errors.pop(0)
        return "code"


def test_what_passes_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "FIRST", 0.01)
    assert patiently(Server(*[CodeUnavailable("busy", transient=True)] * 3)) == "code"


def test_what_lasts_is_told_at_once() -> None:
    server = Server(CodeUnavailable("gone"), CodeUnavailable("not asked again"))
    with pytest.raises(CodeUnavailable, match="gone"):
        patiently(server)


def test_in_the_end_it_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE", 0.1)
    monkeypatch.setattr(patience, "FIRST", 0.02)
    with pytest.raises(CodeUnavailable, match="busy"):
        patiently(Server(*[CodeUnavailable("busy", transient=True)] * 100))
