"""Names of runs, from templates, functions and chance."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest

from penstock.engine.names import random_name, render

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
    assert render(template, PARAMETERS) == name


def test_a_template_that_names_no_parameter_is_an_error() -> None:
    with pytest.raises(KeyError, match="tabel"):
        render("load-{tabel}", PARAMETERS)


def test_functions_may_take_the_parameters() -> None:
    assert render(lambda: "load", PARAMETERS) == "load"
    assert render(lambda parameters: f"load-{parameters['table']}", PARAMETERS) == "load-orders"


def test_a_function_cannot_change_the_parameters() -> None:
    def meddle(parameters: dict[str, Any]) -> str:
        parameters.clear()
        return "load"

    render(meddle, PARAMETERS)
    assert PARAMETERS["table"] == "orders"


def test_a_function_must_return_a_name() -> None:
    with pytest.raises(TypeError, match="must return the run's name as str, not int"):
        render(lambda: 3, PARAMETERS)  # type: ignore[arg-type, return-value]


def test_nobodys_names_are_as_generate_name_makes_them() -> None:
    assert re.fullmatch(r"etl-[a-z0-9]{5}", random_name("etl"))
