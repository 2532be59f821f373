"""Variables on this machine: JSON values by name, kept once, bounded, overridden by the environment."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import InvalidResource, ResourceExists
from penstock.variables import MAX_VALUE, Variable

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path))


@given(json_values)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_value_comes_back(value: Any) -> None:
    kept = Variable.set("x", value, overwrite=True)
    assert kept.value == Variable.get("x") == value


def test_what_is_not_there_has_the_default() -> None:
    assert Variable.get("none") is None
    assert Variable.get("none", default=3) == 3
    Variable.set("nothing", None)
    assert Variable.get("nothing", default=3) is None


def test_a_value_is_changed_only_where_that_is_meant() -> None:
    Variable.set("x", {"a": 1}, tags=["first"])
    with pytest.raises(ResourceExists, match=r"variable x exists in .*: give overwrite=True to change it"):
        Variable.set("x", 2)
    assert Variable.get("x") == {"a": 1}
    changed = Variable.set("x", {"b": 2}, overwrite=True)
    assert changed == Variable("x", {"b": 2}, ["first"])
    assert Variable.set("x", 1, tags=[], overwrite=True).tags == []


def test_errors_of_values_are_value_errors() -> None:
    """As a Prefect user catches them."""
    Variable.set("x", 1)
    with pytest.raises(ValueError, match="exists"):
        Variable.set("x", 1)


def test_unset_says_whether_it_was_there() -> None:
    Variable.set("x", 1)
    assert [Variable.unset("x"), Variable.unset("x")] == [True, False]
    assert Variable.get("x") is None


def test_underscores_are_dashes() -> None:
    Variable.set("api_url", "u")
    assert Variable.get("api-url") == "u"
    with pytest.raises(ResourceExists):
        Variable.set("api-url", "v")


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a-", "_a", "../a", "a/b", "ä", "a" * 254, "a.b", None, 3])
def test_names_are_refused_with_the_rule(name: Any) -> None:
    for call in (Variable.get, Variable.unset, lambda n: Variable.set(n, 1)):
        with pytest.raises(InvalidResource, match="lower-case letters, digits, dashes and underscores"):
            call(name)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * (MAX_VALUE - 1), f"value has {MAX_VALUE + 1} characters of JSON, and may have {MAX_VALUE}"),
        ({1, 2}, "value is no JSON"),
        (float("nan"), "value is no JSON"),
        ([b"x"], "value is no JSON"),
    ],
    ids=["too large", "a set", "no number", "bytes inside"],
)
def test_values_are_refused_with_the_remedy(value: Any, said: str) -> None:
    with pytest.raises(InvalidResource, match=f"variable x: {said}"):
        Variable.set("x", value)
    assert Variable.get("x") is None


def test_the_largest_value_is_kept() -> None:
    Variable.set("x", "x" * (MAX_VALUE - 2))
    assert len(Variable.get("x")) == MAX_VALUE - 2


@pytest.mark.parametrize("tags", [[""], ["x" * 129], [1], ["t"] * 65])
def test_tags_are_bounded(tags: Any) -> None:
    with pytest.raises(InvalidResource, match="tags are at most"):
        Variable.set("x", 1, tags=tags)


@pytest.mark.parametrize(("text", "value"), [("3", 3), ('{"a": [1]}', {"a": [1]}), ("plain", "plain"), ("", "")])
def test_the_environment_overrides(text: str, value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Variable.set("api_url", "kept")
    monkeypatch.setenv("PENSTOCK_VARIABLE_API_URL", text)
    assert Variable.get("api_url") == Variable.get("api-url") == value


def test_async_callers_await_either_name() -> None:
    async def main() -> Any:
        await Variable.aset("a", 1)
        await Variable.set("b", 2)  # type: ignore[misc] # as in Prefect, typed for sync callers
        there = [await Variable.aget("a"), await Variable.get("b"), await Variable.aget("c", 3)]
        return there, await Variable.aunset("a"), await Variable.unset("b")  # type: ignore[misc]

    assert asyncio.run(main()) == ([1, 2, 3], True, True)


def test_its_repr_is_the_call_that_makes_it() -> None:
    assert repr(Variable.set("x", 1)) == "Variable(name='x', value=1, tags=[])"
