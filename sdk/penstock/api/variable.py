"""The Variable kind: one JSON value by name."""

from __future__ import annotations

from typing import ClassVar

from .schema import AGE, Column, JsonValue, Kind, LongText, Model, Resource, Tags


class VariableSpec(Model):
    """What a variable holds."""

    value: JsonValue
    """Any JSON value."""
    description: LongText | None = None
    """What the variable is for."""
    tags: Tags | None = None
    """Tags."""


class Variable(Resource):
    """A variable."""

    about: ClassVar[Kind] = Kind(
        "Variable", "variables", "var", columns=(Column("Value", ".spec.value"), AGE), has_status=False
    )

    spec: VariableSpec
    """What it holds."""
