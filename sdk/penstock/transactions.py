"""Results that are kept together or not at all. Each task run that has something to keep or to undo is one of these.

    with transaction() as txn:
        write_file(path)      # @write_file.on_rollback removes it
        check(path)           # raises: the file is removed again

What beginning, committing and rolling back are is written once, as generators of effects: `with` performs them in
this thread, `async with` in the event loop, and a task's life as part of its own. Nothing here knows what a task is.

Order: a commit commits its children in the order they ended, then calls its own hooks, then writes its record. A
rollback calls its own hooks last first, then rolls back its children last first, then its parent. What is committed
stays.
"""

from __future__ import annotations

from copy import deepcopy
from enum import Enum
from threading import Lock
from typing import TYPE_CHECKING, Any

from .cache_policies import IsolationLevel
from .context import TASK, TRANSACTION
from .engine.effects import Acquire, Blocking, Callback
from .engine.ids import new_id
from .errors import ConfigurationError, SerializationError, StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from contextvars import Token
    from types import TracebackType
    from typing import Self

    from .context import TaskRunContext
    from .engine.effects import Effect
    from .locking.protocol import LockManager
    from .results.record import ResultRecord
    from .results.store import ResultStore

    Hook = Callable[[Any], Any]
    Steps = Generator[Effect, Any, None]

__all__ = [
    "CommitMode",
    "IsolationLevel",
    "Transaction",
    "TransactionState",
    "atransaction",
    "get_transaction",
    "transaction",
]

_ABSENT: Any = object()


class CommitMode(Enum):
    """When a transaction commits."""

    LAZY = "LAZY"  # with the outermost one
    EAGER = "EAGER"  # when it ends
    OFF = "OFF"  # by `commit` alone; the outermost one rolls back at its end what was not

    @classmethod
    def _missing_(cls, value: object) -> CommitMode:
        raise ConfigurationError(f"commit_mode must be one of {', '.join(cls.__members__)}, not {value!r}")


class TransactionState(Enum):
    """What has become of a transaction."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    STAGED = "STAGED"
    COMMITTED = "COMMITTED"
    ROLLED_BACK = "ROLLED_BACK"


class Transaction:
    """One transaction. Made by `transaction` and by task runs."""

    commit_mode: CommitMode

    def __init__(
        self,
        *,
        key: str | None = None,
        store: ResultStore | None = None,
        commit_mode: CommitMode | None = None,
        isolation_level: IsolationLevel | None = None,
        lock_manager: LockManager | None = None,
        overwrite: bool = False,
        write_on_commit: bool = True,
        parent: Transaction | None = None,
        owner: TaskRunContext | None = None,
    ) -> None:
        self.id = new_id()
        self.key, self.store = key, store
        self.overwrite, self.write_on_commit = overwrite, write_on_commit
        self.parent, self.owner = parent, owner  # the task run whose code it was opened in
        self.commit_mode = commit_mode or (parent.commit_mode if parent is not None else CommitMode.LAZY)
        self.isolation_level = isolation_level or IsolationLevel.READ_COMMITTED
        self.lock_manager = lock_manager
        if self.isolation_level is IsolationLevel.SERIALIZABLE and lock_manager is None:
            raise ConfigurationError(
                "isolation level SERIALIZABLE needs a lock manager: give transaction(lock_manager=…) one that "
                "everyone who shares the keys can reach (penstock.locking)"
            )
        self.state = TransactionState.PENDING
        self.children: list[Transaction] = []
        self.on_commit_hooks: list[Hook] = []
        self.on_rollback_hooks: list[Hook] = []
        self._values: dict[str, Any] = {}
        self._record: ResultRecord | None = None  # found, or staged
        self._lock = Lock()
        self._closing = False  # children that end from now on commit by themselves
        self._locked = False
        self._token: Token[Transaction | None] | None = None

    # What user code does with it.

    def set(self, name: str, value: Any) -> None:
        """Note a value for hooks and for the transactions inside of this one."""
        self._values[name] = value

    def get(self, name: str, default: Any = _ABSENT) -> Any:
        """A copy of a value that was set here or further out; ValueError where there is none and no default."""
        found: Transaction | None = self
        while found is not None:
            if name in found._values:
                return deepcopy(found._values[name])
            found = found.parent
        if default is _ABSENT:
            raise ValueError(f"the transaction has no value {name!r}: set it first, or give a default")
        return default

    def is_active(self) -> bool:
        """Whether it is under way."""
        return self.state is TransactionState.ACTIVE

    def is_staged(self) -> bool:
        """Whether it waits to be committed."""
        return self.state is TransactionState.STAGED

    def is_committed(self) -> bool:
        """Whether it is committed: now, or by an earlier one with the same key."""
        return self.state is TransactionState.COMMITTED

    def is_rolled_back(self) -> bool:
        """Whether it was rolled back."""
        return self.state is TransactionState.ROLLED_BACK

    def read(self) -> ResultRecord | None:
        """The record under the key: an earlier one's, or what has been staged."""
        return self._record

    def stage(self, value: Any, on_rollback_hooks: Iterable[Hook] = (), on_commit_hooks: Iterable[Hook] = ()) -> None:
        """Give the value that a commit writes, and hooks. Nothing happens where it is committed already."""
        if self.is_committed():
            return
        if self.key is not None and self.store is not None and self.write_on_commit:
            from .results.record import make

            self._record = make(self.key, value, self.store.serializer)
        self._take(on_rollback_hooks, on_commit_hooks)

    def stage_record(
        self, record: ResultRecord | None, on_rollback_hooks: Iterable[Hook], on_commit_hooks: Iterable[Hook]
    ) -> None:
        """As `stage`, with the record made already; without one nothing is written."""
        self._record = record
        self.write_on_commit = record is not None
        self._take(on_rollback_hooks, on_commit_hooks)

    def _take(self, on_rollback_hooks: Iterable[Hook], on_commit_hooks: Iterable[Hook]) -> None:
        self.on_rollback_hooks.extend(on_rollback_hooks)
        self.on_commit_hooks.extend(on_commit_hooks)
        self.state = TransactionState.STAGED

    def commit(self) -> bool:
        """Commit it now; whether that was possible."""
        _perform(self.committing())
        return self.is_committed()

    def rollback(self) -> bool:
        """Roll it back now; whether anything was left to."""
        before = self.state
        _perform(self.rolling_back())
        return self.is_rolled_back() and before is not TransactionState.ROLLED_BACK

    # Its life, as effects.

    def beginning(self) -> Steps:
        """Wait for the lock if there is one, and look for a record under the key. Raises StorageUnavailable."""
        self.state = TransactionState.ACTIVE
        if self.key is None:
            return
        if self.isolation_level is IsolationLevel.SERIALIZABLE:
            self._locked = True
            try:
                yield Acquire(self.lock_manager, self.key, self._holder)
            except BaseException:  # cancelled while it waited, perhaps with the lock already ours
                yield from self._unlocking()
                raise
        if self.overwrite or self.store is None:
            return
        try:
            self._record = yield Blocking(_usable, (self.store, self.key))
        except BaseException:
            yield from self._unlocking()
            raise
        if self._record is not None:
            self.state = TransactionState.COMMITTED
            yield from self._unlocking()

    def committing(self) -> Steps:
        """Commit the children, call the hooks, write the record. Raises StorageUnavailable, once it is rolled back."""
        if self.state in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
            return
        with self._lock:
            self._closing = True
        try:
            for child in self.children:
                yield from child.committing()
            for hook in self.on_commit_hooks:
                yield Callback(hook, (self,))
            if self.key is not None and self.store is not None and self.write_on_commit:
                yield Blocking(_write, (self.store, self.key, self._record))
            self.state = TransactionState.COMMITTED
        except StorageUnavailable:
            yield from self.rolling_back()
            raise
        except Exception:
            _logger().exception("A commit hook of %s raised; it is rolled back", self._name)
            yield from self.rolling_back()
        finally:
            yield from self._unlocking()

    def rolling_back(self) -> Steps:
        """Call the hooks, last first, and roll back the children, last first; a hook that raises stops nothing."""
        if self.state in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
            return
        with self._lock:
            self.state = TransactionState.ROLLED_BACK
        for hook in reversed(self.on_rollback_hooks):
            try:
                yield Callback(hook, (self,))
            except Exception:
                _logger().exception("A rollback hook of %s raised; the others are called", self._name)
        for child in reversed(self.children):
            yield from child.rolling_back()
        yield from self._unlocking()

    def ending(self, *, failed: bool) -> Steps:
        """Commit it, roll it back, or leave it to its parent."""
        parent = self.parent
        if failed:
            yield from self.rolling_back()
            if parent is not None and self.is_rolled_back():
                yield from parent.broken()
            return
        if parent is None and self.commit_mode is CommitMode.OFF:
            yield from self.rolling_back()
        elif parent is None or self.commit_mode is CommitMode.EAGER or not parent.adopt(self):
            if parent is not None and parent.is_rolled_back():
                yield from self._unlocking()  # too late for either
                return
            yield from self.committing()
        if parent is not None and self.is_rolled_back():
            yield from parent.broken()

    def broken(self) -> Steps:
        """Roll back, and everything further out, for something inside of it was."""
        yield from self.rolling_back()
        if self.parent is not None and self.is_rolled_back():
            yield from self.parent.broken()

    def adopt(self, child: Transaction) -> bool:
        """Take on a child that ended; False where it is too late for that."""
        with self._lock:
            if self._closing or self.state in (TransactionState.COMMITTED, TransactionState.ROLLED_BACK):
                return False
            self.children.append(child)
            return True

    def _unlocking(self) -> Steps:
        if self._locked:
            self._locked = False
            yield Blocking(_release, (self.lock_manager, self.key, self._holder))

    @property
    def _holder(self) -> str:
        """Within one outermost transaction, locks are shared: its parts would wait for each other for ever."""
        outermost = self
        while outermost.parent is not None:
            outermost = outermost.parent
        return outermost.id

    @property
    def _name(self) -> str:
        if self.owner is not None and self.owner.transaction is self:
            return f"task run {self.owner.run.name}"
        return f"transaction {self.key!r}" if self.key is not None else "a transaction"

    # As a block of code.

    def __enter__(self) -> Self:
        _perform(self.beginning())
        self._token = TRANSACTION.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()
        _perform(self.ending(failed=error is not None))

    async def __aenter__(self) -> Self:
        from .engine.drive_async import drive_async

        await drive_async(self.beginning())
        self._token = TRANSACTION.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from .engine.drive_async import drive_async

        self._leave()
        await drive_async(self.ending(failed=error is not None))

    def _leave(self) -> None:
        assert self._token is not None
        TRANSACTION.reset(self._token)

    def __repr__(self) -> str:
        key = "" if self.key is None else f" {self.key!r}"
        return f"<Transaction{key} {self.state.value}>"


def transaction(
    key: str | None = None,
    store: ResultStore | None = None,
    commit_mode: CommitMode | str | None = None,
    isolation_level: IsolationLevel | str | None = None,
    overwrite: bool = False,
    write_on_commit: bool = True,
    lock_manager: LockManager | None = None,
) -> Transaction:
    """A transaction as a block: `with transaction(): …`, or `async with` where hooks and stores should not block.

    With a `key` it is committed from the start where an earlier one with the same key was, unless `overwrite`.
    """
    if key is not None and store is None:
        from .results.settings import get_result_store

        store = get_result_store()
    level = None if isolation_level is None else IsolationLevel(isolation_level)
    mode = None if commit_mode is None else CommitMode(commit_mode)
    return Transaction(
        key=key,
        store=store,
        commit_mode=mode,
        isolation_level=level,
        lock_manager=lock_manager,
        overwrite=overwrite,
        write_on_commit=write_on_commit,
        parent=get_transaction(),
        owner=TASK.get(),
    )


atransaction = transaction  # Prefect's name for `async with`


def get_transaction() -> Transaction | None:
    """The transaction that the current code is in: the innermost block, else the task run's own."""
    return innermost(TASK.get())


_making = Lock()


def innermost(task: TaskRunContext | None) -> Transaction | None:
    """The transaction of code that runs in `task` here and now. A task run gets one when it is first asked for."""
    block = TRANSACTION.get()
    if task is None or (block is not None and block.owner is task):
        return block
    with _making:
        if task.transaction is None:
            task.transaction = Transaction(parent=block, owner=task, write_on_commit=False)
            task.transaction.state = TransactionState.ACTIVE
        return task.transaction


def _perform(steps: Steps) -> None:
    from .engine.drive import drive

    drive(steps)


def _usable(store: ResultStore, key: str) -> ResultRecord | None:
    """The record of a key, with its value read; one that cannot be read counts as none, with a warning."""
    record = store.find(key)
    if record is None:
        return None
    try:
        _ = record.result
    except (SerializationError, ConfigurationError) as error:
        _logger().warning("the result at %s cannot be used and counts as missing: %s", store.url_of(key), error)
        return None
    return record


def _write(store: ResultStore, key: str, record: ResultRecord | None) -> None:
    if record is None:  # nothing was staged: that it is committed is all there is to keep
        store.write(key, None)
    else:
        store.put(record)


def _release(manager: LockManager, key: str, holder: str) -> None:
    if manager.is_lock_holder(key, holder):
        manager.release_lock(key, holder)


def _logger() -> Any:
    from .logging import get_logger

    return get_logger("transactions")
