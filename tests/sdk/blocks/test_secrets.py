"""A block's content in two parts: the plain one has no secret, and together they are the block again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, Secret, SecretBytes, SecretStr

from penstock.blocks.fields import SecretDict
from penstock.blocks.secrets import joined, split
from penstock.errors import InvalidResource


class Login(BaseModel):
    user: str
    password: SecretStr


class Everything(BaseModel):
    host: str = "h"
    port: int | None = None
    password: SecretStr | None = None
    raw: SecretBytes | None = None
    headers: SecretDict | None = None
    number: Secret[int] | None = None
    text: Secret[str] | None = None
    login: Login | None = None
    logins: dict[str, Login] = {}
    tokens: dict[str, SecretStr] = {}
    mixed: dict[str, Any] = {}
    renamed: SecretStr | None = Field(None, alias="other-name")
    tags: list[str] = []


def again(block: Everything) -> Everything:
    plain, secrets = split(block)
    assert json.loads(json.dumps(plain)) == plain
    return Everything.model_validate(joined(Everything, plain, secrets))


@pytest.mark.parametrize(
    ("content", "secrets"),
    [
        pytest.param({"password": "x"}, {"password": b"x"}, id="a text"),
        pytest.param({"password": "123"}, {"password": b"123"}, id="a text that looks like JSON"),
        pytest.param({"raw": b"\xff\x00"}, {"raw": b"\xff\x00"}, id="bytes"),
        pytest.param({"headers": {"A": [1]}}, {"headers": b'{"A":[1]}'}, id="a mapping that is secret as a whole"),
        pytest.param({"number": 5}, {"number": b"5"}, id="a number"),
        pytest.param({"text": "5"}, {"text": b"5"}, id="a text in a generic secret"),
        pytest.param(
            {"login": {"user": "u", "password": "p"}}, {"login.password": b"p"}, id="a secret of a nested model"
        ),
        pytest.param(
            {"logins": {"a": {"user": "u", "password": "p"}}}, {"logins.a.password": b"p"}, id="models in a mapping"
        ),
        pytest.param(
            {"tokens": {"a-b": "p", "c": "q"}}, {"tokens.a-b": b"p", "tokens.c": b"q"}, id="a mapping of secrets"
        ),
        pytest.param({"other-name": "x"}, {"other-name": b"x"}, id="an alias"),
        pytest.param({"tags": ["a"], "port": 1}, {}, id="none"),
    ],
)
def test_secrets_are_taken_out_by_path_and_put_back(content: Any, secrets: Any) -> None:
    block = Everything.model_validate(content)
    assert split(block)[1] == secrets
    assert again(block) == block


@given(password=st.text(max_size=50), raw=st.binary(max_size=50), headers=st.dictionaries(st.text(), st.text()))
def test_whatever_is_secret_comes_back(password: str, raw: bytes, headers: dict[str, str]) -> None:
    block = Everything(password=SecretStr(password), raw=SecretBytes(raw), headers=SecretDict(headers))
    assert again(block) == block


def test_the_plain_part_has_everything_else() -> None:
    block = Everything.model_validate(
        {"port": 1, "login": {"user": "u", "password": "p"}, "mixed": {"a": 1, "b": SecretStr("s")}}
    )
    plain, secrets = split(block)
    assert plain["login"] == {"user": "u"}
    assert plain["mixed"] == {"a": 1}
    assert (plain["host"], plain["port"], plain["tags"]) == ("h", 1, [])
    assert secrets == {"login.password": b"p", "mixed.b": b"s"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"mixed": {"a": [SecretStr("x")]}}, "field mixed.a: secrets in a list cannot be saved; use a SecretDict"),
        ({"tokens": {"a.b": "x"}}, "field tokens: the key 'a.b' of a secret has a dot"),
        ({"tokens": {"a/b": "x"}}, "field 'tokens.a/b' is secret, and its name becomes a file's"),
        ({"tokens": {"..": "x"}}, "has a dot"),
        ({"tokens": {"a" * 200: "x"}}, "at most 200"),
    ],
)
def test_what_cannot_be_a_file_is_refused(content: Any, said: str) -> None:
    with pytest.raises(InvalidResource, match=said):
        split(Everything.model_validate(content))


def test_a_secret_made_by_hand_may_name_single_keys_of_a_secret_mapping() -> None:
    whole = joined(Everything, {"host": "x"}, {"headers.Authorization": b"Bearer 1"})
    assert Everything.model_validate(whole).headers == SecretDict({"Authorization": "Bearer 1"})


def test_a_secret_below_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(InvalidResource, match=r"secret 'host\.x': the block's data has no mapping at 'host'"):
        joined(Everything, {"host": "x"}, {"host.x": b"y"})
