"""Records: what is written is what is read, and everything else is damage."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import DamagedResult
from penstock.results.record import MAGIC, from_bytes, header, make
from penstock.serializers import serializer

VALUES = st.none() | st.integers() | st.text() | st.binary() | st.lists(st.floats(allow_nan=False))


@given(key=st.text(), value=VALUES, expiration=st.none() | st.integers(0, 2**33))
def test_a_record_comes_back(key: str, value: Any, expiration: float | None) -> None:
    made = make(key, value, serializer("pickle"), expiration)
    found = from_bytes(made.to_bytes())
    assert (found.result, found.metadata.key, found.metadata.expiration) == (value, key, expiration)
    assert abs(found.metadata.created - made.metadata.created) < 1e-5


def test_the_header_is_for_people_too() -> None:
    lines = make("totals", {"rows": 3}, serializer("json")).to_bytes().split(b"\n")
    assert lines[0] == b"penstock-result 1"
    shown = json.loads(lines[1])
    assert (shown["serializer"], shown["key"], shown["expiration"], shown["size"]) == ("json", "totals", None, 11)
    assert shown["digest"].startswith("sha256:")
    assert shown["created"].endswith("+00:00")
    assert lines[2] == b'{"rows": 3}'


@given(value=st.text(min_size=1), data=st.data())
def test_any_cut_and_any_changed_byte_of_the_value_is_damage(value: str, data: st.DataObject) -> None:
    whole = make("k", value, serializer("json")).to_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DamagedResult):
        from_bytes(whole[:cut])
    start = whole.index(b"\n", len(MAGIC)) + 1
    place = data.draw(st.integers(start, len(whole) - 1))
    changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    with pytest.raises(DamagedResult, match="digest"):
        from_bytes(changed)
    with pytest.raises(DamagedResult, match="bytes where"):
        from_bytes(whole + b"x")


@pytest.mark.parametrize("data", [b"", b"something else", MAGIC + b"[]\n", MAGIC + b"{}\n", MAGIC + b"\xff\n"])
def test_other_bytes_are_no_record(data: bytes) -> None:
    with pytest.raises(DamagedResult):
        from_bytes(data)


def test_a_header_that_does_not_end_yet() -> None:
    assert header(make("k" * 50, 1, serializer("json")).to_bytes()[:40]) is None


def test_expiration_is_the_first_moment_after() -> None:
    metadata = make("k", 1, serializer("json"), 100.0).metadata
    assert (metadata.expired(99.9), metadata.expired(100.0)) == (False, True)
    assert not make("k", 1, serializer("json")).metadata.expired(1e12)
