"""Tables keep their columns in order, and come back as rows."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import tables
from penstock.errors import InvalidResource

cells = st.none() | st.booleans() | st.integers() | st.text(max_size=5)


def through_an_api_server(data: Any) -> Any:
    """Which keeps JSON objects with their keys sorted."""
    return json.loads(json.dumps(data, sort_keys=True, allow_nan=False))


@given(st.lists(st.dictionaries(st.text(max_size=3), cells, min_size=1), min_size=1, max_size=5))
def test_rows_come_back_with_their_columns_in_order(table: list[dict[str, Any]]) -> None:
    """A column that a row does not have is null in it."""
    columns = list(dict.fromkeys(name for row in table for name in row))
    found = tables.rows(through_an_api_server(tables.kept(table)))
    assert [list(row.items()) for row in found] == [[(name, row.get(name)) for name in columns] for row in table]


@given(st.lists(st.lists(cells, max_size=4), max_size=4))
def test_lists_come_back_as_they_were(table: list[list[Any]]) -> None:
    assert tables.rows(through_an_api_server(tables.kept(table))) == table


@pytest.mark.parametrize(
    ("table", "found"),
    [
        ({"b": [1, 2], "a": (3,)}, [{"b": 1, "a": 3}, {"b": 2, "a": None}]),
        ({}, []),
        ([], []),
        ([{1: {2}}], [{"1": "{2}"}]),
        ([[date(2026, 1, 2), Decimal("1.5"), float("nan"), float("-inf")]], [["2026-01-02", "1.5", None, None]]),
        ([{"a": {"x": (1, float("nan"))}}], [{"a": {"x": [1, None]}}]),
    ],
)
def test_whatever_people_give_becomes_json(table: Any, found: Any) -> None:
    assert tables.rows(through_an_api_server(tables.kept(table))) == found


@pytest.mark.parametrize("table", ["rows", None, 3, [{"a": 1}, [1]], [1], ["ab"]])
def test_what_is_no_table_is_refused(table: Any) -> None:
    with pytest.raises(InvalidResource, match="artifact table: "):
        tables.kept(table)


@pytest.mark.parametrize("data", [[{"a": 1}], [[1]], {"a": [1]}, "text"])
def test_tables_made_by_hand_are_left_as_they_are(data: Any) -> None:
    assert tables.rows(data) == data
