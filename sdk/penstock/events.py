"""`emit_event`: tell the world that something happened. On this machine it is logged; in a pod it becomes an Event.

Never blocks: in a pod the event waits in a bounded queue until the thread that reports for the run sends it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .context import FLOW
from .engine import reporting
from .engine.ids import new_id
from .errors import InvalidEvent
from .settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

__all__ = ["Event", "RelatedResource", "Resource", "emit_event", "emitted_events"]

RESOURCE_ID = "penstock.resource.id"
RESOURCE_NAME = "penstock.resource.name"
RESOURCE_ROLE = "penstock.resource.role"
FOLLOWS_WITHIN = 300.0  # seconds: an event further from the one it follows is told apart from it anyway

MAX_NAME, MAX_ID = 128, 64
MAX_LABELS, MAX_LABEL, MAX_VALUE = 32, 128, 1024
MAX_RELATED = 16
MAX_RESOURCE_BYTES, MAX_RELATED_BYTES, MAX_PAYLOAD_BYTES = 8_192, 16_384, 32_768


class Resource(dict[str, str]):
    """What an event is about: labels, of which `penstock.resource.id` says which one it is.

    Raises InvalidEvent where that is missing, or there are too many.
    """

    def __init__(self, *labels: Any, **more: str) -> None:
        super().__init__(*labels, **more)
        _check_labels("resource", self)

    @property
    def id(self) -> str:
        """Which one it is."""
        return self[RESOURCE_ID]

    @property
    def name(self) -> str | None:
        """What people call it."""
        return self.get(RESOURCE_NAME)


class RelatedResource(Resource):
    """What else has to do with an event; `penstock.resource.role` says what."""

    def __init__(self, *labels: Any, **more: str) -> None:
        super().__init__(*labels, **more)
        if not self.get(RESOURCE_ROLE):
            raise InvalidEvent(f"related: needs {RESOURCE_ROLE!r}, which says what it is to the event")

    @property
    def role(self) -> str:
        """What it is to the event."""
        return self[RESOURCE_ROLE]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, to something."""

    event: str
    """What happened: `order.shipped`."""
    resource: Mapping[str, str]
    """To what: labels, of which `penstock.resource.id` is its name."""
    occurred: datetime
    """When."""
    related: tuple[Mapping[str, str], ...] = ()
    """What else has to do with it; each has an id, and a `penstock.resource.role`."""
    payload: Mapping[str, Any] = field(default_factory=dict)
    """JSON that says more."""
    id: str = field(default_factory=new_id)
    """The same id never makes a second event of a run."""
    follows: str | None = None
    """Id of the event that this one comes after."""


def emit_event(
    event: str,
    resource: Mapping[str, str],
    occurred: datetime | None = None,
    related: Sequence[Mapping[str, str]] | None = None,
    payload: Mapping[str, Any] | None = None,
    id: UUID | str | None = None,
    follows: Event | None = None,
) -> Event:
    """Emit an event and go on; raises `InvalidEvent` where it lacks something or is too large."""
    from datetime import UTC, datetime

    made = Event(
        event,
        dict(resource),
        datetime.now(UTC) if occurred is None else occurred,
        tuple(dict(other) for other in related or ()),
        dict(payload or {}),
        new_id() if id is None else str(id),
    )
    check(made)
    if follows is not None and abs((made.occurred - follows.occurred).total_seconds()) < FOLLOWS_WITHIN:
        object.__setattr__(made, "follows", follows.id)
    context = FLOW.get()
    reporter = reporting.of_process if context is None else context.reporter  # a thread of user code has no context
    if isinstance(reporter, reporting.EventReporter):
        reporter.event_emitted(made)
    else:
        keep(made)
    return made


def check(event: Event) -> None:
    """Raise `InvalidEvent`, naming the field, for what the API server would not take, or etcd should not."""
    name: Any = event.event
    if not isinstance(name, str) or not 1 <= len(name) <= MAX_NAME:
        raise InvalidEvent(f"event: must be a name of 1 to {MAX_NAME} characters, not {name!r:.80}")
    if not 1 <= len(event.id) <= MAX_ID:
        raise InvalidEvent(f"id: must have 1 to {MAX_ID} characters, not {len(event.id)}")
    if getattr(event.occurred, "tzinfo", None) is None:
        raise InvalidEvent(f"occurred: must be a datetime with a timezone, not {event.occurred!r}")
    _check_labels("resource", event.resource)
    _sized("resource", event.resource, MAX_RESOURCE_BYTES)
    if len(event.related) > MAX_RELATED:
        raise InvalidEvent(f"related: at most {MAX_RELATED} resources, not {len(event.related)}")
    for number, other in enumerate(event.related):
        _check_labels(f"related[{number}]", other)
    _sized("related", event.related, MAX_RELATED_BYTES)
    _sized("payload", event.payload, MAX_PAYLOAD_BYTES)


def _check_labels(where: str, labels: Mapping[Any, Any]) -> None:
    if not labels.get(RESOURCE_ID):
        raise InvalidEvent(f"{where}: needs {RESOURCE_ID!r}, which says what it is")
    if len(labels) > MAX_LABELS:
        raise InvalidEvent(f"{where}: at most {MAX_LABELS} labels, not {len(labels)}")
    for name, value in labels.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise InvalidEvent(f"{where}: labels and their values are strings, and {name!r}: {value!r:.80} is not")
        if len(name) > MAX_LABEL or len(value) > MAX_VALUE:
            raise InvalidEvent(
                f"{where}: {name[:MAX_LABEL]!r} is too long: "
                f"at most {MAX_LABEL} characters for a label and {MAX_VALUE} for its value"
            )


def _sized(where: str, value: Any, limit: int) -> None:
    import json

    try:
        size = len(json.dumps(value, allow_nan=False).encode())
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"{where}: must be JSON: {error}") from None
    if size > limit:
        raise InvalidEvent(f"{where}: {size} bytes of JSON, of which at most {limit} are taken")


_kept: deque[Event] = deque(maxlen=get_current_settings().events_queue_size)
_listeners: list[Callable[[Event], object]] = []


def keep(event: Event) -> None:
    """What becomes of an event on this machine: a line in the log, and a place among the last ones."""
    from .logging import get_logger

    _kept.append(event)
    for listener in tuple(_listeners):
        listener(event)
    get_logger("events").info("Event %s: %s", event.event, event.resource[RESOURCE_ID])


def emitted_events() -> list[Event]:
    """The last events that were emitted on this machine, oldest first."""
    return list(_kept)
