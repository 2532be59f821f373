"""Runs that wait for a person: the seam to whoever holds the pause, and the one on this machine.

A reporter that is a `PauseReporter` holds the pause (that of a pod, by `spec.resume`). Without one, runs on
this machine are answered in their process: by `resume_flow_run` from another thread, or at the terminal.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .errors import NotPausedError
from .waiting import Once

if TYPE_CHECKING:
    from collections.abc import Mapping


class PauseRequest:
    """One pause of one run: what it waits for, and until when.

    `id` is the same whenever the run comes to this pause again: of its key, or of what it asks for and how often the
    flow has asked for that before.
    """

    __slots__ = ("deadline", "id", "key", "model", "run_id", "run_name")

    def __init__(
        self, id: str, run_id: str, run_name: str, key: str | None, model: type[Any] | None, deadline: float | None
    ) -> None:
        self.id, self.run_id, self.run_name, self.key, self.model, self.deadline = (
            id,
            run_id,
            run_name,
            key,
            model,
            deadline,
        )

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """JSON Schema of the input that is wanted."""
        return None if self.model is None else self.model.model_json_schema()

    def validated(self, answer: Mapping[str, Any] | None) -> Any:
        """The answer as the model that was asked for. Raises InvalidRunInput."""
        if self.model is None:
            return None
        from .input.run_input import validated

        return validated(self.model, {} if answer is None else answer)


class Answer(Once):
    """Happens when somebody resumes the run; `value` is then the input."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        super().__init__()
        self.value: Any = None


@runtime_checkable
class PauseReporter(Protocol):
    """What a reporter may do besides: hold pauses."""

    def answered(self, pause: str) -> tuple[bool, Any]:
        """Whether the pause of this id was answered before, and with what input."""

    def pause_requested(self, request: PauseRequest) -> Answer:
        """The run waits in its process; the answer happens when it is resumed."""

    def suspend_requested(self, request: PauseRequest) -> None:
        """The run is to end here and be started again when it is resumed. Raises `NotSuspendable` with the remedy."""


class LocalPauses:
    """The pauses of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, tuple[PauseRequest, Answer]] = {}  # by run id
        self._answers: dict[tuple[str, str], Any] = {}  # by ids of run and pause

    def answered(self, run_id: str, pause: str) -> tuple[bool, Any]:
        """Whether this pause of the run was answered before, and what."""
        with self._lock:
            return (run_id, pause) in self._answers, self._answers.get((run_id, pause))

    def pause(self, request: PauseRequest) -> Answer:
        """Open a pause; at a terminal, somebody is asked."""
        answer = Answer()
        with self._lock:
            self._open[request.run_id] = (request, answer)
        from .input.prompt import ask_at_terminal

        ask_at_terminal(request, answer, self.resume)
        return answer

    def close(self, request: PauseRequest) -> None:
        """Nobody waits any more."""
        with self._lock:
            held = self._open.get(request.run_id)
            if held is not None and held[0] is request:
                del self._open[request.run_id]

    def waiting(self) -> list[PauseRequest]:
        """All open pauses."""
        with self._lock:
            return [request for request, _ in self._open.values()]

    def resume(self, run: str, given: Mapping[str, Any] | None = None) -> None:
        """Answer the pause of a run, by its id or name. Raises NotPausedError and InvalidRunInput."""
        with self._lock:
            found = [pair for pair in self._open.values() if run in (pair[0].run_id, pair[0].run_name)]
        if not found:
            raise NotPausedError(f"no run {run} waits in this process")
        request, answer = found[0]
        answer.value = request.validated(given)
        with self._lock:
            self._open.pop(request.run_id, None)
            self._answers[request.run_id, request.id] = answer.value
        answer.happen()


LOCAL = LocalPauses()
