"""Background tasks: `task.delay` makes a FlowRun of one task, and a worker of a pool of type Process runs it.

Arguments and result travel through the result store; code is the task's file, as `task.serve` has put it into the
cluster, or the parent's where a run delays a task. The task's own retries and hooks run where it runs.
"""

from __future__ import annotations

import logging
import pickle
import secrets
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .api import labels, names
from .errors import ConfigurationError, CrashedRun, FailedRun, FutureTimedOut

if TYPE_CHECKING:
    from .cluster_runs import FlowRun
    from .results.store import ResultStore
    from .states import State
    from .tasks import Task

__all__ = ["BackgroundRun", "delay", "serve"]

R = TypeVar("R")
Body = dict[str, Any]
LIMIT = 10  # runs at once of a worker that serves tasks, as Prefect's


class BackgroundRun(Generic[R]):
    """A task that runs in the background, or waits for a worker; it goes on whatever becomes of this handle."""

    def __init__(self, body: Body, store: ResultStore, key: str) -> None:
        self._body, self._store, self._key = body, store, key
        self.task_run_id: str = body["metadata"]["uid"]
        """The uid of its FlowRun."""
        self.name: str = body["metadata"]["name"]
        """The name of its FlowRun, for `penstock show` and its like."""

    @property
    def state(self) -> State[Any] | None:
        """Its state as it is now; None before anybody has looked at it."""
        from .cluster_runs import connect, state_of

        with connect(self._body["metadata"]["namespace"]) as client:
            self._body = client.get("flowruns", self.name)
        return state_of(self._body)

    def wait(self, timeout: float | None = None) -> FlowRun:
        """The run when it has ended, or as it is after `timeout` seconds."""
        from .cluster_runs import FlowRun, connect, wait_for_end

        self._body = wait_for_end(self._body, timeout, 1.0, connect)
        return FlowRun.of(self._body)

    def result(self, timeout: float | None = None, raise_on_failure: bool = True) -> R:
        """What the task returned; raises what ended it, or returns that exception with `raise_on_failure=False`.

        Raises FutureTimedOut after `timeout` seconds.
        """
        state = self.wait(timeout).state
        if state is None or not state.is_final():
            raise FutureTimedOut(f"task run {self.name} is not done after {timeout} s; it goes on")
        kind, value = self._answer(state)
        if kind == "value":
            return value  # type: ignore[no-any-return]
        if raise_on_failure:
            raise value
        return value  # type: ignore[no-any-return]

    def _answer(self, state: State[Any]) -> tuple[str, Any]:
        record = self._store.find(self._key)
        if record is not None:
            kind, value, *_ = pickle.loads(record.result)  # noqa: S301 - what our own worker wrote
            return kind, value
        told = f"task run {self.name}: {state.message or state.name}"
        if state.type.value == "Completed":
            told += (
                f"; its result is not at {self._store.url_of(self._key)}, which its worker must reach as this code does"
            )
            return "error", FailedRun(told)
        return "error", CrashedRun(told) if state.type.value == "Crashed" else FailedRun(told)

    def __repr__(self) -> str:
        return f"BackgroundRun({self.name})"


def delay(
    task: Task[Any, R],
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    wait_for: Iterable[Any] = (),
) -> BackgroundRun[R]:
    """`Task.delay`: have a worker run the task, and go on. Raises ParameterBind where the arguments do not fit."""
    from .cluster_runs import connect
    from .deployments import Parent
    from .engine.inputs import find, resolve
    from .futures import PenstockFuture
    from .settings import get_current_settings

    kwargs = dict(kwargs or {})
    for each in wait_for:
        each.wait()
    for held, _ in find({"args": args, "kwargs": kwargs}):
        if isinstance(held, PenstockFuture):
            held.wait()
    args, kwargs = resolve(tuple(args)), resolve(kwargs)
    task.signature.bind(tuple(args), dict(kwargs))
    entrypoint = entrypoint_of(task)
    parent = Parent.here(False)
    name = names.manual_run(names.dns_label(task.name) or "task", secrets.token_hex(8))
    store, folder = _store(task), f"background/{name}"
    given, result = f"{folder}/arguments", f"{folder}/result"
    store.write(given, {"request": _request(entrypoint, args, kwargs), "store": store, "result": result})
    about = {"entrypoint": entrypoint, "arguments": store.url_of(given), "result": store.url_of(result)}
    body = run_body(name, task, about, parent, get_current_settings().background_pool)
    with connect() as client:
        return BackgroundRun(client.create(body), store, result)


def run_body(name: str, task: Task[Any, Any], about: Body, parent: Any, pool: str) -> Body:
    """The FlowRun. A run that delays a task does so within its own rights: in its own pool, with its own code. Pure."""
    flow = flow_name(task)
    spec: Body = {"flowRef": {"name": flow}, "task": about}
    meta: Body = {"name": name, "labels": {labels.TASK: names.dns_label(task.name) or "task"}}
    if parent is None:
        spec["workPool"] = pool
    else:
        spec["parent"] = {"name": parent.name, "uid": parent.uid, "awaited": False}
        meta["labels"][labels.PARENT] = parent.name
    return {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "metadata": meta, "spec": spec}


def flow_name(task: Task[Any, Any]) -> str:
    """Name of the Flow that has the task's code."""
    return f"task-{names.dns_label(task.name, 100) or 'task'}-{names.digest(entrypoint_of(task), length=5)}"


def entrypoint_of(task: Task[Any, Any]) -> str:
    """`module:task`, by which a worker finds the task in its file. Raises CannotBeDeployed where it is in none."""
    from .runner_deployments import source_of

    return source_of(task)[0]  # type: ignore[arg-type] # what it needs, flows and tasks both have


def _store(task: Task[Any, Any]) -> ResultStore:
    from .results.settings import store_for

    return store_for(task.result_storage, task.result_serializer)


def _request(entrypoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """The call, as `runner.task_run` makes it."""
    from .context import TAGS
    from .engine.process import dumps, unpicklable
    from .settings import get_current_settings

    asked = {
        "fn": perform,
        "args": (entrypoint, tuple(args), dict(kwargs)),
        "kwargs": {},
        "tags": TAGS.get(),
        "log_prints": False,
        "task": None,
        "task_run": None,
        "flow": None,
        "level": logging.getLogger("penstock").level or get_current_settings().log_level,
    }
    try:
        return dumps(asked)
    except Exception as error:
        raise unpicklable("the task's arguments", error) from error


def perform(entrypoint: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """In the worker: the whole run of the task, with its retries and hooks."""
    import importlib

    module, _, name = entrypoint.partition(":")
    task = getattr(importlib.import_module(module), name)
    return task(*args, **kwargs)


def serve(*tasks: Task[Any, Any], limit: int | None = None, pool: str | None = None) -> None:
    """Be a worker for these tasks until Ctrl-C: their code is put into the cluster, and their runs are made here.

    `pool` is the work pool, of type Process, made where it is missing; the setting `background_pool` when unset.
    """
    import asyncio
    import os

    from .cli.worker import show, tell
    from .client import Client
    from .kubeconfig import access
    from .serving import importable, make_pool
    from .settings import get_current_settings
    from .tasks import Task
    from .worker.outside import work

    if not tasks or not all(isinstance(task, Task) for task in tasks):
        raise ConfigurationError("serve wants tasks: serve(my_task, my_other_task)")
    found = access()
    namespace = os.environ.get(labels.ENV_NAMESPACE) or found.namespace
    where = pool or get_current_settings().background_pool
    with Client(found, namespace) as client:
        make_pool(client, where)
        for task in tasks:
            client.apply(flow_manifest(task))
    tell(f"serving {', '.join(task.name for task in tasks)}")
    with importable(tasks):
        asyncio.run(work(access, namespace, where, slots=limit or LIMIT, show=show, say=tell))


def flow_manifest(task: Task[Any, Any]) -> Body:
    """The Flow with the code of the task's file."""
    from .runner_deployments import source_of

    entrypoint, source = source_of(task)  # type: ignore[arg-type]
    meta = {"name": flow_name(task), "labels": {labels.TASK: names.dns_label(task.name) or "task"}}
    spec: Body = {"entrypoint": entrypoint, "code": {"source": {"text": source}}}
    if task.description:
        spec["description"] = task.description
    return {"apiVersion": labels.API_VERSION, "kind": "Flow", "metadata": meta, "spec": spec}
