"""Names of runs, from templates, functions and chance."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from penstock.engine.names import random_name, render
from penstock.errors import BadTemplate

PARAMETERS = {"table": "orders", "day": date(2026, 1, 31), "options": {"deep": 1}}


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("load", "load"),
        ("load-{table}", "load-orders"),
        ("{table}-{day:%Y%m%d}", "orders-20260131"),
        ("{options[deep]}", "1"),
        ("{{braces}}", "{braces}"),
    ],
)
def test_templates_are_filled_with_parameters(template: str, name: str) -> None:
    assert render(template, PARAMETERS, "flow_run_name") == name


@pytest.mark.parametrize(
    ("template", "wrong"),
    [
        ("load-{tabel}", "there is no 'tabel'"),
        ("{options[deeper]}", "there is no 'deeper'"),
        ("{table.size}", "AttributeError: .*size"),
        ("{table:%Y}", "ValueError: "),
        ("{}", "IndexError: "),
        ("{table", "ValueError: "),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_an_error_that_says_what_it_may_name(template: str, wrong: str) -> None:
    text = (
        rf"^flow_run_name {re.escape(repr(template))} cannot be filled in: {wrong}.*; it may name table, day, options,"
    )
    with pytest.raises(BadTemplate, match=text) as caught:
        render(template, PARAMETERS, "flow_run_name")
    assert isinstance(caught.value, KeyError)  # as code that comes from Prefect may catch it


def test_functions_may_take_the_parameters() -> None:
    assert render(lambda: "load", PARAMETERS, "flow_run_name") == "load"
    assert render(lambda parameters: f"load-{parameters['table']}", PARAMETERS, "flow_run_name") == "load-orders"


def test_a_function_cannot_change_the_parameters() -> None:
    def meddle(parameters: dict[str, Any]) -> str:
        parameters.clear()
        return "load"

    render(meddle, PARAMETERS, "flow_run_name")
    assert PARAMETERS["table"] == "orders"


def test_a_function_must_return_a_name() -> None:
    with pytest.raises(TypeError, match="must return the run's name as str, not int"):
        render(lambda: 3, PARAMETERS, "flow_run_name")  # type: ignore[arg-type, return-value]


def test_nobodys_names_are_as_generate_name_makes_them() -> None:
    assert re.fullmatch(r"etl-[a-z0-9]{5}", random_name("etl"))
