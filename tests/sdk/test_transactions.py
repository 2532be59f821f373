"""Transactions: order of hooks, modes, nesting, keys and locks, in threads and in event loops."""

from __future__ import annotations

import asyncio
import logging
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from penstock import flow, task
from penstock.errors import ConfigurationError, SerializationError, StorageUnavailable
from penstock.locking.memory import MemoryLockManager
from penstock.results import ResultStore
from penstock.states import Failed
from penstock.transactions import (
    CommitMode,
    IsolationLevel,
    Transaction,
    TransactionState,
    atransaction,
    get_transaction,
    transaction,
)

Block = Callable[[Any], None]


@pytest.fixture
def store() -> ResultStore:
    return ResultStore.from_url(f"memory://{uuid.uuid4()}")


class Log(list[str]):
    """What was called, in order."""

    def hooks(self, name: str) -> dict[str, Any]:
        return {
            "on_commit_hooks": [lambda _: self.append(f"{name} 1 kept"), lambda _: self.append(f"{name} 2 kept")],
            "on_rollback_hooks": [lambda _: self.append(f"{name} 1 undone"), lambda _: self.append(f"{name} 2 undone")],
        }


@pytest.fixture
def log() -> Log:
    return Log()


class Stop(Exception):
    pass


def nested(log: Log, fail: bool, **options: Any) -> list[Transaction]:
    """An outer transaction with two inner ones, each with hooks."""
    made = []
    try:
        with transaction(**options) as outer:
            made.append(outer)
            outer.stage(None, **log.hooks("outer"))
            for name in ("a", "b"):
                with transaction() as inner:
                    made.append(inner)
                    inner.stage(None, **log.hooks(name))
            log.append("end of the block")
            if fail:
                raise Stop
    except Stop:
        pass
    return made


class TestOrder:
    """Who is called when."""

    def test_lazy_commits_with_the_outermost(self, log: Log) -> None:
        made = nested(log, fail=False)
        assert log == [
            "end of the block",
            *("a 1 kept", "a 2 kept", "b 1 kept", "b 2 kept"),
            *("outer 1 kept", "outer 2 kept"),
        ]
        assert {txn.state for txn in made} == {TransactionState.COMMITTED}

    def test_a_failure_undoes_from_the_last_to_the_first(self, log: Log) -> None:
        made = nested(log, fail=True)
        assert log == [
            "end of the block",
            *("outer 2 undone", "outer 1 undone"),
            *("b 2 undone", "b 1 undone", "a 2 undone", "a 1 undone"),
        ]
        assert {txn.state for txn in made} == {TransactionState.ROLLED_BACK}

    def test_eager_commits_at_each_end_and_what_is_committed_stays(self, log: Log) -> None:
        outer, *inner = nested(log, fail=True, commit_mode=CommitMode.EAGER)
        assert log == [
            *("a 1 kept", "a 2 kept", "b 1 kept", "b 2 kept"),
            "end of the block",
            *("outer 2 undone", "outer 1 undone"),
        ]
        assert outer.is_rolled_back()
        assert all(txn.is_committed() for txn in inner)

    def test_off_undoes_what_nobody_committed(self, log: Log) -> None:
        nested(log, fail=False, commit_mode=CommitMode.OFF)
        assert log[1] == "outer 2 undone"
        assert len(log) == 7

    def test_off_keeps_what_was_committed_by_hand(self, log: Log) -> None:
        with transaction(commit_mode=CommitMode.OFF) as txn:
            txn.stage(None, **log.hooks("outer"))
            assert txn.commit()
        assert log == ["outer 1 kept", "outer 2 kept"]

    def test_an_inner_failure_that_is_caught_undoes_the_outer_at_once(self, log: Log) -> None:
        with transaction() as outer:
            with transaction() as first:
                first.stage(None, **log.hooks("first"))
            try:
                with transaction():
                    raise Stop
            except Stop:
                log.append("caught")
            assert outer.is_rolled_back()
            with transaction() as later:
                later.stage(None, **log.hooks("later"))
        assert log == ["first 2 undone", "first 1 undone", "caught"]
        assert later.is_staged()  # neither committed nor undone

    def test_rolling_back_by_hand(self, log: Log) -> None:
        with transaction() as txn:
            txn.stage(None, **log.hooks("outer"))
            assert txn.rollback()
            assert not txn.rollback()
            assert not txn.commit()
        assert log == ["outer 2 undone", "outer 1 undone"]

    def test_the_same_in_an_event_loop(self, log: Log) -> None:
        async def kept(_: Transaction) -> None:
            await asyncio.sleep(0)
            log.append("kept")

        async def undone(_: Transaction) -> None:
            await asyncio.sleep(0)
            log.append("undone")

        async def main() -> None:
            async with atransaction() as outer:
                async with transaction() as inner:
                    inner.stage(None, on_commit_hooks=[kept], on_rollback_hooks=[undone])
                assert inner.parent is outer
            with pytest.raises(Stop):
                async with transaction() as txn:
                    txn.stage(None, on_rollback_hooks=[undone])
                    raise Stop
            assert get_transaction() is None

        asyncio.run(main())
        assert log == ["kept", "undone"]

    def test_async_hooks_in_a_plain_block(self, log: Log) -> None:
        async def kept(_: Transaction) -> None:
            log.append("kept")

        with transaction() as txn:
            txn.stage(None, on_commit_hooks=[kept])
        assert log == ["kept"]


class TestHooksThatRaise:
    """They are logged, and stop as little as can be."""

    @staticmethod
    def bad(_: Transaction) -> None:
        raise RuntimeError("hook")

    def test_a_commit_hook_undoes_its_own_transaction_alone(self, log: Log, caplog: pytest.LogCaptureFixture) -> None:
        with transaction() as outer:
            outer.stage(None, **log.hooks("outer"))
            with transaction() as good:
                good.stage(None, **log.hooks("good"))
            with transaction() as inner:
                inner.stage(None, on_commit_hooks=[self.bad], on_rollback_hooks=log.hooks("inner")["on_rollback_hooks"])
        assert log == [
            *("good 1 kept", "good 2 kept"),
            *("inner 2 undone", "inner 1 undone"),
            *("outer 1 kept", "outer 2 kept"),
        ]
        assert (outer.is_committed(), good.is_committed(), inner.is_rolled_back()) == (True, True, True)
        assert "A commit hook of a transaction raised" in caplog.text

    def test_a_rollback_hook_stops_nothing(self, log: Log, caplog: pytest.LogCaptureFixture) -> None:
        with pytest.raises(Stop), transaction() as outer:
            outer.stage(None, on_rollback_hooks=[lambda _: log.append("first"), self.bad])
            with transaction() as inner:
                inner.stage(None, on_rollback_hooks=[lambda _: log.append("inner")])
            raise Stop
        assert log == ["first", "inner"]
        assert "A rollback hook" in caplog.text


class TestValues:
    """`set` and `get`."""

    def test_inner_ones_see_copies_of_outer_ones(self) -> None:
        with transaction() as outer:
            outer.set("rows", [1])
            with transaction() as inner:
                seen = inner.get("rows")
                seen.append(2)
                assert inner.get("rows") == [1]
                inner.set("rows", [3])
                assert (inner.get("rows"), outer.get("rows")) == ([3], [1])

    def test_what_is_not_there(self) -> None:
        with transaction() as txn:
            with pytest.raises(ValueError, match="no value 'rows'"):
                txn.get("rows")
            assert (txn.get("rows", None), txn.get("rows", 5)) == (None, 5)

    def test_a_hook_reads_them(self, log: Log) -> None:
        with pytest.raises(Stop), transaction() as txn:
            txn.stage(None, on_rollback_hooks=[lambda t: log.append(t.get("path"))])
            txn.set("path", "/x")
            raise Stop
        assert log == ["/x"]


class TestKeys:
    """A key makes a transaction happen once."""

    def test_the_second_is_committed_from_the_start(self, store: ResultStore, log: Log) -> None:
        for _ in range(2):
            with transaction(key="k", store=store) as txn:
                if not txn.is_committed():
                    log.append("work")
                    txn.stage({"rows": 1}, **log.hooks("t"))
        assert log == ["work", "t 1 kept", "t 2 kept"]
        record = txn.read()
        assert record is not None
        assert record.result == {"rows": 1}

    def test_without_a_value_it_is_remembered_all_the_same(self, store: ResultStore) -> None:
        with transaction(key="k", store=store):
            pass
        with transaction(key="k", store=store) as txn:
            assert txn.is_committed()

    def test_a_failure_keeps_nothing(self, store: ResultStore) -> None:
        with pytest.raises(Stop), transaction(key="k", store=store) as txn:
            txn.stage(1)
            raise Stop
        assert not store.exists("k")

    def test_overwrite_and_write_on_commit(self, store: ResultStore) -> None:
        store.write("k", 1)
        with transaction(key="k", store=store, overwrite=True) as txn:
            assert not txn.is_committed()
            txn.stage(2)
        assert store.read("k") == 2
        with transaction(key="other", store=store, write_on_commit=False) as txn:
            txn.stage(3)
        assert not store.exists("other")

    def test_what_cannot_be_serialised_is_told_where_it_is_staged(self, store: ResultStore) -> None:
        with pytest.raises(SerializationError), transaction(key="k", store=store) as txn:
            txn.stage(threading.Lock())

    def test_without_a_store_it_is_the_default_one(self, monkeypatch: pytest.MonkeyPatch, store: ResultStore) -> None:
        monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", store.url)
        with transaction(key="k") as txn:
            txn.stage(1)
        assert store.read("k") == 1

    def test_a_store_that_cannot_be_written_undoes_everything_and_says_so(self, store: ResultStore, log: Log) -> None:
        class Full:
            url = store.storage.url

            def get(self, path: str, at_most: int | None = None) -> None:
                return None

            def put(self, path: str, data: bytes) -> None:
                raise StorageUnavailable("disk full", transient=False)

        with pytest.raises(StorageUnavailable, match="disk full"), transaction() as outer:
            outer.stage(None, **log.hooks("outer"))
            with transaction(key="k", store=ResultStore(Full())) as inner:  # type: ignore[arg-type]
                inner.stage(1, on_rollback_hooks=log.hooks("inner")["on_rollback_hooks"])
            with transaction() as later:
                later.stage(None, **log.hooks("later"))
        assert log == [
            *("inner 2 undone", "inner 1 undone"),
            *("outer 2 undone", "outer 1 undone"),
            *("later 2 undone", "later 1 undone"),
        ]


class TestIsolation:
    """SERIALIZABLE: one at a time, and the second finds what the first has made."""

    def test_it_needs_a_lock_manager(self, store: ResultStore) -> None:
        with pytest.raises(ConfigurationError, match="needs a lock manager"):
            transaction(key="k", store=store, isolation_level=IsolationLevel.SERIALIZABLE)

    def test_modes_go_by_name_too_and_others_are_refused(self) -> None:
        assert transaction(commit_mode="EAGER").commit_mode is CommitMode.EAGER
        with pytest.raises(ConfigurationError, match="one of LAZY, EAGER, OFF, not 'NEVER'"):
            transaction(commit_mode="NEVER")

    def test_one_after_the_other(self, store: ResultStore) -> None:
        done: list[int] = []

        def work(number: int) -> None:
            with transaction(
                key="k", store=store, isolation_level="SERIALIZABLE", lock_manager=MemoryLockManager()
            ) as txn:
                if not txn.is_committed():
                    done.append(number)
                    txn.stage(number)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert done == [store.read("k")]
        assert not MemoryLockManager().is_locked("k")

    def test_the_lock_is_kept_until_the_outermost_commits(self, store: ResultStore) -> None:
        locks = MemoryLockManager()
        with transaction():
            for _ in range(2):  # within one transaction, locks are shared
                with transaction(key="held", store=store, isolation_level="SERIALIZABLE", lock_manager=locks):
                    pass
            assert locks.is_locked("held")
        assert not locks.is_locked("held")

    @pytest.mark.parametrize("mode", list(CommitMode))
    def test_a_failure_frees_it(self, store: ResultStore, mode: CommitMode) -> None:
        locks = MemoryLockManager()
        with (
            pytest.raises(Stop),
            transaction(key="f", store=store, isolation_level="SERIALIZABLE", lock_manager=locks, commit_mode=mode),
        ):
            raise Stop
        assert not locks.is_locked("f")

    def test_in_an_event_loop(self, store: ResultStore) -> None:
        done: list[int] = []

        async def work(number: int) -> None:
            options: Any = {"isolation_level": "SERIALIZABLE", "lock_manager": MemoryLockManager()}
            async with transaction(key="loop", store=store, **options) as txn:
                if not txn.is_committed():
                    await asyncio.sleep(0.01)
                    done.append(number)
                    txn.stage(number)

        async def main() -> None:
            await asyncio.gather(*(work(number) for number in range(40)))

        asyncio.run(main())
        assert len(done) == 1


class TestTasks:
    """Each task run that has something to keep or to undo is a transaction."""

    def test_a_failing_task_undoes_those_before_it(self, recorder: Any, log: Log) -> None:
        @task
        def write(name: str) -> str:
            found = get_transaction()
            assert found is not None
            found.set("name", name)
            return name

        @write.on_rollback
        def remove(txn: Transaction) -> None:
            log.append(f"remove {txn.get('name')}")

        @write.on_commit
        def keep(txn: Transaction) -> None:
            log.append(f"keep {txn.get('name')}")

        @task
        def check() -> None:
            raise Stop

        @flow
        def f() -> None:
            with transaction():
                write("a")
                write.submit("b").wait()
                check()

        assert isinstance(recorder.run(f).data, Stop)
        assert log == ["remove b", "remove a"]
        assert recorder.states_of("write-0") == ["Running", "Completed", "RolledBack"]
        assert recorder.states_of("check-0") == ["Running", "Failed"]

    def test_tasks_commit_with_their_transaction(self, recorder: Any, log: Log, store: ResultStore) -> None:
        @task(
            persist_result=True, result_storage=store, result_storage_key="step", on_commit=[lambda _: log.append("c")]
        )
        def step() -> int:
            return 1

        @flow
        def f() -> None:
            with transaction():
                step()
                assert (store.exists("step"), log) == (False, [])
            assert (store.exists("step"), log) == (True, ["c"])
            step()  # from the cache: no hooks
            assert log == ["c"]

        assert recorder.run(f).is_completed()
        assert recorder.states_of("step-1") == ["Cached"]

    def test_without_a_block_a_task_commits_when_it_ends(self, log: Log) -> None:
        @task(on_commit=[lambda _: log.append("kept")], on_rollback=[lambda _: log.append("undone")])
        def step(fail: bool) -> Any:
            return Failed() if fail else 1

        step(False)
        assert log == ["kept"]
        step(True, return_state=True)  # type: ignore[call-arg]
        assert log == ["kept"]  # it never completed: there is nothing to undo

    def test_a_commit_hook_that_raises_undoes_its_task_alone(self, recorder: Any, log: Log) -> None:
        def bad(_: Transaction) -> None:
            raise RuntimeError("hook")

        @task(on_commit=[bad], on_rollback=[lambda _: log.append("undone")])
        def step() -> int:
            return 1

        @flow
        def f() -> Any:
            with transaction() as txn:
                step()
            return txn.is_committed(), step()

        assert recorder.run(f).result() == (True, 1)
        assert log == ["undone", "undone"]
        assert recorder.states_of("step-0") == ["Running", "Completed", "RolledBack"]
        assert recorder.states_of("step-1") == ["Running", "RolledBack"]

    def test_an_attempt_that_is_retried_does_not_break_the_transaction(self, recorder: Any, log: Log) -> None:
        tries: list[int] = []

        @task(on_commit=[lambda _: log.append("part kept")], on_rollback=[lambda _: log.append("part undone")])
        def part() -> None:
            return None

        @task(retries=1)
        def step() -> None:
            part()
            tries.append(1)
            if len(tries) == 1:
                raise Stop

        @flow
        def f() -> bool:
            with transaction() as txn:
                step()
            return txn.is_committed()

        assert recorder.run(f).result() is True
        assert log == ["part undone", "part kept"]
        assert recorder.states_of("step-0") == ["Running", "Retrying", "Completed"]

    def test_tasks_inside_of_a_task_belong_to_it(self, recorder: Any, log: Log) -> None:
        @task(on_commit=[lambda _: log.append("inner kept")], on_rollback=[lambda _: log.append("inner undone")])
        def inner() -> None:
            return None

        @task
        def outer(fail: bool) -> None:
            inner()
            log.append("end of outer")
            if fail:
                raise Stop

        @flow
        def f() -> None:
            outer(False)
            outer(True, return_state=True)  # type: ignore[call-arg]

        recorder.run(f)
        assert log == ["end of outer", "inner kept", "end of outer", "inner undone"]

    def test_a_failure_that_the_flow_catches_breaks_the_transaction_at_once(self, recorder: Any, log: Log) -> None:
        @task(on_commit=[lambda _: log.append("kept")], on_rollback=[lambda _: log.append("undone")])
        def step() -> None:
            return None

        @task
        def bad() -> None:
            raise Stop

        @flow
        def f() -> str:
            with transaction() as txn:
                step()
                bad(return_state=True)  # type: ignore[call-arg]
                log.append("after")
                step()
            return txn.state.value

        assert recorder.run(f).result() == "ROLLED_BACK"
        assert log == ["undone", "after"]

    def test_async_tasks_and_flows(self, recorder: Any, log: Log) -> None:
        async def undone(txn: Transaction) -> None:
            log.append(txn.get("name"))

        @task(on_rollback=[undone])
        async def step(name: str) -> None:
            found = get_transaction()
            assert found is not None
            found.set("name", name)

        @flow
        async def f() -> None:
            async with transaction():
                await step("a")
                await asyncio.gather(step("b"), step("c"))
                raise Stop

        assert isinstance(recorder.run(f).data, Stop)
        assert log[2] == "a"
        assert sorted(log) == ["a", "b", "c"]

    def test_hooks_of_methods_of_copies(self, log: Log) -> None:
        @task
        def step() -> None:
            return None

        step.on_commit(lambda _: log.append("kept"))
        step.with_options(name="other")()
        assert log == ["kept"]

    def test_a_task_that_ends_after_its_transaction_commits_by_itself(self, recorder: Any, store: ResultStore) -> None:
        go = threading.Event()

        @task(persist_result=True, result_storage=store, result_storage_key="late")
        def late() -> int:
            go.wait(60)
            return 1

        @flow
        def f() -> bool:
            with transaction():
                future = late.submit()
            go.set()
            future.wait()
            return store.exists("late")

        assert recorder.run(f).result() is True


def test_nothing_is_logged_where_nothing_is_wrong(caplog: pytest.LogCaptureFixture, log: Log) -> None:
    with caplog.at_level(logging.WARNING):
        nested(log, fail=True)
        nested(log, fail=False)
    assert caplog.records == []
