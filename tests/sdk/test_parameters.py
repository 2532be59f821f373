"""Arguments bound to names, and values coerced by annotations."""

from __future__ import annotations

import datetime as dt
import inspect
from typing import Annotated, Any, Literal, Optional

import pytest
from pydantic import BaseModel, Field

from penstock.errors import InvalidParameters, ParameterBind
from penstock.parameters import Signature, fits, validate


class Row(BaseModel):
    """A model as a parameter."""

    id: int
    tags: list[str] = []


class Handle:
    """A class that pydantic knows nothing of."""


def coerced(fn: Any, **parameters: Any) -> dict[str, Any]:
    signature = Signature(fn)
    return validate(signature, signature.with_defaults(parameters))


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (int, "5", 5),
        (float, 5, 5.0),
        (bool, "yes", True),
        (Optional[int], None, None),  # noqa: UP045
        (int | None, "3", 3),
        (list[int], ["1", 2], [1, 2]),
        (dict[str, float], {"a": 1}, {"a": 1.0}),
        (dt.date, "2026-01-02", dt.date(2026, 1, 2)),
        (Literal["a", "b"], "b", "b"),
        (Annotated[int, Field(ge=1)], "2", 2),
        (Row, {"id": "1"}, Row(id=1)),
        (tuple[int, str], ["1", "x"], (1, "x")),
    ],
)
def test_values_become_what_the_annotation_says(annotation: Any, given: Any, expected: Any) -> None:
    def fn(x: Any) -> None: ...

    fn.__annotations__["x"] = annotation
    result = coerced(fn, x=given)["x"]
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "given", "path"),
    [
        (int, "five", "x: "),
        (int, 1.5, "x: "),
        (list[int], [1, "b"], "x.1: "),
        (Row, {"id": 1, "tags": [3]}, "x.tags.0: "),
        (Literal["a"], "c", "x: "),
        (Annotated[int, Field(ge=1)], 0, "x: "),
        (Handle, 3, "x: "),
    ],
)
def test_what_does_not_fit_is_named_by_its_path(annotation: Any, given: Any, path: str) -> None:
    def fn(x: Any) -> None: ...

    fn.__annotations__["x"] = annotation
    with pytest.raises(InvalidParameters) as caught:
        coerced(fn, x=given)
    assert path in str(caught.value)
    assert caught.value.errors[0][0] == path[:-2]


def test_every_wrong_parameter_is_told_at_once() -> None:
    def fn(x: int, y: int) -> None: ...

    with pytest.raises(InvalidParameters, match=r"x: .*; y: "):
        coerced(fn, x="a", y="b")


def test_variadic_parameters_are_coerced_item_by_item() -> None:
    def fn(a: int, /, *more: int, **named: float) -> None: ...

    signature = Signature(fn)
    parameters = validate(signature, signature.bind(("1", "2"), {"k": "3"}))
    assert parameters == {"a": 1, "more": (2,), "named": {"k": 3.0}}
    assert signature.arguments(parameters) == ((1, 2), {"k": 3.0})


def test_a_manifests_parameters_are_completed_by_defaults() -> None:
    def fn(a: int, /, b: int = 2, *, c: int = 3, **rest: int) -> None: ...

    assert Signature(fn).with_defaults({"a": 1, "d": 4}) == {"a": 1, "b": 2, "c": 3, "rest": {"d": 4}}


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1,), {"a": 1}), ((1,), {"z": 1}), ((1,), {"b": 2, "z": 1})]
)
def test_calls_that_do_not_fit_are_refused(args: Any, kwargs: Any) -> None:
    def fn(a: int, b: int = 2) -> None: ...

    with pytest.raises(ParameterBind, match=r"fn\(a: "):
        Signature(fn).bind(args, kwargs)


def test_parameters_come_in_the_order_of_the_signature() -> None:
    def fn(a: Any, b: Any) -> None: ...

    assert Signature(fn).bind((), {"b": 1, "a": 2}) == {"a": 2, "b": 1}


def test_annotations_that_cannot_be_resolved_say_what_to_do() -> None:
    def fn(x: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(InvalidParameters, match="TYPE_CHECKING"):
        coerced(fn, x=1)


@pytest.mark.parametrize(
    ("value", "annotation", "expected"),
    [
        (1, int, True),
        (True, int, False),
        (1, float, False),
        ([1, 2], list[int], True),
        ([1, "x"], list[int], False),
        ({"a": [1]}, dict[str, list[int]], True),
        (None, int | None, True),
        ("x", int | None, False),
        (Handle(), Handle, False),
        (object(), Any, True),
    ],
)
def test_fits_is_sure_or_says_no(value: Any, annotation: Any, expected: bool) -> None:
    assert fits(value, annotation) is expected


ALIASED: dict[str, tuple[Any, Any, bool]] = {
    "no annotation": (inspect.Parameter.empty, [1], True),
    "Any": (Any, [1], True),
    "list": (list, [1], False),
    "list[int]": (list[int], [1], False),
    "dict": (dict, {"a": 1}, False),
    "dict[str, int]": (dict[str, int], {"a": 1}, False),
    "set": (set, {1}, False),
    "list | None": (list | None, [1], False),
    "a model": (Row, Row(id=1), True),
}


@pytest.mark.parametrize("name", ALIASED)
def test_what_the_caller_still_holds(name: str) -> None:
    """A container that an annotation names is a copy, as pydantic makes it; all else is the caller's."""
    annotation, given, same = ALIASED[name]

    def f(x: Any) -> None: ...

    f.__annotations__ = {} if annotation is inspect.Parameter.empty else {"x": annotation}
    assert coerced(f, x=given)["x"] == given
    assert (coerced(f, x=given)["x"] is given) is same


def test_copies_go_as_deep_as_the_annotation() -> None:
    rows: list[Any] = [[1], [2]]

    def deep(x: list[list[int]]) -> None: ...

    def shallow(x: list[Any]) -> None: ...

    def within(x: dict[str, list[int]]) -> None: ...

    assert coerced(deep, x=rows)["x"][0] is not rows[0]
    assert coerced(shallow, x=rows)["x"][0] is rows[0]
    assert coerced(within, x={"a": rows[0]})["x"]["a"] is not rows[0]
