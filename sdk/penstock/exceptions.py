"""Every error of the SDK, by consequence. Raised anywhere in it; imports nothing, so that raising is always possible.

    PenstockError
    ├── DefinitionError            a decorator or an option of it is wrong: nothing was run
    │   └── ReservedArgument       a parameter has a name that calls need for themselves
    ├── ParameterError             a call does not fit its function: nothing was run
    │   ├── ParameterBind          missing, unknown or doubled arguments
    │   └── InvalidParameters      a value does not fit its annotation
    ├── MappingError               `.map` cannot tell how many runs to make
    │   ├── MappingLengthMismatch
    │   └── MappingMissingIterable
    ├── MissingContext             something that needs a run was used outside of one
    ├── RunTimedOut                our own deadline passed (also a `TimeoutError`)
    │   ├── FlowRunTimedOut
    │   └── TaskRunTimedOut
    ├── FutureTimedOut             a future was not done in the time its caller gave (also a `TimeoutError`)
    ├── UpstreamNotReady           a run's inputs failed, so that it cannot start
    ├── WorkerLost                 a process that ran a task went away without an answer
    ├── ResourceError              an artifact, a variable or a block cannot be read or written
    │   ├── InvalidResource        its name, key or content is not allowed
    │   ├── ResourceNotFound       there is none of that name
    │   ├── ResourceExists         the name is taken
    │   ├── ResourceRefused        the API server says no
    │   └── BlockTypeMismatch      the block is of another type (also a `TypeError`)
    └── UnsuccessfulRun            what `State.result()` raises where the state holds no exception of its own
        ├── FailedRun
        ├── CrashedRun
        ├── CancelledRun
        ├── PausedRun
        └── UnfinishedRun

    CancellationRequested          a BaseException, so that `except Exception` in user code cannot swallow it

`reason` is CamelCase and becomes the reason of the run's state.
"""

from __future__ import annotations

from typing import ClassVar


class PenstockError(Exception):
    """The base of everything Penstock raises."""

    reason: ClassVar[str] = "PenstockError"


class DefinitionError(PenstockError, ValueError):
    """A flow or task is declared in a way that cannot work."""

    reason = "InvalidDefinition"


class ReservedArgument(DefinitionError):
    """A parameter is named `return_state` or `wait_for`, which calls of flows and tasks keep for themselves."""

    reason = "ReservedArgument"


class ParameterError(PenstockError):
    """A call's arguments do not fit its function."""

    reason = "InvalidParameters"


class ParameterBind(ParameterError, TypeError):
    """Arguments are missing, unknown or given twice."""


class InvalidParameters(ParameterError, ValueError):
    """Values do not fit the annotations of their parameters; `errors` lists (path, what is wrong)."""

    def __init__(self, message: str, errors: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.errors = errors


class MappingError(PenstockError, ValueError):
    """`.map` was given arguments from which no number of runs follows."""

    reason = "InvalidMapping"


class MappingLengthMismatch(MappingError):
    """The iterables of one `.map` differ in length."""


class MappingMissingIterable(MappingError):
    """No argument of a `.map` can be iterated over."""


class MissingContext(PenstockError, RuntimeError):
    """This works inside of a flow or task run only."""

    reason = "MissingContext"


class RunTimedOut(PenstockError, TimeoutError):
    """A run did not end within its `timeout_seconds`."""

    reason = "TimedOut"


class FlowRunTimedOut(RunTimedOut):
    """A flow run did not end within its `timeout_seconds`."""


class TaskRunTimedOut(RunTimedOut):
    """A task run did not end within its `timeout_seconds`."""


class FutureTimedOut(PenstockError, TimeoutError):
    """A future was not done in the time that its caller was ready to wait; the run itself goes on."""

    reason = "FutureTimedOut"


class UpstreamNotReady(PenstockError):
    """An input of a run did not complete, so that the run cannot start."""

    reason = "NotReady"


class WorkerLost(PenstockError):
    """The process that ran a task ended without an answer (killed, out of memory, or user code left it)."""

    reason = "WorkerLost"


class ResourceError(PenstockError):
    """An artifact, a variable or a block cannot be read or written."""

    reason = "ResourceError"


class InvalidResource(ResourceError, ValueError):
    """A name, a key or a content is not allowed; the message names the field and the remedy."""

    reason = "InvalidResource"


class ResourceNotFound(ResourceError, ValueError):
    """There is no such artifact, variable or block."""

    reason = "ResourceNotFound"


class ResourceExists(ResourceError, ValueError):
    """There is one of that name already."""

    reason = "ResourceExists"


class ResourceRefused(ResourceError):
    """The API server does not let us: RBAC, an admission policy or a quota."""

    reason = "ResourceRefused"


class BlockTypeMismatch(ResourceError, TypeError):
    """A block is of another type than the code that loads it wants."""

    reason = "BlockTypeMismatch"


class UnsuccessfulRun(PenstockError):
    """The result of a run was asked for, and it has none."""

    reason = "UnsuccessfulRun"


class FailedRun(UnsuccessfulRun):
    """The run failed without an exception of its own."""

    reason = "Failed"


class CrashedRun(UnsuccessfulRun):
    """The run was ended from outside of its code."""

    reason = "Crashed"


class CancelledRun(UnsuccessfulRun):
    """The run was cancelled."""

    reason = "Cancelled"


class PausedRun(UnsuccessfulRun):
    """The run waits for a person."""

    reason = "Paused"


class UnfinishedRun(UnsuccessfulRun):
    """The run has not come to an end, so that it has no result."""

    reason = "Unfinished"


class CancellationRequested(BaseException):
    """Raised into user code by whoever runs it, to end the run in state Cancelled."""

    reason: ClassVar[str] = "CancelRequested"
