"""What a run's life does for results: looks in the cache before user code, keeps the value after it, undoes on failure.

Called by `task_life` and `flow_life`, and imported only where there is something to keep or to undo.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ..api.states import StateName, StateType
from ..cache_policies import DEFAULT, NO_CACHE, CacheKeyFnPolicy
from ..errors import SerializationError, UnhashableInput
from ..results.options import ResultOptions
from ..results.record import make
from ..results.settings import get_default_persist_setting, store_for
from ..results.split import Split
from ..results.store import ResultStore
from ..settings import get_current_settings
from ..states import State, exception_to_state
from ..transactions import Transaction, innermost
from .effects import Blocking
from .names import fill

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..cache_policies import CachePolicy
    from ..context import FlowRunContext, TaskRunContext
    from ..flows import Flow
    from ..tasks import Task
    from .effects import Effect
    from .reporting import Reporter
    from .runs import FlowRun

_COLLECTIONS = (list, tuple, set, frozenset)


class Keeping:
    """One task run's part in this: settled once, used for each of its attempts."""

    def __init__(
        self, context: TaskRunContext, outside: TaskRunContext | None, flow: FlowRunContext | None, *, collect: bool
    ) -> None:
        task: Task[Any, Any] = context.task
        self._context, self._outside, self._flow = context, outside, flow
        options = flow.results if flow is not None else ResultOptions(get_default_persist_setting())
        self._options = options
        persist = options.persist if task.persist_result is None and not task.persists else task.persists
        if task.isgenerator and not collect:  # its values are gone as they are made
            persist = False
        self.persist = persist
        self._policy = policy_of(task) if persist else NO_CACHE
        self._store: ResultStore | None = None
        if persist:
            storage = options.storage if task.result_storage is None else task.result_storage
            serializer = options.serializer if task.result_serializer is None else task.result_serializer
            self._store = store_for(storage, serializer)
            if self._policy.key_storage is not None:
                keys = store_for(self._policy.key_storage, None)
                self._store = ResultStore(Split(keys.storage, self._store.storage), serializer=self._store.serializer)

    def begin(self) -> Generator[Effect, Any, State[Any] | None]:
        """Start an attempt's transaction; the state of a run that need not run, or cannot."""
        context, run = self._context, self._context.run
        transaction: Transaction | None = None
        try:
            key = self._key() if self.persist else None
            run.cache_key = key
            task = context.task
            transaction = context.transaction = Transaction(
                key=key or (run.id if self.persist else None),
                store=self._store,
                isolation_level=self._policy.isolation_level if key else None,
                lock_manager=self._policy.lock_manager,
                overwrite=key is None or _refreshes(task),
                write_on_commit=self.persist,
                parent=innermost(self._outside),
                owner=context,
            )
            yield from transaction.beginning()
            record = transaction.read()
            if record is None:
                return None
            state: State[Any] = State(
                StateType.COMPLETED,
                StateName.CACHED,
                None,
                record.result,
                reason=StateName.CACHED,
                run_id=run.id,
            )
            self._remember(state)
            yield from transaction.ending(failed=False)
            return state
        except Exception as error:
            if transaction is not None:
                yield from transaction.ending(failed=True)
            return exception_to_state(error, run_id=run.id)

    def end(self, reporter: Reporter, state: State[Any]) -> Generator[Effect, Any, State[Any]]:
        """End the last attempt's transaction: with a value, by staging it; the state, or one that says why not."""
        context, run, task = self._context, self._context.run, self._context.task
        transaction = context.transaction
        assert transaction is not None
        try:
            if state.type is not StateType.COMPLETED:
                yield from transaction.ending(failed=True)
                return state
            record = None
            if self._store is not None and transaction.key is not None and not _holds_states(state.data):
                record = yield Blocking(self._made, (transaction.key, state.data))

            undone: State[Any] = State(
                StateType.COMPLETED,
                StateName.ROLLED_BACK,
                "rolled back with its transaction",
                state.data,
                reason=StateName.ROLLED_BACK,
                run_id=run.id,
            )

            def rolled_back(_: Transaction) -> None:
                if run.ended is not None:  # else it is its own end that undoes it
                    run.state = undone
                    reporter.task_changed(run.record())

            transaction.stage_record(record, [rolled_back, *task.on_rollback_hooks], task.on_commit_hooks)
            if record is not None:
                self._remember(state)
            yield from transaction.ending(failed=False)
        except Exception as error:
            return exception_to_state(error, run_id=run.id)
        return undone if transaction.is_rolled_back() else state

    def _made(self, key: str, value: Any) -> Any:
        assert self._store is not None
        kept = self._context.task.cache_expiration
        until = None if kept is None else time.time() + kept
        try:
            return make(key, value, self._store.serializer, until)
        except SerializationError as error:
            self._logger().warning("The result is not kept: %s", error)
            return None

    def _remember(self, state: State[Any]) -> None:
        """Let the state know where its value is; and have nothing else, if the task wants that."""
        transaction = self._context.transaction
        assert transaction is not None
        assert transaction.key is not None
        assert self._store is not None
        state.stored = self._store.reference(transaction.key)
        if not self._context.task.cache_result_in_memory and not self._waits(transaction):
            state.data = state.stored

    @staticmethod
    def _waits(transaction: Transaction) -> bool:
        """Whether the value is written later than now, so that it cannot be read back yet."""
        return transaction.parent is not None and not transaction.is_committed()

    def _key(self) -> str | None:
        task, run = self._context.task, self._context.run
        if task.result_storage_key is not None:
            flow_run = None if self._flow is None else self._flow.run
            fields = {"flow_run": flow_run, "task_run": run, "parameters": run.parameters}
            return fill(task.result_storage_key, fields, "result_storage_key")
        flow_parameters = None if self._flow is None else self._flow.run.parameters
        try:
            return self._policy.compute_key(self._context, dict(run.parameters), flow_parameters)
        except UnhashableInput as error:
            name = error.argument
            self._warn_once(
                name,
                f"The task runs uncached: its argument {name!r} cannot be hashed ({error.cause}). Take it out of the "
                f"key (cache_policy=… - {name!r}), give what can be hashed, or make the key yourself (cache_key_fn)",
            )
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            self._warn_once("", f"The task runs uncached: its cache key cannot be made: {cause}")
        return None

    def _warn_once(self, argument: str, text: str) -> None:
        """Once for each task and argument of a flow run: a map has many runs."""
        seen = (self._context.task.task_key, argument)
        if seen not in self._options.warned:
            self._options.warned.add(seen)
            self._logger().warning("%s", text)

    def _logger(self) -> Any:
        from ..logging import run_logger

        return run_logger(self._context.run)


def policy_of(task: Task[Any, Any]) -> CachePolicy:
    """The policy of a task whose results are kept."""
    if get_current_settings().tasks_disable_caching:
        return NO_CACHE
    if task.cache_key_fn is not None:
        return CacheKeyFnPolicy(task.cache_key_fn)
    policy = task.cache_policy
    if policy is ...:
        none = task.result_storage_key is not None or get_current_settings().tasks_default_no_cache
        return NO_CACHE if none else DEFAULT
    return NO_CACHE if policy is None else policy


def _refreshes(task: Task[Any, Any]) -> bool:
    return get_current_settings().tasks_refresh_cache if task.refresh_cache is None else task.refresh_cache


def again(context: TaskRunContext) -> Generator[Effect, Any, None]:
    """Undo what an attempt that is retried had inside of it; what is around it stays."""
    transaction, context.transaction = context.transaction, None
    assert transaction is not None
    yield from transaction.rolling_back()


def ended(context: TaskRunContext, state: State[Any]) -> Generator[Effect, Any, State[Any]]:
    """End the transaction of a run that keeps nothing itself: what ran inside of it is committed or undone."""
    assert context.transaction is not None
    try:
        yield from context.transaction.ending(failed=state.type is not StateType.COMPLETED)
    except Exception as error:
        return exception_to_state(error, run_id=context.run.id)
    return state


def restored(context: FlowRunContext, key: str) -> Generator[Effect, Any, State[Any] | None]:
    """The state of a subflow run that completed in an earlier try of its parent, if its result was kept."""
    store = store_for(context.results.storage, context.results.serializer)
    record = yield Blocking(store.find, (key,))
    if record is None:
        return None
    value = yield Blocking(getattr, (record, "result"))
    state: State[Any] = State(
        StateType.COMPLETED, StateName.CACHED, None, value, reason=StateName.CACHED, run_id=context.run.id
    )
    state.stored = store.reference(key)
    return state


def keep(
    flow: Flow[Any, Any], context: FlowRunContext, key: str, state: State[Any]
) -> Generator[Effect, Any, State[Any]]:
    """Keep the value of a flow run that Completed; the state, or one that says why that failed."""
    if _holds_states(state.data):
        return state
    try:
        store = store_for(context.results.storage, context.results.serializer)
        yield Blocking(store.write, (key, state.data))
    except SerializationError as error:
        from ..logging import run_logger

        run_logger(context.run).warning("The result is not kept: %s", error)
        return state
    except Exception as error:
        return exception_to_state(error, run_id=context.run.id)
    state.stored = store.reference(key)
    if not flow.cache_result_in_memory:
        state.data = state.stored
    return state


def subflow_key(parent: FlowRun, flow_name: str, number: int, parameters: dict[str, Any]) -> str | None:
    """What names the `number`-th call of a subflow in every try of its parent; None where that cannot be told.

    Its own result is kept under it, and its tasks' results as those of a run are under its id.
    """
    from ..results.hashing import hash_of

    try:
        return f"{parent.results_id}-{flow_name}-{number}-{hash_of(parameters)[:16]}"
    except Exception:
        return None


def _holds_states(value: Any) -> bool:
    if isinstance(value, State):
        return True
    return isinstance(value, _COLLECTIONS) and any(isinstance(item, State) for item in value)
