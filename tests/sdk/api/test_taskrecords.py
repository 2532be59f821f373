"""The format of task records: what is encoded is decoded, damage is an error, and a record is small."""

from __future__ import annotations

import base64
import json
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.api import taskrecords
from penstock.engine.ids import new_id
from penstock.engine.records import TaskRecord

MILLISECOND = 0.001
PLAIN = TaskRecord(
    "id-0", "load", "jobs.load-1a2b", "load-0", "Completed", "Completed", 1, 10.0, 11.0, 12.5, (), None, None
)

names = st.one_of(
    st.text(max_size=20), st.sampled_from(["load", "load-1", "load 2024", "-1", "=", "", "läd-ü-1", "日本-0"])
)
moments = st.floats(min_value=0, max_value=4_000_000_000, allow_nan=False)


@st.composite
def pages(draw: st.DrawFn) -> list[TaskRecord]:
    """Records as a page has them; upstream ids are of this page, of other pages, and of none at all."""
    ids = draw(st.lists(st.one_of(st.text(max_size=12), st.uuids().map(str)), unique=True, max_size=6))
    upstream = st.lists(st.one_of(st.sampled_from(ids or ["x"]), st.text(max_size=12)), max_size=4)
    return [
        TaskRecord(
            identity,
            draw(names),
            draw(names),
            draw(names),
            draw(st.sampled_from(["Completed", "Failed", "Pending"])),
            draw(names),
            draw(st.integers(min_value=0, max_value=2**31)),
            draw(moments),
            draw(st.none() | moments),
            draw(st.none() | moments),
            tuple(draw(upstream)),
            draw(st.none() | st.text(max_size=20)),
            draw(st.none() | st.text(max_size=20)),
        )
        for identity in ids
    ]


def rows(records: list[TaskRecord]) -> list[dict[str, Any]]:
    return [{**record._asdict(), "upstream": list(record.upstream)} for record in records]


@given(pages())
@example([PLAIN._replace(name="load_more"), PLAIN._replace(id="id-1", name="-0"), PLAIN._replace(id="id-2", name="")])
@example(
    [PLAIN._replace(task="", name="-0"), PLAIN._replace(id="id-1", task="=", name="=-0", upstream=("id-0", "id-1"))]
)
@example([PLAIN._replace(id=str(n), upstream=("1", 2 * "1")) for n in range(3)])
def test_what_is_encoded_is_decoded(records: list[TaskRecord]) -> None:
    """All of it, in order; times to the millisecond."""
    decoded = taskrecords.decode(taskrecords.encode(records))
    expected = rows(records)
    for row, wanted in zip(decoded, expected, strict=True):
        for name in ("created", "started", "ended"):
            found, meant = row.pop(name), wanted.pop(name)
            assert (found is None) == (meant is None)
            assert found is None or abs(found - meant) <= MILLISECOND
    assert decoded == expected


@given(pages())
def test_encoding_what_was_decoded_changes_nothing(records: list[TaskRecord]) -> None:
    """So that an archive may be written again without drift."""
    once = taskrecords.decode(taskrecords.encode(records))
    again = [TaskRecord(**{**row, "upstream": tuple(row["upstream"])}) for row in once]
    assert taskrecords.decode(taskrecords.encode(again)) == once


def test_every_field_of_a_record_is_kept() -> None:
    """A field that is added to TaskRecord must be added to the format."""
    assert list(taskrecords.decode(taskrecords.encode([PLAIN]))[0]) == [*taskrecords.FIELDS, "cache_key", "message"]
    assert {*taskrecords.FIELDS, "cache_key", "message"} == set(PLAIN._asdict())


def test_no_records_are_no_records() -> None:
    assert taskrecords.decode(taskrecords.encode([])) == []


DATA = taskrecords.encode(
    [PLAIN._replace(id=f"id-{n}", name=f"load-{n}", upstream=("id-0", "other")) for n in range(5)]
)


@given(st.integers(min_value=0, max_value=len(DATA) - 1))
def test_a_page_that_is_cut_short_is_damaged(length: int) -> None:
    with pytest.raises(ValueError):
        taskrecords.decode(DATA[:length])


@given(st.integers(min_value=0, max_value=len(DATA) - 1), st.characters())
def test_a_character_that_is_another_never_gives_other_records(position: int, character: str) -> None:
    """It is an error, or was of no consequence (the last bits of base64, the level in the header of zlib)."""
    whole = taskrecords.decode(DATA)
    with suppress(ValueError):
        assert taskrecords.decode(DATA[:position] + character + DATA[position + 1 :]) == whole


BODY = json.loads(zlib.decompress(base64.b64decode(DATA)))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


def packed(body: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(body).encode())).decode()


@given(st.data())
def test_what_does_not_hold_together_is_a_value_error(data: st.DataObject) -> None:
    """Valid JSON of another shape never ends in another exception."""
    body = json.loads(json.dumps(BODY))
    parts = [body, body["columns"], body["columns"]["upstream"]]
    for part in data.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=3)):
        key: Any = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        part[key] = data.draw(json_values)
    with suppress(ValueError):
        assert isinstance(taskrecords.decode(packed(body)), list)


@pytest.mark.parametrize("field", ["table", "origin", "columns", "cache_key", "message"])
def test_a_missing_part_is_damage(field: str) -> None:
    with pytest.raises(ValueError, match="damaged page of task records"):
        taskrecords.decode(packed({name: value for name, value in BODY.items() if name != field}))


@pytest.mark.parametrize("column", taskrecords.FIELDS)
def test_a_column_that_is_missing_or_too_short_is_damage(column: str) -> None:
    for content in (None, BODY["columns"][column][:-1]):
        columns = {**BODY["columns"], column: content}
        if column == "id" and content is not None:
            continue  # a record less
        with pytest.raises(ValueError, match="damaged page of task records"):
            taskrecords.decode(packed({**BODY, "columns": columns}))


@pytest.mark.parametrize("body", [None, 1, "text", [], {}, [[]]], ids=repr)
def test_other_json_is_damage(body: Any) -> None:
    with pytest.raises(ValueError, match="damaged page of task records"):
        taskrecords.decode(packed(body))


@pytest.mark.parametrize("data", ["", "%", "YWJj", "YWJj" * 10, "ä"])
def test_what_is_no_page_at_all_is_damage(data: str) -> None:
    with pytest.raises(ValueError, match="damaged page of task records"):
        taskrecords.decode(data)


def etl(count: int) -> list[TaskRecord]:
    """Three tasks a file, each given the one before it, of which every thirtieth fails; in the order they end."""
    records: list[TaskRecord] = []
    clock, above = 1_790_000_000.0, ""
    for number in range(count):
        clock += 0.003 + number % 7 * 0.011
        task = ("extract_orders", "transform_orders", "load_orders")[number % 3]
        bad = number % 30 == 0
        identity = new_id()
        records.append(
            TaskRecord(
                identity,
                task,
                f"pipelines.orders.{task}-5f0c2a91",
                f"{task}-{number // 3}",
                "Failed" if bad else "Completed",
                "Failed" if bad else "Completed",
                3 if bad else 1,
                clock,
                clock + number % 11 * 0.007,
                clock + number % 11 * 0.007 + number % 23 * 0.231,
                (above,) if number % 3 else (),
                None,
                f"ValueError: row {number} of orders-{number}.csv has no customer" if bad else None,
            )
        )
        above = identity
    return sorted(records, key=lambda record: record.ended or 0.0)


def test_a_record_costs_less_than_its_budget() -> None:
    """At most 120 bytes amortised a record without cache keys; this page of a thousand stays far below."""
    assert len(taskrecords.encode(etl(1000))) / 1000 <= 120


def test_even_ids_that_share_nothing_stay_within_the_budget() -> None:
    """Upstream ids on other pages included: the worst that a realistic page can be."""
    strangers = [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}-{n * 0xC2B2AE3D27D4EB4F % 2**64:016x}" for n in range(2000)]
    worst = [r._replace(id=strangers[n], upstream=(strangers[1000 + n],)) for n, r in enumerate(etl(1000))]
    assert len(taskrecords.encode(worst)) / 1000 <= 120
