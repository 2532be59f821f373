"""The Secret block gives back what it was given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from penstock.blocks import Secret
from penstock.blocks.documents import Document


@pytest.mark.parametrize("value", ["text", "123", '{"a": 1}', "", {"a": [1, None]}, [1], 5, None, True])
def test_what_is_kept_comes_back_as_it_was_given(value: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    assert Secret(value=value).get() == value
    Secret(value=value).save("s")
    loaded = Secret.load("s")
    assert loaded.get() == value
    assert type(loaded.get()) is type(value)


def test_a_secret_made_by_hand_is_text() -> None:
    assert Secret.of_document("s", Document("secret", {}, {"value": b"123"})).get() == "123"
    assert Secret(value=SecretStr("x")).get() == "x"
