"""Where submitted tasks run. One runner serves one flow run: it starts with the first submit and ends with the flow.

A runner starts jobs when their inputs are done and says where user code is called (`call`); what a task's life is, it
does not know.
"""

from __future__ import annotations

import copy
import os
import threading
from typing import TYPE_CHECKING, Any

from .errors import DefinitionError
from .settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Self

    from .dask_task_runner import DaskTaskRunner as DaskTaskRunner
    from .engine.effects import Call, Turn
    from .engine.pool import Pool
    from .engine.process import CallProcess
    from .futures import PenstockFuture
    from .kubernetes_task_runner import KubernetesTaskRunner as KubernetesTaskRunner
    from .kubernetes_task_runner import PodOptions as PodOptions
    from .ray_task_runner import RayTaskRunner as RayTaskRunner

# Runners that live in modules of their own, with what they need; imported when they are first named.
_HOMES = {
    "DaskTaskRunner": "dask_task_runner",
    "KubernetesTaskRunner": "kubernetes_task_runner",
    "PodOptions": "kubernetes_task_runner",
    "RayTaskRunner": "ray_task_runner",
}

LOOK_FOR_ROOM = 0.02  # seconds between two looks for room for one more, at most

__all__ = [
    "DaskTaskRunner",
    "KubernetesTaskRunner",
    "PodOptions",
    "ProcessPoolTaskRunner",
    "RayTaskRunner",
    "TaskRunner",
    "ThreadPoolTaskRunner",
]


class TaskRunner:
    """Runs submitted tasks in threads of its own, which may call user code somewhere else.

    `max_workers` bounds how many execute at a time (one that waits for another task does not count);
    `max_in_flight` how many are submitted and not done: beyond it, `submit` and `map` wait (not in a task of this
    runner, which could wait for itself).
    """

    call: Callable[[Call], Any] | None = None  # runs user code elsewhere; None: in the worker thread

    def __init__(self, max_workers: int | None = None, *, max_in_flight: int | None = None) -> None:
        bounds: dict[str, Any] = {"max_workers": max_workers, "max_in_flight": max_in_flight}
        for name, value in bounds.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise DefinitionError(
                    f"{type(self).__name__}: {name} must be a whole number of at least 1, not {value!r}"
                )
        self.max_workers = max_workers or self._default_workers()
        self.max_in_flight = max_in_flight
        self._renew()

    def _renew(self) -> None:
        self.abandoned = False
        self._pool: Pool | None = None
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._open = 0
        self._apart: dict[Callable[[], None], tuple[Turn, bool]] = {}  # jobs at their turn; whether they have begun
        self._wake_at = 0  # how many may be open when whoever waits is to be woken

    def __getstate__(self) -> dict[str, Any]:
        """The settings alone: what runs tasks stays in its process. So a flow can be pickled with its runner."""
        idle = object.__new__(type(self))
        idle._renew()
        return {name: value for name, value in vars(self).items() if name not in vars(idle)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._renew()

    @staticmethod
    def _default_workers() -> int:
        return get_current_settings().task_runner_max_workers

    @property
    def name(self) -> str:
        """`ThreadPool`: what kind of runner this is."""
        return type(self).__name__.removesuffix("TaskRunner")

    def duplicate(self) -> Self:
        """A runner with the same settings for another flow run."""
        other = copy.copy(self)
        other._renew()
        return other

    def __enter__(self) -> Self:
        from .engine.pool import Pool

        self._pool = Pool(self.max_workers, f"penstock-{self.name}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.close()

    def start(self, execute: Callable[[], None], after: Sequence[PenstockFuture[Any]]) -> None:
        """Run `execute` in a worker as soon as the futures in `after` are done; it ends with calling `ended`."""
        pool = self._pool
        if pool is None:
            raise DefinitionError(f"{type(self).__name__} is not started; use it as the task_runner of a flow")
        with self._lock:
            if self.max_in_flight is not None and not pool.employs_this_thread():
                self._wait_for_room(self.max_in_flight)
            self._open += 1
        if not after:
            pool.submit(execute)
            return
        left = [len(after)]

        def one_less(_: PenstockFuture[Any]) -> None:
            with self._lock:
                left[0] -= 1
                last = left[0] == 0
            if last:
                pool.submit(execute)

        for upstream in after:
            upstream.add_done_callback(one_less)

    def start_again(self, execute: Callable[[], None], turn: Turn, *, begun: bool) -> None:
        """Run a job that has not ended again, when its turn has come or it is abandoned; no begun one ever is."""
        with self._lock:
            self._apart[execute] = (turn, begun)
        if self.abandoned and not begun:
            turn.give_up()
            self._go_on(execute, turn)
        else:
            turn.once.add_callback(lambda: self._go_on(execute, turn))

    def _go_on(self, execute: Callable[[], None], turn: Turn) -> None:
        with self._lock:
            if self._apart.get(execute, (None,))[0] is not turn:
                return  # it goes on already, maybe to wait for its next turn
            del self._apart[execute]
        assert self._pool is not None
        self._pool.submit(execute, begun=True)

    def _wait_for_room(self, bound: int) -> None:
        """Return when fewer than `bound` are open; the lock is held.

        Short tasks wake whoever waits once there is room for many, for a switch between threads costs as much as such
        a task; while tasks take long, a look now and then finds the room for one.
        """
        patience = 0.001
        while self._open >= bound:
            self._wake_at = bound - max(bound // 8, 1)
            self._changed.wait(patience)
            patience = min(patience * 2, LOOK_FOR_ROOM)
        self._wake_at = 0

    def ended(self) -> None:
        """A job is done, its future finished."""
        with self._lock:
            self._open -= 1
            if self._open <= self._wake_at:
                self._changed.notify_all()

    def drain(self, *, abandon: bool = False, grace: float | None = None) -> bool:
        """Wait until every submitted task is done, at most `grace` seconds; whether all are.

        With `abandon`, tasks that have not started end Cancelled.
        """
        if abandon:
            self.abandoned = True
            with self._lock:
                waiting = [(execute, turn) for execute, (turn, begun) in self._apart.items() if not begun]
            for _, turn in waiting:
                turn.give_up()
            for execute, turn in waiting:
                self._go_on(execute, turn)
        with self._changed:
            return self._changed.wait_for(lambda: self._open == 0, grace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_workers={self.max_workers})"


class ThreadPoolTaskRunner(TaskRunner):
    """Runs tasks in threads of the flow's process: the default."""


class ProcessPoolTaskRunner(TaskRunner):
    """Runs tasks in processes: for work that keeps Python busy, and for code that must be stopped whatever it does.

    A task's retries, hooks and reports stay in the flow's process; its function, arguments and result travel. At its
    timeout the process is killed, with everything it started.
    """

    def __init__(self, max_workers: int | None = None, *, max_in_flight: int | None = None) -> None:
        super().__init__(max_workers, max_in_flight=max_in_flight)
        self._processes: set[CallProcess] = set()
        self.call = self._call_in_process

    @staticmethod
    def _default_workers() -> int:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def _renew(self) -> None:
        super()._renew()
        self._processes = set()
        self.call = self._call_in_process

    def _call_in_process(self, effect: Call) -> Any:
        from .engine.process_calls import call_in_process

        return call_in_process(effect, self._processes)

    def drain(self, *, abandon: bool = False, grace: float | None = None) -> bool:
        """As every runner's; what is not done after `grace` seconds is killed."""
        if super().drain(abandon=abandon, grace=grace):
            return True
        for process in list(self._processes):
            process.kill()
        return super().drain(grace=grace)


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{home}", __package__), name)


def default_task_runner() -> TaskRunner:
    """The runner of flows that name none, as the setting `task_runner` says."""
    if get_current_settings().task_runner == "processes":
        return ProcessPoolTaskRunner()
    return ThreadPoolTaskRunner()


_outside: list[TaskRunner] = []
_outside_lock = threading.Lock()


def outside_of_flows() -> TaskRunner:
    """The runner of tasks that are submitted outside of any flow; one for the process."""
    with _outside_lock:
        if not _outside:
            _outside.append(ThreadPoolTaskRunner().__enter__())
        return _outside[0]
