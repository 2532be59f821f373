"""What a life asks of its driver: the only vocabulary between `flow_life`, `task_life` and the two drivers.

A life yields one effect at a time and is resumed with its outcome, or has its exception thrown in. An effect says
what, never how: whether a thread blocks or a coroutine awaits is the driver's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from ..errors import RunTimedOut
    from ..futures import PenstockFuture
    from ..locking.protocol import LockManager
    from ..task_runners import TaskRunner
    from ..waiting import Once


class Effect:
    """The base; plain slots, for one is made for every task call."""

    __slots__ = ()


class Call(Effect):
    """Run user code and answer with what it returns; `error` is raised once `timeout` seconds have passed.

    The one effect that a task runner may perform elsewhere, in another process.
    """

    __slots__ = ("args", "error", "fn", "kwargs", "timeout")

    def __init__(
        self,
        fn: Callable[..., Any],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        timeout: float | None = None,
        error: RunTimedOut | None = None,
    ) -> None:
        self.fn, self.args, self.kwargs, self.timeout, self.error = fn, args, kwargs, timeout, error


class Callback(Effect):
    """Run a hook or a condition, which may be a coroutine function whatever its run is."""

    __slots__ = ("args", "fn")

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any]) -> None:
        self.fn, self.args = fn, args


class Advance(Effect):
    """Run a (sync or async) generator up to its next value; answers (ended, value)."""

    __slots__ = ("error", "producer", "sent", "thrown", "timeout")

    def __init__(
        self,
        producer: Any,
        sent: Any = None,
        thrown: BaseException | None = None,
        timeout: float | None = None,
        error: RunTimedOut | None = None,
    ) -> None:
        self.producer, self.sent, self.thrown, self.timeout, self.error = producer, sent, thrown, timeout, error


class Emit(Effect):
    """Hand one value of a generator to whoever iterates over the run; answers what was sent in."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Sleep(Effect):
    """Wait so many seconds."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Wait(Effect):
    """Wait until all these futures are done, however they end, or other things that happen once."""

    __slots__ = ("futures",)

    def __init__(self, futures: Sequence[PenstockFuture[Any] | Once]) -> None:
        self.futures = futures


class Turn(Wait):
    """A `Wait` for what others decide, such as free slots: for hours maybe, and with thousands of lives at once.

    So a pool's worker does not stand by: it may leave the life here, and whoever drives it again goes on from here.
    One that was given up is over for its life, also where it has come in the meantime.
    """

    __slots__ = ("_forgo", "given_up", "once")

    def __init__(self, once: Once, forgo: Callable[[], object] | None = None) -> None:
        """`forgo`: lets others have what this one waits for."""
        super().__init__((once,))
        self.once, self._forgo, self.given_up = once, forgo, False

    def give_up(self) -> None:
        """Have the life go on without; more than once does no harm."""
        self.given_up = True
        if self._forgo is not None:
            self._forgo()


class Blocking(Effect):
    """Do work of the engine's own that may block, such as reading a result: in a loop's case, in a thread beside it."""

    __slots__ = ("args", "fn")

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any] = ()) -> None:
        self.fn, self.args = fn, args


class Acquire(Effect):
    """Wait until the key is ours."""

    __slots__ = ("holder", "key", "manager")

    def __init__(self, manager: LockManager | None, key: str, holder: str) -> None:
        self.manager, self.key, self.holder = manager, key, holder


class Drain(Effect):
    """Wait until a flow's submitted tasks are done; with `abandon`, those that have not started never will."""

    __slots__ = ("abandon", "grace", "runner")

    def __init__(self, runner: TaskRunner, *, abandon: bool, grace: float | None = None) -> None:
        self.runner, self.abandon, self.grace = runner, abandon, grace


class ConsumerClosed(Exception):
    """Thrown into a life at `Emit` when the consumer stops iterating; never leaves the engine."""
