"""Serializers: values come back, names lead back, errors say what to do."""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from penstock.errors import ConfigurationError, SerializationError
from penstock.serializers import (
    CompressedJSONSerializer,
    CompressedPickleSerializer,
    CompressedSerializer,
    JSONSerializer,
    PickleSerializer,
    Serializer,
    serializer,
)

NAMES = ["pickle", "json", "compressed/pickle", "compressed/json", "compressed/json:lzma"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@dataclass
class Point:
    x: int
    at: datetime


class Model(BaseModel):
    name: str
    places: set[Path]


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize("name", NAMES)
@given(value=JSON)
def test_json_values_come_back_equal(name: str, value: Any) -> None:
    how = serializer(name)
    assert how.loads(how.dumps(value)) == value


@pytest.mark.parametrize("name", NAMES)
def test_a_serializer_is_found_by_the_name_it_has(name: str) -> None:
    assert serializer(name).name == name
    assert serializer(serializer(name).name) == serializer(name)


@pytest.mark.parametrize(
    "value",
    [
        Point(1, datetime(2026, 1, 2, tzinfo=UTC)),
        Model(name="a", places={Path("/b")}),
        {"when": datetime(2026, 1, 2, tzinfo=UTC), "id": UUID(int=5)},
        [Colour.RED, {1, 2}, b"bytes"],
    ],
    ids=["a dataclass", "a pydantic model", "values inside of a dict", "enums, sets and bytes in a list"],
)
def test_json_names_the_class_of_what_it_has_no_word_for(value: Any) -> None:
    how = JSONSerializer()
    assert how.loads(how.dumps(value)) == value


def test_json_is_readable_by_others() -> None:
    assert JSONSerializer().dumps({"rows": [1, None]}) == b'{"rows": [1, null]}'


def test_an_object_that_only_looks_like_ours_stays_as_it_is() -> None:
    how = JSONSerializer()
    for value in ({"__class__": 5, "data": 1}, {"__class__": "a:b", "data": 1, "more": 2}, {"__class__": "a:b"}):
        assert how.loads(how.dumps(value)) == value


def test_encoders_of_your_own() -> None:
    how = JSONSerializer(object_encoder=repr, object_decoder=lambda found: list(found), dumps_kwargs={"indent": 1})
    assert how.loads(how.dumps({"a": object})) == ["a"]
    assert b"\n" in how.dumps({"a": 1})


def test_pickle_takes_what_has_no_module() -> None:
    how = PickleSerializer()
    assert how.loads(how.dumps(lambda x: x + 1))(2) == 3
    assert PickleSerializer("pickle").loads(how.dumps((1, {2}))) == (1, {2})


@pytest.mark.parametrize(
    ("how", "value", "words"),
    [
        (PickleSerializer(), threading.Lock(), "lock cannot be pickled.*persist_result=False"),
        (JSONSerializer(), threading.Lock(), "lock cannot be written as JSON.*pickle serializer"),
        (JSONSerializer(), {1j: 2}, "cannot be written as JSON"),
        (CompressedPickleSerializer(), threading.Lock(), "cannot be pickled"),
    ],
    ids=["pickle", "json", "json keys", "compressed"],
)
def test_values_that_cannot_be_written(how: Serializer, value: Any, words: str) -> None:
    with pytest.raises(SerializationError, match=words):
        how.dumps(value)


@pytest.mark.parametrize("name", NAMES)
def test_bytes_that_cannot_be_read(name: str) -> None:
    with pytest.raises(SerializationError):
        serializer(name).loads(b"\x01 no value")


def test_compression_is_real() -> None:
    value = ["the same"] * 1000
    for how in (CompressedPickleSerializer(), CompressedJSONSerializer(), CompressedJSONSerializer("bz2")):
        assert len(how.dumps(value)) < len(how.serializer.dumps(value)) / 3
    assert CompressedSerializer("json", "lzma").name == "compressed/json:lzma"


def test_a_serializer_of_your_own_is_found_by_its_type() -> None:
    class Words(Serializer):
        type = "words"

        def dumps(self, obj: Any) -> bytes:
            return " ".join(obj).encode()

        def loads(self, blob: bytes) -> Any:
            return blob.decode().split()

    assert isinstance(serializer("words"), Words)
    assert serializer("compressed/words").loads(CompressedSerializer(Words()).dumps(["a", "b"])) == ["a", "b"]


@pytest.mark.parametrize("wanted", ["yaml", "compressed", "compressed/", "compressed/yaml", "", 5])
def test_unknown_names_are_refused_with_those_that_exist(wanted: Any) -> None:
    with pytest.raises(ConfigurationError, match="serializer"):
        serializer(wanted)


def test_modules_that_do_not_serve_are_refused_when_they_are_named() -> None:
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        PickleSerializer("no_such_module")
    with pytest.raises(ConfigurationError, match="has no compress"):
        CompressedSerializer("json", "json")
