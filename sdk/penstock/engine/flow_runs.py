"""Starts flow runs: called by a person, by another flow, or by the runner in a pod (`run_flow`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..context import FLOW, TAGS, FlowRunContext
from ..results.options import of_flow
from ..settings import get_current_settings
from ..states import State, exception_to_state
from . import reporting
from .drive import drive, drive_generator
from .flow_life import flow_life
from .ids import new_id
from .names import random_name
from .outcome import answer, answer_async
from .records import FlowRunInfo, TaskRecord
from .reporting import Cancellable, ChildReporter, EventReporter, Opening
from .runs import FlowRun

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping

    from ..flows import Flow
    from .drive import Life
    from .reporting import Reporter


def run_flow(
    flow: Flow[Any, Any], parameters: Mapping[str, Any], *, reporter: Reporter, info: FlowRunInfo
) -> State[Any]:
    """Run a flow, sync or async, to its final state; nothing that user code does is raised from here.

    `parameters` are those of a manifest: by name, defaults left out, values as JSON has them.
    """
    before, reporting.of_process = reporting.of_process, reporter
    try:
        context = _context(flow, parameters, reporter, info)
        life = flow_life(flow, context, parameters, complete=False, collect=True)
        if not flow.isasync:
            return drive(life)
        from .drive_async import drive_apart

        return drive_apart(life, context.interrupt)
    except BaseException as error:  # an interrupt between two effects, or the engine's own fault
        return exception_to_state(error, run_id=info.id)
    finally:
        reporting.of_process = before


def call(flow: Flow[Any, Any], parameters: dict[str, Any], return_state: bool, wait_for: Any) -> Any:
    """Run the flow here: its value, its state, or for an async flow something to await."""
    if flow.isasync:
        if flow.isgenerator and not return_state:
            return _iterate_async(flow, parameters, wait_for)
        return _call_async(flow, parameters, return_state, wait_for)
    if flow.isgenerator and not return_state:
        return _iterate(flow, parameters, wait_for)
    run = _Started(flow, parameters)
    state = run.finish(drive(run.life(wait_for, collect=True)))
    return state if return_state else answer(state)


async def _call_async(flow: Flow[Any, Any], parameters: dict[str, Any], return_state: bool, wait_for: Any) -> Any:
    from .drive_async import drive_async

    run = _Started(flow, parameters)
    state = run.finish(await drive_async(run.life(wait_for, collect=True)))
    return state if return_state else await answer_async(state)


def _iterate(flow: Flow[Any, Any], parameters: dict[str, Any], wait_for: Any) -> Generator[Any, Any, Any]:
    run = _Started(flow, parameters)
    return answer(run.finish((yield from drive_generator(run.life(wait_for, collect=False)))))


def _iterate_async(flow: Flow[Any, Any], parameters: dict[str, Any], wait_for: Any) -> AsyncGenerator[Any, Any]:
    from .drive_async import drive_async_generator

    run = _Started(flow, parameters)
    return drive_async_generator(run.life(wait_for, collect=False), lambda state: answer(run.finish(state)))


class _Started:
    """A run that a call started: a flow run of its own on this machine, or a subflow of the run it is called in."""

    def __init__(self, flow: Flow[Any, Any], parameters: dict[str, Any]) -> None:
        parent = FLOW.get()
        info = _info(flow, parent)
        self.flow, self.parameters = flow, parameters
        if parent is None:
            from .local import local_reporter

            self._reporter: Reporter = local_reporter(info.name)
        else:
            self._reporter = Subflow(parent.reporter, flow, info)
        self.context = _context(flow, parameters, self._reporter, info)
        if parent is not None:
            self._name_call(parent)

    def _name_call(self, parent: FlowRunContext) -> None:
        """Say which call of its parent it is: worked out when something is kept, for parameters can be large."""
        name = f"flow {self.flow.name}"
        number = parent.calls.get(name, 0)
        parent.calls[name] = number + 1

        def call() -> str | None:
            from .keeping import subflow_key

            return subflow_key(parent.run, self.flow.name, number, self.parameters)

        self.context.run.call = call
        if self.context.results.persist:
            self.context.key = call()

    def life(self, wait_for: Any, *, collect: bool) -> Life:
        return flow_life(self.flow, self.context, self.parameters, wait_for=wait_for, collect=collect)

    def finish(self, state: State[Any]) -> State[Any]:
        """Tell the reporter of the final state, which nobody else does."""
        self._reporter.flow_changed(state)
        return state


class Subflow:
    """A subflow's reporter: the parent sees it as one of its task runs, and the subflow's tasks among its own.

    A parent that wants to know subflows as runs (`ChildReporter`) gets all of it besides.
    """

    def __init__(self, parent: Reporter, flow: Flow[Any, Any], info: FlowRunInfo) -> None:
        self._parent, self._flow, self._info = parent, flow, info
        self._child = parent.child(info) if isinstance(parent, ChildReporter) else None
        self.task_changed = (self._child or parent).task_changed
        if isinstance(parent, EventReporter):
            self.event_emitted = parent.event_emitted
        if isinstance(parent, Cancellable):
            self.being_cancelled = parent.being_cancelled
        if isinstance(self._child, ChildReporter):
            self.child = self._child.child  # for subflows of this one
        if isinstance(self._child, Opening):
            self.open = self._open
        self._runs = 0
        self._created: float | None = None

    def _open(self, run: FlowRun) -> State[Any] | None:
        assert isinstance(self._child, Opening)
        known = self._child.open(run)
        self._info = run.info
        return known

    def flow_changed(self, state: State[Any]) -> None:
        """Mirror the subflow's state in the parent's task records."""
        self._runs += state.is_running()
        if self._created is None:
            self._created = state.time
        if self._child is not None:
            self._child.flow_changed(state)
        ended = state.time if state.is_final() else None
        self._parent.task_changed(
            TaskRecord(
                self._info.id,
                self._flow.name,
                f"flow {self._flow.name}",
                self._info.name,
                state.type.value,
                state.name,
                self._runs,
                self._created,
                self._created if self._runs else None,
                ended,
                (),
                None,
                state.message,
            )
        )


def _context(
    flow: Flow[Any, Any], parameters: Mapping[str, Any], reporter: Reporter, info: FlowRunInfo
) -> FlowRunContext:
    run = FlowRun(flow.name, info, parameters)
    outer = FLOW.get()
    if outer is None and get_current_settings().extra_loggers:
        from ..logging import attach_extra_loggers

        attach_extra_loggers()
    if flow.log_prints is not None:
        prints = flow.log_prints
    elif outer is not None:
        prints = outer.log_prints
    else:
        prints = get_current_settings().log_prints
    context = FlowRunContext(flow, run, reporter, prints)
    context.results = of_flow(flow, None if outer is None else outer.results)
    return context


def _info(flow: Flow[Any, Any], parent: FlowRunContext | None) -> FlowRunInfo:
    identity, name, tags = new_id(), random_name(flow.name), tuple(sorted(TAGS.get()))
    if parent is None:
        return FlowRunInfo(id=identity, name=name, flow_name=flow.name, tags=tags, root_id=identity)
    up = parent.run.info
    return FlowRunInfo(
        id=identity,
        name=name,
        namespace=up.namespace,
        flow_name=flow.name,
        tags=tags,
        parent_id=up.id,
        parent_name=up.name,
        parent_deployment_id=up.deployment_id or up.parent_deployment_id,
        root_id=up.root_id or up.id,
    )
