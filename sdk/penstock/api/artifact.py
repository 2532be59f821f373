"""The Artifact kind: something a run wants to show to people."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .schema import AGE, Column, JsonValue, Kind, Label, LongText, Model, ObjectName, Resource, Rule, Uid


class ArtifactSource(Model):
    """The run, and the task run, that made it."""

    name: ObjectName
    """Name of the FlowRun."""
    uid: Uid
    """Its uid."""
    task_run: Annotated[str, Field(max_length=64)] | None = None
    """Id of the task run."""


class ArtifactSpec(Model):
    """What an artifact holds."""

    rules = (Rule("self.type == oldSelf.type", "type is immutable", ".type"),)

    key: Label | None = None
    """Key under which versions follow each other; none for an artifact by itself."""
    type: Literal["markdown", "table", "link", "progress", "image"]
    """How `data` is shown."""
    description: LongText | None = None
    """What it shows."""
    data: JsonValue
    """The content: text, a URL, a percentage, or a table: {columns, rows}, or a list of mappings or of lists."""
    run: ArtifactSource | None = None
    """Who made it."""


class Artifact(Resource):
    """An artifact of a run."""

    about: ClassVar[Kind] = Kind(
        "Artifact",
        "artifacts",
        "art",
        columns=(
            Column("Key", ".spec.key"),
            Column("Type", ".spec.type"),
            Column("Run", ".spec.run.name"),
            AGE,
        ),
        selectable=(".spec.key", ".spec.type", ".spec.run.name"),
        has_status=False,
    )

    spec: ArtifactSpec
    """What it holds."""
