"""The flows that every installation can be tried with."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.runner.delivery import Delivered
from penstock.runner.loading import load
from penstock.testing.flows import hello


def test_hello_greets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert hello() == "Hello, Kubernetes!"
        assert hello("you") == "Hello, you!"
    assert [record.message for record in caplog.records] == ["Hello, Kubernetes!", "Hello, you!"]


def test_it_is_found_by_its_entrypoint() -> None:
    """Which is what a Flow without any code of its own names, to try an installation with."""
    assert load("penstock.testing.flows:hello", Delivered()) is hello


def test_it_makes_one_task_run(recorder: Any) -> None:
    state = recorder.run(hello, {"name": "you"})
    assert state.result() == "Hello, you!"
    assert recorder.states_of("greet-0") == ["Running", "Completed"]


def test_its_parameter_is_described() -> None:
    described = hello.parameter_schema["properties"]["name"]
    assert (described["type"], described["default"], described["description"]) == (
        "string",
        "Kubernetes",
        "who is greeted.",
    )
