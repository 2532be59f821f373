"""Messages between the flow runs of this process, and to them from outside of runs: `send_input`, `receive_input`.

A mailbox a flow run and kind of message; each iterator reads on by itself, from the first message.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..api import labels
from ..context import FLOW
from ..errors import MissingContext, UnsupportedHere
from ..waiting import Once
from .run_input import SENDER, RunInputMetadata, run_input_of, validated

if TYPE_CHECKING:
    from collections.abc import Container
    from typing import Self

    from pydantic import BaseModel

T = TypeVar("T")


class Mailboxes:
    """All messages of the process, and who waits for more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: dict[tuple[str, str], list[tuple[str | None, Any]]] = defaultdict(list)
        self._arrival: dict[tuple[str, str], Once] = {}

    def put(self, receiver: str, key: str, sender: str | None, data: Any) -> None:
        """Deliver, and wake whoever waits."""
        with self._lock:
            self._held[receiver, key].append((sender, data))
            arrival = self._arrival.pop((receiver, key), None)
        if arrival is not None:
            arrival.happen()

    def at(self, receiver: str, key: str, position: int) -> tuple[tuple[str | None, Any] | None, Once]:
        """The message at this position, or what happens when the next one arrives."""
        with self._lock:
            held = self._held[receiver, key]
            if position < len(held):
                return held[position], Once()
            return None, self._arrival.setdefault((receiver, key), Once())


_mailboxes = Mailboxes()


class InputIterator(Generic[T]):
    """Messages in order of arrival, to `for` and `async for`; ends after `timeout` seconds without one, if any."""

    def __init__(
        self,
        model: type[BaseModel],
        receiver: str,
        key: str,
        timeout: float | None,
        raise_timeout_error: bool,
        with_metadata: bool,
        exclude: Container[str],
    ) -> None:
        self._model, self._receiver, self._key, self._timeout = model, receiver, key, timeout
        self._raise, self._whole, self._exclude = raise_timeout_error, with_metadata, exclude
        self._position = 0

    def next(self, timeout: float | None = None) -> T:
        """The next message. Raises TimeoutError."""
        limit = self._timeout if timeout is None else timeout
        end = None if limit is None else time.monotonic() + limit
        while True:
            found, arrival = self._look()
            if found is not None:
                return found
            if not arrival.wait(None if end is None else max(end - time.monotonic(), 0)):
                raise TimeoutError(self._missing(limit))

    async def anext(self, timeout: float | None = None) -> T:
        """`next`, without blocking the event loop."""
        limit = self._timeout if timeout is None else timeout
        end = None if limit is None else time.monotonic() + limit
        while True:
            found, arrival = self._look()
            if found is not None:
                return found
            if not await arrival.wait_async(None if end is None else max(end - time.monotonic(), 0)):
                raise TimeoutError(self._missing(limit))

    def _look(self) -> tuple[T | None, Once]:
        while True:
            held, arrival = _mailboxes.at(self._receiver, self._key, self._position)
            if held is None:
                return None, arrival
            self._position += 1
            if f"{self._key}-{self._position - 1}" in self._exclude:
                continue
            sender, data = held
            message: Any = validated(self._model, data)
            if hasattr(message, "_metadata"):
                message._metadata = RunInputMetadata(f"{self._key}-{self._position - 1}", sender, self._receiver)
            plain = getattr(self._model, "wraps_value", False) and not self._whole
            return (message.value if plain else message), arrival

    def _missing(self, limit: float | None) -> str:
        return f"no {self._model.__name__} was sent to flow run {self._receiver} within {limit} s"

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self.next()
        except TimeoutError:
            if self._raise:
                raise
            raise StopIteration from None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.anext()
        except TimeoutError:
            if self._raise:
                raise
            raise StopAsyncIteration from None


def send_input(run_input: Any, flow_run_id: str, sender: str | None = None, key_prefix: str | None = None) -> None:
    """Send a model, or any value, to a flow run of this process."""
    _refuse_pods("send_input")
    context = FLOW.get()
    if sender is None and context is not None:
        sender = f"{SENDER}{context.run.id}"
    _mailboxes.put(str(flow_run_id), key_prefix or _key(type(run_input)), sender, run_input)


async def asend_input(
    run_input: Any, flow_run_id: str, sender: str | None = None, key_prefix: str | None = None
) -> None:
    """`send_input`, to await; it never blocks."""
    send_input(run_input, flow_run_id, sender, key_prefix)


def receive_input(
    input_type: type[Any],
    timeout: float | None = 3600,
    poll_interval: float = 10,  # noqa: ARG001 - nothing polls: a message arrives at once
    raise_timeout_error: bool = False,
    exclude_keys: Container[str] | None = None,
    key_prefix: str | None = None,
    flow_run_id: str | None = None,
    with_metadata: bool = False,
) -> InputIterator[Any]:
    """Messages of a type to the current flow run (or `flow_run_id`), to iterate over in sync and async code."""
    _refuse_pods("receive_input")
    context = FLOW.get()
    receiver = flow_run_id or (context.run.id if context is not None else None)
    if receiver is None:
        raise MissingContext("receive_input works inside of a flow run; elsewhere, give it flow_run_id")
    model = run_input_of(input_type)
    key = key_prefix or _key(input_type)
    return InputIterator(model, receiver, key, timeout, raise_timeout_error, with_metadata, exclude_keys or ())


areceive_input = receive_input  # what it gives can be awaited


def _key(wanted: type[Any]) -> str:
    model = getattr(wanted, "__name__", "value").lower()
    return f"{model}-message"


def _refuse_pods(what: str) -> None:
    if os.environ.get(labels.ENV_RUN):
        raise UnsupportedHere(f"{what} does not work in a pod yet: messages reach flow runs of one process only")
