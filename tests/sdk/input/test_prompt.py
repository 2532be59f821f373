"""Asking at the terminal: on a real pseudo-terminal, and by lines."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from datetime import date
from typing import Any

import pytest
from pydantic import Field, model_validator

from penstock.errors import InvalidRunInput
from penstock.input import RunInput
from penstock.input.prompt import Console, ask
from penstock.input.run_input import run_input_of
from penstock.pauses import PauseRequest


class Order(RunInput):
    """Which order?"""

    number: int = Field(description="As on the bill.", ge=1)
    tags: list[str]
    day: date = date(2026, 1, 2)

    @model_validator(mode="after")
    def _not_seven(self) -> Order:
        if self.number == 7:
            raise ValueError("seven is taken")
        return self


def conversation(model: type[Any] | None, typed: str, over: bool = False) -> tuple[str, list[Any]]:
    """What the person sees, and what the run is resumed with."""
    request = PauseRequest("p", "id", "run-1", None, model, None)
    resumed: list[Any] = []

    def resume(run: str, given: Mapping[str, Any] | None) -> None:
        assert run == "id"
        resumed.append(request.validated(given))

    out = io.StringIO()
    ask(request, Console(io.StringIO(typed), out, lambda: over), resume)
    return out.getvalue(), resumed


def test_fields_are_asked_one_by_one_until_each_fits() -> None:
    shown, resumed = conversation(Order, 'many\n0\n7\n["a"]\n\n3\n["a", "b"]\n2026-05-06\n')
    assert resumed == [Order(number=3, tags=["a", "b"], day=date(2026, 5, 6))]
    lines = shown.splitlines()
    assert lines[:3] == ["Flow run run-1 is paused.", "Which order?", "As on the bill."]
    assert "number: Input should be a valid integer" in shown
    assert "number: Input should be greater than or equal to 1" in shown
    assert "seven is taken" in shown
    assert "day [datetime.date(2026, 1, 2)]: " in shown


def test_a_single_value_and_a_mere_go_ahead() -> None:
    assert conversation(run_input_of(int), "x\n5\n")[1][0].value == 5
    shown, resumed = conversation(None, "\n")
    assert "Press Enter to resume." in shown
    assert resumed == [None]


@pytest.mark.parametrize(("typed", "over"), [("", False), ("5\n", True)], ids=["closed", "answered elsewhere"])
def test_nobody_is_asked_for_ever(typed: str, over: bool) -> None:
    assert conversation(run_input_of(int), typed, over)[1] == []


def test_on_a_terminal_a_paused_run_asks() -> None:
    code = """
    from penstock import flow, pause_flow_run
    @flow
    def f():
        print("got", pause_flow_run(wait_for_input=int, timeout=60) + 1, flush=True)
    f()
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code)],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PENSTOCK_PROGRESS": "off"},
    )
    try:
        os.write(ours, b"x\n41\n")
        out, error = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert out == "got 42\n", error
    assert "value: Input should be a valid integer" in error


def test_a_wrong_answer_is_told_as_the_error_of_the_input() -> None:
    with pytest.raises(InvalidRunInput):
        PauseRequest("p", "id", "run-1", None, Order, None).validated({"number": 7, "tags": []})
