"""`penstock variable` on this machine: what is set is got, as text or as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from penstock.cli import cli
from penstock.errors import InvalidResource
from penstock.variables import Variable


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))


def variable(*words: str) -> Result:
    return CliRunner().invoke(cli, ["variable", *words, "--local"])


@pytest.mark.parametrize(
    ("words", "value", "printed"),
    [
        (["3"], 3, "3"),
        (['{"a": [1, null]}'], {"a": [1, None]}, '{"a": [1, null]}'),
        (["plain text"], "plain text", "plain text"),
        (["3", "--text"], "3", "3"),
        (["true"], True, "true"),
    ],
)
def test_a_value_is_json_or_text(words: list[str], value: Any, printed: str) -> None:
    assert variable("set", "x", *words).exit_code == 0
    assert Variable.get("x") == value
    assert variable("get", "x").stdout == f"{printed}\n"
    assert json.loads(variable("get", "x", "-o", "json").stdout) == value


def test_a_value_is_changed_only_where_that_is_meant() -> None:
    variable("set", "x", "1", "-t", "a", "-t", "b")
    done = variable("set", "x", "2")
    assert done.exit_code == 1
    assert "give --overwrite to change it" in done.stderr
    assert variable("set", "x", "2", "--overwrite").exit_code == 0
    listed = json.loads(variable("ls", "-o", "json").stdout)
    assert listed["items"][0]["spec"] == {"value": 2, "tags": ["a", "b"]}


def test_a_list_for_people_cuts_long_values() -> None:
    variable("set", "long", "x" * 100)
    head, line = variable("ls").stdout.splitlines()
    assert head.split() == ["NAME", "VALUE", "TAGS", "AGE"]
    assert f'"{"x" * 58}…' in line
    assert "x" * 59 not in line


def test_unset_is_gone(tmp_path: Path) -> None:
    variable("set", "x", "1")
    assert variable("unset", "x").exit_code == 0
    for words in (["get", "x"], ["unset", "x"]):
        done = variable(*words)
        assert done.exit_code == 1
        assert f"variable x is not in {tmp_path}" in done.stderr
    assert f"No variables in {tmp_path}." in variable("ls").stderr


def test_a_bad_name_is_an_error_of_ours() -> None:
    """Which the entry point prints in one line."""
    assert isinstance(variable("set", "A B", "1").exception, InvalidResource)
