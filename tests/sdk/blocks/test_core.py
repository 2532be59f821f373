"""Blocks on this machine: saved under a name, loaded by their class, and silent about their secrets."""

from __future__ import annotations

import asyncio
import logging
import pickle
import stat
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, field_validator

from penstock import flow
from penstock.blocks import Block, Secret, SecretDict, core
from penstock.errors import BlockTypeMismatch, DefinitionError, InvalidResource, ResourceExists, ResourceNotFound
from penstock.manifests import Options, flow_manifest

SECRET = "h4rd-to-guess"


class Warehouse(Block):
    """Where the numbers are.

    More of it.
    """

    host: str
    port: int = 5432
    password: SecretStr
    headers: SecretDict | None = None


class Lake(Warehouse):
    _block_type_name = "Data Lake"

    depth: int = 1


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))
    monkeypatch.setitem(core._types, "warehouse", Warehouse)  # other tests have such a type too, and the last wins


def warehouse(**more: Any) -> Warehouse:
    return Warehouse(host="db", password=SecretStr(SECRET), **more)


def test_a_block_comes_back_as_it_was_saved() -> None:
    block = warehouse(headers=SecretDict({"A": 1}))
    assert block.save("prod") == "prod"
    assert Warehouse.load("prod") == block
    assert Warehouse.load("prod").password.get_secret_value() == SECRET


def test_a_name_is_changed_only_where_that_is_meant() -> None:
    warehouse().save("prod")
    with pytest.raises(ResourceExists, match="give overwrite=True to change it"):
        warehouse().save("prod")
    loaded = Warehouse.load("prod")
    loaded.port = 1
    assert loaded.save(overwrite=True) == "prod"
    assert Warehouse.load("prod").port == 1
    with pytest.raises(InvalidResource, match=r"a block needs a name: save\(name\)"):
        warehouse().save()


def test_a_secret_that_is_taken_away_is_gone(tmp_path: Path) -> None:
    warehouse(headers=SecretDict({"A": SECRET})).save("prod")
    warehouse().save("prod", overwrite=True)
    assert Warehouse.load("prod").headers is None


def test_the_type_is_the_classes() -> None:
    assert Warehouse.get_block_type_slug() == "warehouse"
    assert (Lake.get_block_type_name(), Lake.get_block_type_slug()) == ("Data Lake", "data-lake")
    assert Warehouse.get_description() == "Where the numbers are.\n\nMore of it."
    with pytest.raises(DefinitionError, match="set _block_type_slug"):
        type("__", (Block,), {})


def test_a_block_of_another_type_is_an_error_that_says_which() -> None:
    warehouse().save("prod")
    with pytest.raises(BlockTypeMismatch, match="block prod is of type warehouse, and Secret loads secret"):
        Secret.load("prod")
    with pytest.raises(BlockTypeMismatch, match="block prod is of type warehouse, not secret"):
        Block.load("secret/prod")
    with pytest.raises(BlockTypeMismatch, match="is of type warehouse, not secret: nothing is deleted"):
        Secret.delete("prod")
    with pytest.raises(TypeError):
        Lake.load("prod")


def test_the_base_loads_every_type_that_is_imported() -> None:
    warehouse().save("prod")
    Lake(host="h", password=SecretStr("x"), depth=3).save("deep")
    for name in ("prod", "warehouse/prod"):
        assert type(Block.load(name)) is Warehouse
    found = Warehouse.load("deep")
    assert isinstance(found, Lake)
    assert found.depth == 3


def test_a_type_that_nobody_has_imported_is_said_so() -> None:
    made = type("Elsewhere", (Warehouse,), {"__module__": __name__})
    made(host="h", password="x").save("far")
    del core._types["elsewhere"]
    with pytest.raises(BlockTypeMismatch, match="is of type elsewhere, which no imported class has: import its class"):
        Block.load("far")


def test_a_block_that_is_not_there() -> None:
    with pytest.raises(ResourceNotFound, match=r"block none is not in .*: save it first"):
        Warehouse.load("none")
    assert Warehouse.delete("none") is False


def test_delete_takes_the_secrets_along(tmp_path: Path) -> None:
    warehouse().save("prod")
    assert list((tmp_path / "secrets").glob("*.json"))
    assert Warehouse.delete("prod") is True
    assert not list((tmp_path / "secrets").glob("*.json"))
    assert not list((tmp_path / "blocks").glob("*.json"))


@pytest.mark.parametrize("name", ["", "A", "a_b", "a.b", "-a", "x" * 129, "a/b/"])
def test_names_are_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InvalidResource, match="block name"):
        Warehouse.load(name)


def test_a_plain_block_is_none() -> None:
    with pytest.raises(InvalidResource, match="derived from it"):
        Block().save("x")


def test_no_secret_is_shown(tmp_path: Path) -> None:
    block = warehouse(headers=SecretDict({"token": SECRET}))
    block.save("prod")
    loaded = Warehouse.load("prod")
    for text in (
        repr(block),
        str(loaded),
        str(loaded.model_dump()),
        repr(loaded.to_document()),
        loaded.model_dump_json(),
    ):
        assert SECRET not in text
    plain = (tmp_path / "blocks/prod.json").read_text()
    assert SECRET not in plain
    (kept,) = (tmp_path / "secrets").glob("*.json")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


class Picky(Block):
    password: SecretStr

    @field_validator("password")
    @classmethod
    def _long(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 100:
            raise ValueError("must be longer")
        return value


class Fleet(Block):
    main: Warehouse


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: Warehouse(host=3, password=SecretStr("")), "block of type warehouse: host: Input should be a valid"),
        (lambda: Warehouse(password=SecretStr("")), "block of type warehouse: host: Field required"),
        (lambda: Lake(host="db", port="x", password=SecretStr("")), "block of type data-lake: port: .*give Lake"),
        (lambda: Fleet(main={"host": 3, "password": "x"}), r"block of type fleet: main\.host: .*give Fleet\(\.\.\.\)"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_its_block(make: Any, problem: str) -> None:
    with pytest.raises(InvalidResource, match=problem):
        make()


def test_no_error_shows_a_secret() -> None:
    with pytest.raises(InvalidResource) as direct:
        Picky(password=SecretStr(SECRET))
    assert SECRET not in "".join(traceback.format_exception(direct.value))
    Picky.model_construct(password=SecretStr(SECRET)).save("short")
    with pytest.raises(
        InvalidResource, match="block short: password: Value error, must be longer; save it again"
    ) as error:
        Picky.load("short")
    assert SECRET not in "".join(traceback.format_exception(error.value))
    assert Picky.load("short", validate=False).password == SECRET


def test_a_block_sets_itself_up_whenever_it_is_made() -> None:
    class Client(Block):
        url: str
        _made: str = ""

        def block_initialization(self) -> None:
            self._made = f"client of {self.url}"

    Client(url="u").save("c")
    assert Client.load("c")._made == "client of u"


def test_a_block_travels_to_other_processes() -> None:
    warehouse().save("prod")
    assert pickle.loads(pickle.dumps(Warehouse.load("prod"))) == Warehouse.load("prod")


def test_async_callers_await_either_name() -> None:
    @flow(blocks=["prod"])
    async def outer() -> Any:
        await warehouse().asave("prod")
        loaded = await Warehouse.aload("prod")
        same = await Warehouse.load("prod")  # type: ignore[misc] # as in Prefect, typed for sync callers
        return loaded == same, await Warehouse.adelete("prod")

    assert asyncio.run(outer()) == (True, True)


@pytest.mark.parametrize(("declared", "warned"), [([], True), (["prod"], False), (["warehouse/prod"], False)])
def test_a_flow_is_told_of_a_block_it_does_not_declare(
    declared: list[str], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Here it works; in a pod it would not be mounted."""
    warehouse().save("prod")

    @flow(blocks=declared)
    def outer() -> str:
        return Warehouse.load("prod").host

    with caplog.at_level(logging.WARNING):
        assert outer() == "db"
    assert ("block prod is not declared" in caplog.text) is warned


@flow(blocks=["prod", "secret/api-key", "prod"])
def outer() -> None: ...


def test_a_flow_says_which_blocks_it_reads() -> None:
    assert outer.blocks == ("prod", "api-key", "prod")
    assert outer.with_options(name="other").blocks == outer.blocks
    assert flow_manifest(outer, "flow:outer", "x", Options())["spec"]["blocks"] == ["prod", "api-key"]
    assert "blocks" not in flow_manifest(outer.with_options(blocks=[]), "flow:outer", "x", Options())["spec"]


@pytest.mark.parametrize("blocks", ["prod", [1], [""], [Warehouse]])
def test_blocks_of_a_flow_are_names(blocks: Any) -> None:
    with pytest.raises(DefinitionError, match="blocks must be a list of names, such as"):

        @flow(blocks=blocks)
        def outer() -> None: ...
