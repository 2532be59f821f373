"""Asks at the terminal for what a paused run waits for: the model's fields one by one, each until it fits.

Only where standard input is a terminal, in a thread of its own; whoever answers first, here or by `resume_flow_run`,
resumes the run.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import InvalidRunInput, NotPausedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pydantic.fields import FieldInfo

    from ..pauses import PauseRequest
    from ..waiting import Once

LOOK_EVERY = 0.2  # seconds: how soon the prompt notices that somebody else has answered


class GivenUp(Exception):
    """Nobody answers at the terminal: it was closed, or the pause is over."""


def ask_at_terminal(
    request: PauseRequest, answer: Once, resume: Callable[[str, Mapping[str, Any] | None], None]
) -> threading.Thread | None:
    """Start to ask, if somebody sits there."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    console = Console(sys.stdin, sys.stderr, answer.happened)
    thread = threading.Thread(target=ask, args=(request, console, resume), name="penstock-prompt", daemon=True)
    thread.start()
    return thread


class Console:
    """Lines from a person; gives up once `over` says that the answer is there."""

    def __init__(self, source: TextIO, out: TextIO, over: Callable[[], bool]) -> None:
        self._source, self._out, self._over = source, out, over

    def say(self, text: str) -> None:
        """Show a line."""
        self._out.write(f"{text}\n")
        self._out.flush()

    def line(self, prompt: str) -> str:
        """What the person types. Raises GivenUp."""
        self._out.write(prompt)
        self._out.flush()
        self._wait_for_input()
        text = self._source.readline()
        if not text:
            raise GivenUp
        return text.rstrip("\n")

    def _wait_for_input(self) -> None:
        import select

        while True:
            if self._over():
                raise GivenUp
            try:
                ready, _, _ = select.select([self._source], [], [], LOOK_EVERY)
            except (OSError, ValueError):  # no descriptor to select on: the read itself waits
                return
            if ready:
                return


def ask(request: PauseRequest, console: Console, resume: Callable[[str, Mapping[str, Any] | None], None]) -> None:
    """Ask until the answer fits, then resume the run."""
    model = request.model
    console.say(f"Flow run {request.run_name} is paused.")
    try:
        while True:
            if model is None:
                console.line("Press Enter to resume. ")
                given: dict[str, Any] | None = None
            else:
                if about := vars(model).get("__doc__"):
                    console.say(about.strip())
                given = {name: _field(name, field, console) for name, field in model.model_fields.items()}
                given = {name: value for name, value in given.items() if value is not _DEFAULT}
            try:
                resume(request.run_id, given)
                return
            except InvalidRunInput as error:  # the model's own validators
                console.say(str(error))
    except (GivenUp, NotPausedError):
        return


_DEFAULT: Any = object()


def _field(name: str, field: FieldInfo, console: Console) -> Any:
    """A value that fits the field's annotation: as JSON where it is some, else as text."""
    from pydantic import TypeAdapter, ValidationError

    adapter: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
    default = "" if field.is_required() else f" [{field.get_default(call_default_factory=True)!r}]"
    if field.description:
        console.say(field.description)
    while True:
        text = console.line(f"{name}{default}: ")
        if not text and not field.is_required():
            return _DEFAULT
        problem: ValidationError | None = None
        for value in _readings(text):
            try:
                adapter.validate_python(value)
            except ValidationError as error:
                problem = problem or error
            else:
                return value
        assert problem is not None
        console.say(f"{name}: {problem.errors()[0]['msg']}")


def _readings(text: str) -> list[Any]:
    """The text itself, and the JSON value it may be."""
    try:
        return [text, json.loads(text)]
    except ValueError:
        return [text]
