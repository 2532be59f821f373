"""Starts task runs: called here and now, submitted, or mapped. What `Task`'s methods do."""

from __future__ import annotations

import time
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..annotations import Annotation, allow_failure, opaque, quote, unmapped
from ..context import FLOW, TAGS, TASK
from ..errors import MappingLengthMismatch, MappingMissingIterable
from ..futures import PenstockFuture, PenstockFutureList
from ..states import State, exception_to_state
from .drive import drive, drive_generator, drive_to_turn
from .effects import Turn
from .inputs import PLAIN, find
from .outcome import answer, answer_async
from .reporting import Silent
from .runs import TaskRun, abandoned
from .task_life import task_life

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator, Mapping, Sequence
    from contextvars import Context

    from ..context import FlowRunContext
    from ..task_runners import TaskRunner
    from ..tasks import Task
    from .drive import Life
    from .reporting import Reporter

_silent = Silent()


def call(task: Task[Any, Any], parameters: dict[str, Any], return_state: bool, wait_for: Any) -> Any:
    """Run the task here: its value, its state, or for an async task something to await."""
    if task.isasync:
        if task.isgenerator and not return_state:
            return _iterate_async(task, parameters, wait_for)
        return _call_async(task, parameters, return_state, wait_for)
    if task.isgenerator and not return_state:
        return _iterate(task, parameters, wait_for)
    flow = FLOW.get()
    run = new_run(task, parameters, flow)
    state = drive(_life(task, run, flow, wait_for, collect=True))
    return state if return_state else answer(state)


async def _call_async(task: Task[Any, Any], parameters: dict[str, Any], return_state: bool, wait_for: Any) -> Any:
    from .drive_async import drive_async

    flow = FLOW.get()
    run = new_run(task, parameters, flow)
    state = await drive_async(_life(task, run, flow, wait_for, collect=True))
    return state if return_state else await answer_async(state)


def _iterate(task: Task[Any, Any], parameters: dict[str, Any], wait_for: Any) -> Generator[Any, Any, Any]:
    flow = FLOW.get()
    run = new_run(task, parameters, flow)
    return answer((yield from drive_generator(_life(task, run, flow, wait_for, collect=False))))


def _iterate_async(task: Task[Any, Any], parameters: dict[str, Any], wait_for: Any) -> AsyncGenerator[Any, Any]:
    from .drive_async import drive_async_generator

    flow = FLOW.get()
    run = new_run(task, parameters, flow)
    return drive_async_generator(_life(task, run, flow, wait_for, collect=False), answer)


def submit(task: Task[Any, Any], parameters: dict[str, Any], wait_for: Any) -> PenstockFuture[Any]:
    """Hand the task to the runner of the flow it belongs to; it starts when its inputs are done."""
    flow = FLOW.get()
    runner = _runner_of(flow)
    return _submit(task, parameters, wait_for, flow, runner, copy_context())


def map_over(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], wait_for: Any
) -> PenstockFutureList[Any]:
    """Submit the task once for each element of its iterable arguments; defaults are not iterated over."""
    task.signature.bind(args, kwargs)  # a wrong call is the caller's error, and no run's
    flow = FLOW.get()
    runner = _runner_of(flow)
    given: dict[int | str, Any] = dict(enumerate(args))
    given.update(kwargs)
    sources = [value for value in given.values() if isinstance(value, PenstockFuture | State)]
    if sources:  # done when mapped over, and upstream all the same
        wait_for = (sources, wait_for)
    varying, row = _columns(given)
    names = list(varying)
    context = copy_context()  # one for all, of which each run gets a copy when it starts
    futures: PenstockFutureList[Any] = PenstockFutureList()
    try:
        for values in _rows(varying):
            row.update(zip(names, values, strict=True))
            parameters = task.signature.bind([row[i] for i in range(len(args))], {name: row[name] for name in kwargs})
            futures.append(_submit(task, parameters, wait_for, flow, runner, context))
    except _Uneven as uneven:
        raise MappingLengthMismatch(
            f"arguments of a map must have equally many elements, but {uneven}; the {len(futures)} runs that were "
            f"submitted before that was seen go on"
        ) from None
    return futures


def new_run(task: Task[Any, Any], parameters: dict[str, Any], flow: FlowRunContext | None) -> TaskRun:
    """A task run of its own: numbered within its flow run, random outside of one."""
    tags = task.tags | TAGS.get()
    if flow is None:
        run = TaskRun(task, task.name, parameters, None, tags)
        run.name = f"{task.name}-{run.id[:5]}"
        return run
    number = flow.calls.get(task.name, 0)
    flow.calls[task.name] = number + 1
    run = TaskRun(task, f"{task.name}-{number}", parameters, flow.run.id, tags)
    run.number = number
    return run


def _life(
    task: Task[Any, Any],
    run: TaskRun,
    flow: FlowRunContext | None,
    wait_for: Any,
    *,
    collect: bool,
    remote: bool = False,
) -> Life:
    reporter: Reporter = _silent if flow is None else flow.reporter
    return task_life(
        task,
        run,
        reporter,
        log_prints=_log_prints(task, flow),
        flow=flow,
        wait_for=wait_for,
        collect=collect,
        remote=remote,
    )


def _log_prints(task: Task[Any, Any], flow: FlowRunContext | None) -> bool:
    if task.log_prints is not None:
        return task.log_prints
    outer = TASK.get()
    if outer is not None:
        return outer.log_prints
    return flow.log_prints if flow is not None else False


def _submit(
    task: Task[Any, Any],
    parameters: dict[str, Any],
    wait_for: Any,
    flow: FlowRunContext | None,
    runner: TaskRunner,
    context: Context,
) -> PenstockFuture[Any]:
    run = new_run(task, parameters, flow)
    pending: Sequence[PenstockFuture[Any]] = ()
    if wait_for is not None or not PLAIN.issuperset(map(type, parameters.values())):
        pending = [
            held for held, _ in find((parameters, wait_for)) if isinstance(held, PenstockFuture) and not held.done()
        ]
    submitted = _Submitted(task, run, flow, wait_for, runner, context)
    submitted.reporter.task_changed(run.record())
    runner.start(submitted, pending)
    return submitted.future


class _Submitted:
    """A task run on its way to a worker, which calls it. One object, where a function would keep a cell for each name:
    a map may have very many of these in flight, and the garbage collector looks at each of them again and again.

    Where it has to wait for its turn no worker waits with it: one calls it again, and it goes on from there.
    """

    __slots__ = ("context", "flow", "future", "life", "reporter", "run", "runner", "task", "turn", "wait_for")

    def __init__(
        self,
        task: Task[Any, Any],
        run: TaskRun,
        flow: FlowRunContext | None,
        wait_for: Any,
        runner: TaskRunner,
        context: Context,
    ) -> None:
        self.task, self.run, self.flow, self.wait_for = task, run, flow, wait_for
        self.runner, self.context = runner, context
        self.life: Life | None = None  # once it has begun, in a context of its own
        self.turn: Turn | None = None  # that it was left at
        self.reporter: Reporter = _silent if flow is None else flow.reporter
        self.future: PenstockFuture[Any] = PenstockFuture(run)

    def __call__(self) -> None:
        """Live the run, or go on with it; never raises."""
        run, runner = self.run, self.runner
        over = runner.abandoned and run.started is None
        if over and self.turn is not None:
            self.turn.give_up()
        if over and self.life is None:
            run.state, run.ended = abandoned(run), time.time()
            self.reporter.task_changed(run.record())
            state = run.state
        else:
            found = self._live()
            if isinstance(found, Turn):
                self.turn = found
                runner.start_again(self, found, begun=run.started is not None)
                return
            state = found
        run.parameters, run.inputs = {}, None  # whoever keeps the run, such as a transaction, need not keep these
        self.future.finish(state)
        runner.ended()

    def _live(self) -> State[Any] | Turn:
        run, call = self.run, self.runner.call
        try:
            if self.life is None:
                self.context = self.context.copy()
                self.life = self.context.run(
                    _life, self.task, run, self.flow, self.wait_for, collect=True, remote=call is not None
                )
            if not self.task.isasync or call is not None:
                return self.context.run(drive_to_turn, self.life, call)
            from .drive_async import drive_in_thread

            return drive_in_thread(self.life, self.context)
        except BaseException as error:  # the engine's own fault, or an interrupt between two effects
            run.state = exception_to_state(error, run_id=run.id)
            return run.state


def _runner_of(flow: FlowRunContext | None) -> TaskRunner:
    if flow is None:
        from ..task_runners import outside_of_flows

        return outside_of_flows()
    if flow.runner is None:
        from ..task_runners import default_task_runner

        chosen = flow.flow.task_runner
        flow.runner = default_task_runner() if chosen is None else chosen.duplicate()
        flow.runner.__enter__()
    return flow.runner


class _Uneven(Exception):
    """Elements ran out in one argument of a map and not in another."""


def _columns(arguments: Mapping[int | str, Any]) -> tuple[dict[int | str, Iterable[Any]], dict[int | str, Any]]:
    """What varies between the runs of a map, and what all get; keys are positions and names.

    Generators are not asked for more than is submitted: what has a length is compared now, the rest as it comes.
    """
    varying: dict[int | str, Iterable[Any]] = {}
    lengths: dict[int | str, int] = {}
    constant: dict[int | str, Any] = {}
    for name, value in arguments.items():
        column = _column(value)
        if column is None:
            constant[name] = value.value if isinstance(value, unmapped) else value
            continue
        source, tolerant = column
        if hasattr(source, "__len__"):
            lengths[name] = len(source)
        varying[name] = map(allow_failure, source) if tolerant else source
    if not varying:
        shown = ", ".join(_shown(name) for name in arguments)
        raise MappingMissingIterable(
            f"nothing to iterate over in the arguments ({shown or 'there are none'}): "
            f"map needs at least one list, tuple or other iterable that is not wrapped in unmapped(...)"
        )
    if len(set(lengths.values())) > 1:
        text = ", ".join(f"{_shown(name)} has {length}" for name, length in lengths.items())
        raise MappingLengthMismatch(
            f"arguments of a map must have equally many elements, but {text}; "
            f"wrap one that every run should get whole in unmapped(...)"
        )
    return varying, constant


def _rows(varying: Mapping[int | str, Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    """The elements of one run after the other. Raises `_Uneven` where an argument ends before another."""
    if len(varying) == 1:
        yield from ((value,) for value in next(iter(varying.values())))
        return
    columns = {name: iter(source) for name, source in varying.items()}
    done = object()
    while True:
        row = {name: next(column, done) for name, column in columns.items()}
        ended = [_shown(name) for name, value in row.items() if value is done]
        if ended:
            if len(ended) < len(row):
                longer = [_shown(name) for name, value in row.items() if value is not done]
                raise _Uneven(f"{', '.join(ended)} ended before {', '.join(longer)}")
            return
        yield tuple(row.values())


def _shown(name: int | str) -> str:
    return f"argument {name}" if isinstance(name, int) else name


def _column(value: Any) -> tuple[Any, bool] | None:
    """What a map iterates over, and whether failures are allowed in it; None for a value that every run gets."""
    if isinstance(value, Annotation):
        if isinstance(value, unmapped | quote | opaque):
            return None
        held = value.value
        if isinstance(held, PenstockFuture | State):
            held = held.result(raise_on_failure=False)  # an exception is what every run gets
        inner = _column(held)
        return None if inner is None else (inner[0], True)
    if isinstance(value, PenstockFuture | State):
        value = value.result()  # its length has to be known; a failure is the caller's
    if isinstance(value, str | bytes | bytearray) or not hasattr(value, "__iter__"):
        return None
    return value, False
