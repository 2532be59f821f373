"""What is wrong with a block, without anything of its values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.blocks import Secret
from penstock_operator.core.blocks import SECRET, problems
from penstock_operator.core.resolve import MAX_BLOCKS

KEY = {"name": "s", "key": "k"}


def block(type_: str = "warehouse", name: str = "prod", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"type": type_, **spec}}


GOOD = {
    "nothing but a type": block(),
    "data": block(data={"host": "db", "login": {"user": "u"}}),
    "a secret field": block(data={"host": "db"}, secrets={"password": KEY}),
    "a secret in an object of the data": block(data={"login": {"user": "u"}}, secrets={"login.password": KEY}),
    "a secret in an object that is secret alone": block(secrets={"login.password": KEY, "login.token": KEY}),
    "names that begin alike": block(secrets={"login": KEY, "login_name": KEY}),
    "one secret value": block(SECRET, secrets={"value": KEY}),
    "one secret value as JSON": block(SECRET, data={"encoding": "json"}, secrets={"value": KEY}),
    "a name of one letter": block(name="p"),
}
BAD = {
    "a name that no flow loads": (block(name="prod.eu"), "metadata.name: flows load blocks by lower-case letters"),
    "a name that is too long": (block(name="p" * 129), "metadata.name"),
    "a secret that stands in the clear": (
        block(data={"password": "hunter2"}, secrets={"password": KEY}),
        "spec.data.password: it stands in spec.secrets as well: take it out of the data",
    ),
    "an inner one": (
        block(data={"login": {"password": "hunter2"}}, secrets={"login.password": KEY}),
        "spec.data.login.password: it stands in spec.secrets as well",
    ),
    "a secret inside of a text": (
        block(data={"login": {"at": "hunter2"}}, secrets={"login.at.password": KEY}),
        "spec.secrets: login.at.password needs an object at spec.data.login.at",
    ),
    "a secret inside of a secret": (
        block(secrets={"login": KEY, "login.password": KEY}),
        "spec.secrets: login.password lies inside of login, which is secret as a whole",
    ),
    "more data than pods take": (
        block(data={"text": "x" * MAX_BLOCKS}),
        f"bytes of JSON, and all blocks of a flow may have {MAX_BLOCKS}",
    ),
    "a secret without its value": (block(SECRET), "spec.secrets.value: a block of type secret needs it"),
    "a secret in the clear": (block(SECRET, data={"value": "hunter2"}), "spec.data.value: a block of type secret has"),
    "an unknown encoding": (
        block(SECRET, data={"encoding": "hunter2"}, secrets={"value": KEY}),
        "spec.data.encoding: must be text or json",
    ),
}


@pytest.mark.parametrize("body", GOOD.values(), ids=GOOD)
def test_nothing_is_wrong_with(body: dict[str, Any]) -> None:
    assert problems(body) == []


@pytest.mark.parametrize(("body", "problem"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_told_with_its_field(body: dict[str, Any], problem: str) -> None:
    (found,) = problems(body)
    assert problem in found
    assert "hunter2" not in found


def test_what_is_wrong_is_told_all_together() -> None:
    assert len(problems(block(SECRET, name="a.b", data={"encoding": "x"}))) == 3


def test_the_type_that_the_cluster_knows_is_the_one_that_penstock_brings() -> None:
    assert Secret.get_block_type_slug() == SECRET


@given(st.text(max_size=5), st.sampled_from(["text", "json"]))
def test_what_penstock_saves_is_valid(value: str, encoding: str) -> None:
    """As its own class splits it."""
    document = Secret(value=value, encoding=encoding).to_document()  # type: ignore[arg-type]
    body = block(document.type, data=document.data, secrets=dict.fromkeys(document.secrets, KEY))
    assert problems(body) == []
