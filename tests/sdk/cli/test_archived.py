"""`--archived`: the options that lead into an archive, and what is found there without any cluster."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from archive_contract import put
from command_line import CommandLine
from penstock.cli import objects, show
from penstock.results.storage import open_storage
from penstock.results.urls import parse


@pytest.fixture(autouse=True)
def seven_o_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (objects, show):
        monkeypatch.setattr(module, "utc_now", lambda: datetime(2026, 1, 9, 7, tzinfo=UTC))


@pytest.fixture
def archive(penstock: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """An archive with four runs, which PENSTOCK_ARCHIVE names."""
    url = f"file://{tmp_path}/archive"
    storage = open_storage(parse(url))
    put(storage, "mon", "2026-01-05T06:00:00Z", number=1)
    put(storage, "tue", "2026-01-06T06:00:00Z", "Failed", number=2)
    put(storage, "wed", "2026-01-07T06:00:00Z", number=3)
    put(storage, "mon", "2026-01-08T06:00:00Z", number=4, attempt=3)
    monkeypatch.setenv("PENSTOCK_ARCHIVE", url)
    return url


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    ("words", "want"),
    [
        ([], ["mon", "tue", "wed", "mon"]),
        (["--limit", "2"], ["wed", "mon"]),
        (["-s", "failed"], ["tue"]),
        (["-d", "etl", "--since", "2026-01-07"], ["wed", "mon"]),
        (["--since", "2026-01-06", "--until", "2026-01-07"], ["tue", "wed"]),
    ],
    ids=["all, the newest last", "a few", "by state", "since a day", "between days"],
)
def test_the_archived_runs_are_listed(penstock: CommandLine, archive: str, words: list[str], want: list[str]) -> None:
    assert names(penstock.ok("runs", "--archived", "-n", "team", *words)) == want


def test_programs_get_the_objects(penstock: CommandLine, archive: str) -> None:
    found = json.loads(penstock.ok("runs", "--archived", "-n", "team", "--limit", "1", "-o", "json"))
    assert [(item["kind"], item["metadata"]["name"]) for item in found["items"]] == [("FlowRun", "mon")]


@pytest.mark.parametrize("words", [["-d", "other"], ["-s", "Crashed"], ["--since", "2026-02-01"]])
def test_that_there_are_none_is_told_with_the_place(penstock: CommandLine, archive: str, words: list[str]) -> None:
    said = penstock("runs", "--archived", "-n", "team", *words)
    assert (said.code, said.out) == (0, "")
    assert f"No such runs of namespace team in {archive}" in said.err


def test_the_latest_run_of_a_name_is_shown(penstock: CommandLine, archive: str) -> None:
    assert "Attempt:     3" in penstock.ok("show", "fr/mon", "--archived", "-n", "team")
    earlier = penstock.ok("show", "mon", "--archived", "-n", "team", "--until", "2026-01-05", "-o", "json")
    assert json.loads(earlier)["metadata"]["uid"].endswith("1")


def test_a_run_that_is_not_there_is_told(penstock: CommandLine, archive: str) -> None:
    told = penstock.fails("show", "sun", "--archived", "-n", "team")
    assert f"there is no run sun of namespace team in {archive}" in told


def test_the_option_is_over_the_setting(penstock: CommandLine, archive: str, tmp_path: Path) -> None:
    said = penstock("runs", "--archived", "-n", "team", "--archive", f"{tmp_path}/empty")
    assert f"in file://{tmp_path}/empty" in said.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--archived", "-n", "team"], "which archive? Give --archive URL, or set PENSTOCK_ARCHIVE"),
        (["--archive", "s3://b"], "--archive is of the archive: add --archived"),
        (["--since", "2026-01-01"], "--since is of the archive: add --archived"),
        (["--archived", "--archive", "/x", "-n", "t", "--since", "yesterday"], "--since yesterday: a day is wanted"),
    ],
)
def test_wrong_usage_is_told_with_the_remedy(penstock: CommandLine, words: list[str], told: str) -> None:
    assert told in penstock.fails("runs", *words, code=2)


def test_a_url_that_cannot_be_is_an_error_of_one_line(penstock: CommandLine) -> None:
    told = penstock.fails("runs", "--archived", "--archive", "ftp://x", "-n", "team")
    assert told.startswith("error: there is no archive ftp://")
