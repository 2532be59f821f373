"""`penstock artifact` on this machine: lists, one whole, deleted; tables for people and JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock import flow
from penstock.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from penstock.cli import cli


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))


def artifact(*words: str) -> Result:
    return CliRunner().invoke(cli, ["artifact", *words, "--local"])


def show() -> str:
    """Some artifacts; the name of the flow run that made one of them."""

    @flow
    def outer() -> str:
        return create_link_artifact("https://x.example", key="link")

    outer()
    create_markdown_artifact("# Title\n\nText.", key="text", description="What it is.")
    create_table_artifact([{"city": "Oslo", "sum": 4.5}, {"city": "Rome", "n": [1]}], key="rows")
    return str(json.loads(artifact("inspect", "link", "-o", "json").stdout)["spec"]["run"]["name"])


def test_lists_are_for_people_and_for_programs() -> None:
    run = show()
    done = artifact("ls")
    assert done.exit_code == 0
    head, *lines = done.stdout.splitlines()
    assert head.split() == ["NAME", "KEY", "TYPE", "RUN", "AGE", "CONTENT"]
    assert sorted(line.split()[0] for line in lines) == ["link", "rows", "text"]
    assert run in done.stdout
    listed = json.loads(artifact("ls", "-o", "json").stdout)
    assert {item["spec"]["type"] for item in listed["items"]} == {"link", "markdown", "table"}
    assert all(item["kind"] == "Artifact" for item in listed["items"])


def test_lists_are_narrowed() -> None:
    run = show()

    def found(*words: str) -> list[str]:
        return sorted(artifact("ls", *words, "-o", "name").stdout.split())

    assert found("--run", run) == ["artifact.penstock.dev/link"]
    assert found("--type", "table") == ["artifact.penstock.dev/rows"]
    assert found("--key", "text") == ["artifact.penstock.dev/text"]
    assert found("--key", "text", "--type", "table") == []


def test_one_is_shown_whole() -> None:
    show()
    text = artifact("inspect", "text").stdout
    assert text.endswith("\n\nWhat it is.\n\n# Title\n\nText.\n")
    rows = artifact("inspect", "rows").stdout.splitlines()
    assert rows[-3:] == ["city   sum   n", "Oslo   4.5", "Rome         [1]"]


def test_nothing_is_said_where_people_read_it(tmp_path: Path) -> None:
    done = artifact("ls")
    assert (done.exit_code, done.stdout) == (0, "")
    assert f"No artifacts in {tmp_path}." in done.stderr
    assert json.loads(artifact("ls", "-o", "json").stdout)["items"] == []


def test_what_is_not_there_fails(tmp_path: Path) -> None:
    for words in (["inspect", "none"], ["delete", "none"]):
        done = artifact(*words)
        assert done.exit_code == 1
        assert f"artifacts/none is not in {tmp_path}" in done.stderr


def test_deleted_is_gone() -> None:
    show()
    assert artifact("delete", "link", "text").exit_code == 0
    assert artifact("ls", "-o", "name").stdout.split() == ["artifact.penstock.dev/rows"]
