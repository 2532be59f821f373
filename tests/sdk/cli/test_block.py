"""`penstock block` on this machine: checked against its class, saved, shown without its secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from penstock.blocks import Block
from penstock.cli import cli

SECRET = "h4rd-to-guess"
SOURCE = """
from pydantic import SecretStr
from penstock.blocks import Block, Secret

class Warehouse(Block):
    host: str
    port: int = 5432
    password: SecretStr
"""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))
    (tmp_path / "blocks_here.py").write_text(SOURCE)
    (tmp_path / "password").write_text(f"{SECRET}\n")
    monkeypatch.chdir(tmp_path)


def block(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli, ["block", *words], input=stdin)


def save(*words: str, stdin: str | None = None) -> Result:
    return block("save", "blocks_here.py:Warehouse", "prod", *words, "--local", stdin=stdin)


@pytest.mark.parametrize(("secret", "stdin"), [("password=password", None), ("password=-", f"{SECRET}\n")])
def test_a_block_is_saved_from_its_class(secret: str, stdin: str | None) -> None:
    done = save("-p", "host=db", "-p", "port=1", "--secret", secret, stdin=stdin)
    assert done.exit_code == 0, done.output
    assert "@flow(blocks=['prod']) and Warehouse.load('prod')" in done.stdout
    loaded = Block.load("warehouse/prod").model_dump()
    assert (loaded["host"], loaded["port"]) == ("db", 1)
    assert loaded["password"].get_secret_value() == SECRET


@pytest.mark.parametrize("output", [[], ["-o", "json"], ["-o", "yaml"]])
def test_no_command_shows_a_secret(output: list[str]) -> None:
    save("-p", "host=db", "--secret", "password=password")
    for words in (["ls"], ["inspect", "prod"]):
        done = block(*words, *output, "--local")
        assert done.exit_code == 0
        assert "prod" in done.stdout
        assert SECRET not in done.output


def test_one_is_shown_with_where_its_secrets_are() -> None:
    save("-p", "host=db", "--secret", "password=password")
    lines = block("inspect", "prod", "--local").stdout.splitlines()
    assert lines[0] == "prod is a warehouse."
    assert lines[-1].split() == ["password", "in", "Secret", "penstock-block-prod,", "key", "password"]


def test_lists_are_narrowed_by_type() -> None:
    save("-p", "host=db", "--secret", "password=password")
    assert block("ls", "--type", "warehouse", "-o", "name", "--local").stdout == "block.penstock.dev/prod\n"
    assert "No blocks in" in block("ls", "--type", "other", "--local").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-p", "host=db"], "password: Field required"),
        (
            ["-p", "host=db", "-p", "x=1", "--secret", "password=password"],
            "Warehouse has no field x; it has host",
        ),
        (["-p", "host=db", "-p", "port=x", "--secret", "password=password"], "port: Input should be a valid integer"),
        (["--secret", "password=none"], "none cannot be read"),
        (["--secret", "password"], "write it as field=file"),
        (["-p", "host"], "write it as field=value"),
    ],
)
def test_what_does_not_fit_is_refused(words: list[str], said: str) -> None:
    done = save(*words)
    assert done.exit_code != 0
    assert said in done.stderr
    assert SECRET not in done.output


def test_a_block_is_changed_only_where_that_is_meant() -> None:
    given = ["-p", "host=db", "--secret", "password=password"]
    save(*given)
    done = save(*given)
    assert done.exit_code == 1
    assert "give --overwrite to change it" in done.stderr
    assert save(*given, "--overwrite").exit_code == 0


def test_a_text_that_looks_like_json_stays_text() -> None:
    save("-p", "host=123", "--secret", "password=password")
    assert Block.load("warehouse/prod").model_dump()["host"] == "123"


def test_types_are_listed_with_their_fields() -> None:
    head, *lines = block("types", "blocks_here.py").stdout.splitlines()
    assert head.split() == ["CLASS", "TYPE", "FIELDS"]
    assert ["Warehouse", "warehouse", "host,", "port,", "password"] in [line.split() for line in lines]
    schemas = json.loads(block("types", "blocks_here.py", "-o", "json").stdout)
    assert schemas["warehouse"]["required"] == ["host", "password"]
    assert (
        "encoding" in json.loads(block("types", "penstock.blocks.system", "-o", "json").stdout)["secret"]["properties"]
    )


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("blocks_here.py", "write it as FILE.py:CLASS"),
        ("blocks_here.py:Other", "has no block class Other; it has Secret, Warehouse"),
        ("none.py:X", "none.py cannot be imported: FileNotFoundError"),
        ("no_such_module:X", "no_such_module cannot be imported"),
    ],
)
def test_a_class_that_is_not_there(target: str, said: str) -> None:
    done = block("save", target, "x", "--local")
    assert done.exit_code != 0
    assert said in done.stderr


def test_deleted_is_gone(tmp_path: Path) -> None:
    save("-p", "host=db", "--secret", "password=password")
    assert block("delete", "prod", "--local").exit_code == 0
    assert not list((tmp_path / "home").rglob("*.json"))
    assert block("delete", "prod", "--local").exit_code == 1
