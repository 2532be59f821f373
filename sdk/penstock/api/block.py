"""The Block kind: typed configuration that flows and automations use, with its secrets kept in Secrets."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from .pods import SecretKeyRef
from .schema import (
    AGE,
    READY_COLUMNS,
    Column,
    Conditions,
    Count,
    JsonObject,
    Kind,
    LongText,
    Model,
    Resource,
    Rule,
    Word,
)


class BlockSpec(Model):
    """What a block holds."""

    rules = (
        Rule(
            "!has(self.secrets) || self.secrets.all(path, path.matches('^[A-Za-z0-9_][A-Za-z0-9_-]*"
            "([.][A-Za-z0-9_][A-Za-z0-9_-]*)*$') && size(path) <= 200)",
            "secrets: each is named by the path of its field, such as password or login.password, at most 200 long",
            ".secrets",
        ),
    )

    type: Word
    """Type of the block, such as S3 or Webhook."""
    description: LongText | None = None
    """What the block is for."""
    data: JsonObject | None = None
    """Fields that are no secret."""
    secrets: Annotated[dict[str, SecretKeyRef], Field(max_length=64)] | None = None
    """Fields that are, by path, each as a key of a Secret."""


class BlockStatus(Model):
    """What is known of a block."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready: it is valid against its type."""


class Block(Resource):
    """A typed piece of configuration."""

    about: ClassVar[Kind] = Kind(
        "Block",
        "blocks",
        "blk",
        columns=(Column("Type", ".spec.type"), *READY_COLUMNS, AGE),
        selectable=(".spec.type",),
    )

    spec: BlockSpec
    """What it holds."""
    status: BlockStatus | None = None
    """What is known."""
