"""The models that input must fit: `RunInput`, and one made for any other type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError, create_model

from ..errors import InvalidRunInput

if TYPE_CHECKING:
    from typing import Self

    from ..states import State
    from .messages import InputIterator


class Keyset(TypedDict):
    """Names of what belongs to one input: the answer, its schema, and a description."""

    description: str
    response: str
    schema: str


def keyset_from_base_key(base_key: str) -> Keyset:
    """The names under one base key."""
    return {
        "description": f"{base_key}-description",
        "response": f"{base_key}-response",
        "schema": f"{base_key}-schema",
    }


def keyset_from_paused_state(state: State[Any]) -> Keyset:
    """The names for a paused run's input; raises RuntimeError for other states."""
    if not state.is_paused():
        raise RuntimeError(f"a {state.name} run waits for no input")
    return keyset_from_base_key(f"{state.name.lower()}-{state.id}")


@dataclass(frozen=True, slots=True)
class RunInputMetadata:
    """Where a message comes from and goes to."""

    key: str
    """Name of its kind."""
    sender: str | None
    """`penstock.flow-run.<id>` where a run sent it."""
    receiver: str
    """Id of the flow run it was sent to."""


class RunInput(BaseModel):
    """A model that a paused run, or a run that receives messages, waits for."""

    model_config = ConfigDict(extra="forbid")

    wraps_value: ClassVar[bool] = False

    _metadata: RunInputMetadata | None = PrivateAttr(default=None)

    @property
    def metadata(self) -> RunInputMetadata:
        """Where a received message comes from."""
        if self._metadata is None:
            raise RuntimeError(f"this {type(self).__name__} was not received as a message")
        return self._metadata

    @classmethod
    def with_initial_data(cls, description: str | None = None, **initial: Any) -> type[Self]:
        """The same model with these values as defaults, and a text that says what is asked for."""
        fields: dict[str, Any] = {name: (cls.model_fields[name].annotation, value) for name, value in initial.items()}
        made: type[Self] = create_model(cls.__name__, __base__=cls, **fields)
        if description is not None:
            made.__doc__ = description
        return made

    @classmethod
    def receive(cls, timeout: float | None = 3600, **options: Any) -> InputIterator[Self]:
        """Messages of this model to the current flow run."""
        from .messages import receive_input

        return receive_input(cls, timeout, **options)

    def send_to(self, flow_run_id: str, sender: str | None = None, key_prefix: str | None = None) -> None:
        """Send this to a flow run."""
        from .messages import send_input

        send_input(self, flow_run_id, sender, key_prefix)

    def respond(self, run_input: Any, sender: str | None = None, key_prefix: str | None = None) -> None:
        """Send something back to the flow run that sent this."""
        from .messages import send_input

        origin = self.metadata.sender
        if origin is None or not origin.startswith(SENDER):
            raise RuntimeError("this message was not sent by a flow run: there is nobody to respond to")
        send_input(run_input, origin.removeprefix(SENDER), sender, key_prefix)


SENDER = "penstock.flow-run."


class AutomaticRunInput(RunInput):
    """The model of a type that is none: its one field is `value`."""

    wraps_value: ClassVar[bool] = True
    value: Any


def run_input_of(wanted: Any) -> type[BaseModel]:
    """The model for what was asked for: pydantic models as they are, other types wrapped."""
    if isinstance(wanted, type) and issubclass(wanted, BaseModel):
        return wanted
    name = f"{getattr(wanted, '__name__', 'value')}_input"
    return create_model(name, __base__=AutomaticRunInput, value=(wanted, ...))


def run_input_subclass_from_type(wanted: type[Any]) -> type[BaseModel]:
    """Prefect's name for `run_input_of`."""
    return run_input_of(wanted)


def validated(model: type[BaseModel], given: Any) -> Any:
    """The model's instance; a value for a wrapped type may come bare. Raises InvalidRunInput, with each field."""
    if isinstance(given, model):
        return given
    if isinstance(given, BaseModel):
        given = given.model_dump()
    if getattr(model, "wraps_value", False) and not (isinstance(given, Mapping) and set(given) == {"value"}):
        given = {"value": given}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        found = "; ".join(
            f"{'.'.join(str(part) for part in e['loc']) or model.__name__}: {e['msg']}" for e in error.errors()
        )
        raise InvalidRunInput(f"the input is no {model.__name__}: {found}") from None
