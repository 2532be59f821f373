"""Every error of the SDK, by consequence. Raised anywhere in it; imports nothing, so that raising is always possible.

    PenstockError
    ├── DefinitionError            a decorator or an option of it is wrong: nothing was run
    │   ├── ReservedArgument       a parameter has a name that calls need for themselves
    │   ├── InvalidSchedule        a schedule cannot be read, or never fires
    │   └── BadTemplate            a template of a name or a key cannot be filled in (also a `KeyError`)
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
    │   └── PodLost                ... and it was a pod
    ├── TaskPodRefused             the API server does not take the run of a task in a pod of its own
    ├── InvalidSettings            a setting has a value that cannot be, or is none
    ├── ConcurrencySlotAcquisitionError   slots of a limit were not given (strict and unknown, closed, too many)
    │   └── AcquireConcurrencySlotTimeoutError   not in the time its caller gave (also a `TimeoutError`)
    ├── InvalidEvent               an event is too large or incomplete: nothing was emitted
    ├── FlowPauseTimeout           nobody answered a pause in time (also a `TimeoutError`)
    ├── NotPausedError             a run was to be resumed that waits for nobody
    ├── NotRetryable               a run was to be retried that goes on, or is a part of another
    ├── InvalidRunInput            an answer or a message does not fit the model that it is for
    ├── FlowRunWaitTimeout         a flow run elsewhere did not end in the time its caller gave (also a `TimeoutError`)
    ├── NotSuspendable             the run's next pod could not reach what it has done: it goes on
    ├── UnsupportedHere            this cannot be done where the code runs; the message says where it can
    ├── FlowVisualizationError     a flow cannot be drawn without running its tasks
    ├── ConfigurationError         options or settings that cannot go together, or name nothing that exists
    ├── CodeUnavailable            a flow's code cannot be fetched, or is not what it should be
    │   ├── BundleMismatch         ... for it was made by another Python or another Penstock
    │   └── RequirementsFailed     ... or for what it needs cannot be installed
    ├── ResultError                a result cannot be kept, or not be had back
    │   ├── SerializationError     a value does not become bytes, or bytes no value
    │   ├── StorageUnavailable     the store cannot be reached, read or written
    │   ├── MissingResult          the store holds no such record, or the value was never kept
    │   └── DamagedResult          the record is not what was written
    ├── UnhashableInput            an argument has no stable hash, so that no cache key can be made of it
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
    PenstockSignal                 likewise: ends the run, and is no failure of its code
    ├── Abort                      the run is given up and ends Cancelled
    └── Pause                      the run stops here and is Paused or Suspended until somebody resumes it

`reason` is CamelCase and becomes the reason of the run's state.
"""

from __future__ import annotations

from typing import Any, ClassVar


class PenstockError(Exception):
    """The base of everything Penstock raises."""

    reason: ClassVar[str] = "PenstockError"


class DefinitionError(PenstockError, ValueError):
    """A flow or task is declared in a way that cannot work."""

    reason = "InvalidDefinition"


class ReservedArgument(DefinitionError):
    """A parameter is named `return_state` or `wait_for`, which calls of flows and tasks keep for themselves."""

    reason = "ReservedArgument"


class InvalidSchedule(DefinitionError):
    """A schedule cannot be read or never fires; the message begins with the field and ends with the remedy."""

    reason = "InvalidSchedule"


class BadTemplate(DefinitionError, KeyError):
    """A template names a field that there is not, or is none; the message lists the fields that there are."""

    __str__ = Exception.__str__  # that of KeyError shows quotes


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


class InvalidSettings(PenstockError, ValueError):
    """A setting has a value that cannot be, or a file names one that does not exist."""

    reason = "InvalidSettings"


class ConcurrencySlotAcquisitionError(PenstockError):
    """Slots of a concurrency limit were not given, and waiting would not change that."""

    reason = "ConcurrencySlotsRefused"


class AcquireConcurrencySlotTimeoutError(ConcurrencySlotAcquisitionError, TimeoutError):
    """Slots of a concurrency limit were not free in the time that their caller was ready to wait."""

    reason = "ConcurrencySlotsTimedOut"


class InvalidEvent(PenstockError, ValueError):
    """An event lacks something, or is larger than events may be; the message names the field."""

    reason = "InvalidEvent"


class FlowPauseTimeout(PenstockError, TimeoutError):
    """A run was paused, and nobody resumed it in time."""

    reason = "PauseTimedOut"


class NotPausedError(PenstockError):
    """A run was to be resumed that does not wait for anybody here."""

    reason = "NotPaused"


class NotRetryable(PenstockError):
    """A run was to be retried that has not ended, or that is a subflow or a task of another."""

    reason = "NotRetryable"


class NotSuspendable(PenstockError):
    """A run was to be suspended whose results no other pod reaches; the message has the remedy."""

    reason = "NotSuspendable"


class InvalidRunInput(PenstockError, ValueError):
    """An answer or a message does not fit the model that the run waits for."""

    reason = "InvalidRunInput"


class FlowRunWaitTimeout(PenstockError, TimeoutError):
    """A flow run that goes on elsewhere did not end in the time that its caller was ready to wait."""

    reason = "FlowRunWaitTimedOut"


class UnsupportedHere(PenstockError, NotImplementedError):
    """What was asked for cannot be done where this code runs."""

    reason = "UnsupportedHere"


class FlowVisualizationError(PenstockError):
    """A flow cannot be drawn without running its tasks."""

    reason = "NotDrawable"


class ConfigurationError(PenstockError, ValueError):
    """Options or settings contradict each other, or name something that does not exist."""

    reason = "InvalidConfiguration"


class CodeUnavailable(PenstockError):
    """A flow's code cannot be fetched or opened; `transient` says whether time may help."""

    reason = "CodeUnavailable"

    def __init__(self, message: str, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class BundleMismatch(CodeUnavailable):
    """A bundle was made by another Python or another Penstock than is here."""

    reason = "BundleMismatch"


class RequirementsFailed(CodeUnavailable):
    """A line of the requirements cannot be resolved or installed."""

    reason = "RequirementsFailed"


class ResultError(PenstockError):
    """A result cannot be kept, or cannot be had back."""

    reason = "ResultError"


class SerializationError(ResultError, ValueError):
    """A value cannot be turned into bytes by its serializer, or the bytes not into a value."""

    reason = "NotSerializable"


class StorageUnavailable(ResultError, OSError):
    """The place where results are kept cannot be reached, read or written; `transient` says whether time may help."""

    reason = "ResultStorageUnavailable"

    def __init__(self, message: str, transient: bool = True) -> None:
        super().__init__(message)
        self.transient = transient


class MissingResult(ResultError):
    """There is no record under this key, or the run's value was kept nowhere."""

    reason = "MissingResult"


class DamagedResult(ResultError):
    """A record was cut short or changed since it was written."""

    reason = "DamagedResult"


class UnhashableInput(PenstockError, TypeError):
    """An argument cannot be hashed, so that no cache key can be made of it."""

    reason = "UnhashableInput"

    def __init__(self, argument: str, cause: str) -> None:
        super().__init__(f"argument {argument!r} cannot be hashed: {cause}")
        self.argument, self.cause = argument, cause

    def __reduce__(self) -> Any:
        return type(self), (self.argument, self.cause)


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


class PodLost(WorkerLost):
    """The pod that ran a task ended without an answer; `reason` says how, such as OOMKilled or Evicted."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason  # type: ignore[misc] # the operator's diagnosis, not the class's own word

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.reason, str(self))


class TaskPodRefused(PenstockError):
    """The API server does not take the run of a task that was to have a pod of its own."""

    reason = "TaskPodRefused"


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


class PenstockSignal(BaseException):
    """Raised to end a run without its code having failed; `except Exception` in user code does not see it."""

    reason: ClassVar[str] = "Signal"


class Abort(PenstockSignal):
    """The run is given up: it ends Cancelled."""

    reason = "Aborted"


class Pause(PenstockSignal):
    """The run stops here; `state` is the one it is in until somebody resumes it."""

    reason = "Paused"

    def __init__(self, *args: object, state: Any = None) -> None:
        super().__init__(*args)
        self.state = state
