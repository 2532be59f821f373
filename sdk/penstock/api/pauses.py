"""Pauses of a run: what it waits for, what it was answered, and the answer as it is asked for in the spec."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .schema import JsonObject, Model, Time


class Resume(Model):
    """The answer to one pause."""

    pause: Annotated[str, Field(min_length=1, max_length=64)]
    """`status.pause.id` of the pause that is answered; an answer to another pause does nothing."""
    input: JsonObject | None = None
    """Input that the pause asked for; checked against `status.pause.schema`."""


class Pause(Model):
    """What a paused run waits for."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    """Identity of this pause; an answer names it."""
    key: Annotated[str, Field(max_length=256)] | None = None
    """Name that user code gave it."""
    json_schema: Annotated[JsonObject | None, Field(alias="schema")] = None
    """JSON Schema of the input that is wanted."""
    deadline: Time | None = None
    """When waiting ends."""


class PauseAnswer(Model):
    """A pause that was answered: what starts again from its top does not ask again."""

    pause: Annotated[str, Field(min_length=1, max_length=64)]
    """`id` of the pause."""
    input: JsonObject | None = None
    """The input; it fits the pause's schema."""
    time: Time
    """When it was taken."""
