"""Results and caches of tasks and flows: what is kept where, what is found again, what happens when that fails."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import flow, task
from penstock.cache_policies import DEFAULT, INPUTS, NO_CACHE, RUN_ID, TASK_SOURCE, IsolationLevel
from penstock.errors import BadTemplate, DefinitionError, MissingResult, StorageUnavailable
from penstock.locking.memory import MemoryLockManager
from penstock.results import ResultStore, StoredResult, get_result_store
from penstock.states import Failed
from penstock.task_runners import ProcessPoolTaskRunner
from penstock.tasks import task_input_hash

ran: Counter[str] = Counter()


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ResultStore:
    """The default store of the test."""
    ran.clear()
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", str(tmp_path / "default"))
    return ResultStore.from_url(str(tmp_path / "default"))


def files(path: Path) -> list[Path]:
    return [found for found in path.rglob("*") if found.is_file()]


@task(cache_policy=INPUTS)
def double(x: int) -> int:
    ran["double"] += 1
    return 2 * x


class TestCache:
    """An earlier result stands for running the task again."""

    def test_the_second_call_is_cached(self, recorder: Any) -> None:
        @flow
        def f() -> list[int]:
            return [double(1), double(1), double.submit(1).result(), double(2), *double.map([1, 2]).result()]

        assert recorder.run(f).result() == [2, 2, 2, 4, 2, 4]
        assert ran["double"] == 2
        assert recorder.states_of("double-1") == ["Cached"]
        assert recorder.last("double-1").cache_key == recorder.last("double-0").cache_key != None  # noqa: E711
        assert recorder.last("double-1").attempts == 0

    def test_outside_of_flows_and_in_an_event_loop(self) -> None:
        @task(cache_policy=INPUTS)
        async def later(x: str) -> str:
            ran["later"] += 1
            return x

        async def main() -> list[str]:
            return [await later("a"), await later("a")]

        assert (double(1), double(1)) == (2, 2)
        assert asyncio.run(main()) == ["a", "a"]
        assert ran == {"double": 1, "later": 1}
        assert double(1, return_state=True).name == "Cached"  # type: ignore[call-arg]

    def test_hooks_of_a_cached_run(self) -> None:
        """It completed, but it did not run."""
        heard: list[str] = []

        @task(
            cache_policy=INPUTS,
            on_running=[lambda *_: heard.append("running")],
            on_completion=[lambda task, run, state: heard.append(state.name)],
        )
        def step(x: int) -> int:
            return x

        step(1)
        step(1)
        assert heard == ["running", "Completed", "Cached"]

    def test_by_default_the_cache_is_of_the_flow_run(self, recorder: Any) -> None:
        @task(persist_result=True)
        def step(x: int) -> int:
            ran["step"] += 1
            return x

        @flow
        def f() -> None:
            step(1)
            step(1)

        recorder.run(f, id="one")
        assert ran["step"] == 1
        recorder.run(f, id="one")  # another attempt of the same run
        assert ran["step"] == 1
        recorder.run(f, id="two")
        assert ran["step"] == 2

    def test_nothing_is_cached_unless_asked(self, tmp_path: Path) -> None:
        @task
        def plain() -> None:
            ran["plain"] += 1

        @task(cache_policy=NO_CACHE)
        def never() -> None:
            ran["never"] += 1

        @task(cache_policy=INPUTS, persist_result=False)
        def off(x: int) -> None:
            ran["off"] += 1

        for _ in range(2):
            plain()
            never()
            off(1)
        assert ran == {"plain": 2, "never": 2, "off": 2}
        assert files(tmp_path) == []

    def test_kept_but_not_cached(self, store: ResultStore) -> None:
        for policy in (NO_CACHE, None):

            @task(persist_result=True, cache_policy=policy)
            def step() -> int:
                ran["step"] += 1
                return 5

            step()
            state = step(return_state=True)  # type: ignore[call-arg]
            assert StoredResult.from_url(state.stored.url).get() == 5
        assert ran["step"] == 4

    def test_a_key_function(self, store: ResultStore) -> None:
        @task(cache_key_fn=lambda context, parameters: f"{context.task_run.flow_run_id}/{parameters['day']}")
        def load(day: str, seconds: float) -> float:
            ran["load"] += 1
            return seconds

        assert [load("mon", 1.0), load("mon", 2.0), load("tue", 3.0)] == [1.0, 1.0, 3.0]
        assert store.read("None/mon") == 1.0

    def test_prefects_hash_of_inputs(self) -> None:
        @task(cache_key_fn=task_input_hash)
        def step(x: int) -> int:
            ran["step"] += 1
            return x

        assert [step(1), step(1), step(2)] == [1, 1, 2]
        assert ran["step"] == 2

    def test_a_key_function_goes_before_a_policy(self, caplog: pytest.LogCaptureFixture) -> None:
        @task(cache_key_fn=lambda *_: "same", cache_policy=INPUTS)
        def step(x: int) -> int:
            return x

        assert [step(1), step(2)] == [1, 1]
        assert "cache_policy is not used" in caplog.text

    def test_expiration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        @task(cache_policy=INPUTS, cache_expiration=timedelta(hours=1))
        def step(x: int) -> int:
            ran["step"] += 1
            return x

        step(1)
        step(1)
        assert ran["step"] == 1
        now = time.time()
        monkeypatch.setattr("penstock.results.store.time", lambda: now + 3599)
        step(1)
        assert ran["step"] == 1
        monkeypatch.setattr("penstock.results.store.time", lambda: now + 3601)
        step(1)
        assert ran["step"] == 2

    def test_refreshing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        counted = iter(range(100))

        @task(cache_key_fn=lambda *_: "k")
        def step() -> int:
            return next(counted)

        assert [step(), step()] == [0, 0]
        assert [step.with_options(refresh_cache=True)(), step()] == [1, 1]
        monkeypatch.setenv("PENSTOCK_TASKS_REFRESH_CACHE", "true")
        assert [step(), step.with_options(refresh_cache=False)()] == [2, 2]

    def test_failures_are_not_cached(self) -> None:
        @task(cache_policy=INPUTS)
        def step(x: int) -> Any:
            ran["step"] += 1
            return Failed(message="no") if x else None

        for _ in range(2):
            assert step(1, return_state=True).is_failed()  # type: ignore[call-arg]
        assert ran["step"] == 2
        assert [step(0), step(0)] == [None, None]
        assert ran["step"] == 3

    def test_what_cannot_be_serialised_completes_uncached(self, caplog: pytest.LogCaptureFixture) -> None:
        @task(cache_policy=INPUTS)
        def step(x: int) -> Any:
            return threading.Lock()

        for _ in range(2):
            assert step(1, return_state=True).name == "Completed"  # type: ignore[call-arg]
        assert caplog.text.count("The result is not kept: a _thread.lock cannot be pickled") == 2

    def test_an_input_that_cannot_be_hashed(self, recorder: Any, caplog: pytest.LogCaptureFixture) -> None:
        """The task runs uncached; one warning a flow run names the argument and what to do."""

        @task(cache_policy=INPUTS)
        def step(x: int, lock: Any) -> int:
            ran["step"] += 1
            return x

        @flow
        def f() -> None:
            step.map([1, 1, 1], lock=threading.Lock()).wait()

        assert recorder.run(f).is_completed()
        assert ran["step"] == 3
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 1
        assert "its argument 'lock' cannot be hashed" in warnings[0]
        assert "cache_policy=… - 'lock'" in warnings[0]

    def test_a_key_function_that_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        @task(cache_key_fn=lambda context, parameters: parameters["no such"])
        def step() -> int:
            return 1

        assert step() == 1
        assert "its cache key cannot be made: KeyError: 'no such'" in caplog.text

    def test_a_damaged_record_is_made_again(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        double(1)
        (file,) = files(tmp_path)
        file.write_bytes(file.read_bytes()[:-2])
        assert (double(1), double(1)) == (2, 2)
        assert ran["double"] == 2
        assert caplog.text.count("counts as missing") == 1

    def test_a_record_that_cannot_be_loaded_is_made_again(
        self, store: ResultStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        double(1)
        key = double(1, return_state=True).stored.path  # type: ignore[call-arg]
        broken = store.write(key, 1)
        broken.payload = b"no pickle"
        from penstock.results.record import ResultMetadata, _digest

        held = broken.metadata
        broken.metadata = ResultMetadata(
            key=key, serializer="pickle", created=held.created, expiration=None, version="", size=9,
            digest=_digest(b"no pickle"),
        )  # fmt: skip
        store.put(broken)
        assert double(1) == 2
        assert ran["double"] == 2
        assert "cannot be used and counts as missing" in caplog.text

    def test_keys_apart_from_results(self, tmp_path: Path) -> None:
        @task(cache_policy=INPUTS.configure(key_storage=str(tmp_path / "keys")))
        def step(x: int) -> str:
            ran["step"] += 1
            return "value" * 100

        assert step(1) == step(1)
        assert ran["step"] == 1
        (key,), (value,) = files(tmp_path / "keys"), files(tmp_path / "default")
        assert key.name == value.name
        assert key.stat().st_size < value.stat().st_size
        key.unlink()
        step(1)
        assert ran["step"] == 2

    def test_serializable_runs_the_same_once(self, recorder: Any) -> None:
        policy = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=MemoryLockManager())

        @task(cache_policy=policy)
        def step(x: int) -> int:
            ran["step"] += 1
            time.sleep(0.01)
            return x

        @task(cache_policy=policy)
        async def astep(x: str) -> str:
            ran["astep"] += 1
            await asyncio.sleep(0.01)
            return x

        @flow
        def f() -> Any:
            return step.map([1] * 8).result()

        @flow
        async def g() -> Any:
            return await asyncio.gather(*(astep("a") for _ in range(8)))

        assert recorder.run(f).result() == [1] * 8
        assert recorder.run(g).result() == ["a"] * 8
        assert ran == {"step": 1, "astep": 1}

    def test_a_pool_smaller_than_what_waits_for_a_lock(self, recorder: Any) -> None:
        """A task that waits for a lock gives its place to the one that holds it."""
        from penstock.task_runners import ThreadPoolTaskRunner

        policy = INPUTS.configure(isolation_level="SERIALIZABLE", lock_manager=MemoryLockManager())

        @task
        def inner() -> int:
            return 1

        @task(cache_policy=policy)
        def step(x: int) -> int:
            return inner.submit().result()

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=1))
        def f() -> Any:
            return step.map([1] * 4).result()

        assert recorder.run(f).result() == [1] * 4

    def test_in_processes(self, recorder: Any) -> None:
        @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
        def f() -> Any:
            return [double.submit(4).result(), double.submit(4).result(), recorded.submit().result()]

        assert recorder.run(f).result() == [8, 8, "kept inside"]
        assert recorder.states_of("double-1") == ["Pending", "Cached"]

    def test_generators_keep_the_list_of_their_values(self) -> None:
        @task(cache_policy=INPUTS)
        def numbers(n: int) -> Any:
            ran["numbers"] += 1
            yield from range(n)

        assert list(numbers(3)) == list(numbers(3)) == [0, 1, 2]
        assert ran["numbers"] == 2  # iterated over, they are gone as they come
        assert numbers.submit(3).result() == numbers.submit(3).result() == [0, 1, 2]
        assert ran["numbers"] == 3


@task(persist_result=True)
def recorded() -> str:
    """Runs in a child process, where its own tasks keep results too."""

    @task(result_storage_key="inside")
    def inside() -> str:
        return "kept inside"

    inside()
    return str(inside())


class TestResults:
    """Where results are, and in which form."""

    def test_a_task_has_its_own_key_storage_and_serializer(self, tmp_path: Path) -> None:
        @task(
            result_storage=tmp_path / "mine",
            result_serializer="json",
            result_storage_key="{flow_run.name}/{task_run.name}-{parameters[day]}.json",
        )
        def totals(day: str) -> dict[str, int]:
            ran["totals"] += 1
            return {"rows": 1}

        @flow
        def f() -> Any:
            return totals("mon", return_state=True).stored, totals.submit("mon").result()

        stored, value = f()
        assert value == stored.get() == {"rows": 1}
        paths = [str(path.relative_to(tmp_path / "mine")) for path in files(tmp_path / "mine")]
        assert len(paths) == 2
        assert all(path.endswith("-mon.json") for path in paths)

    def test_a_key_that_names_what_there_is_not_ends_the_run_with_the_remedy(self) -> None:
        @task(result_storage_key="{task_run.name}-{day}")
        def totals(day: str) -> str:
            return day

        with pytest.raises(
            BadTemplate, match=r"result_storage_key .* there is no 'day'; it may name flow_run, task_run, "
        ):
            totals("mon")

    def test_a_storage_key_is_a_cache_key(self) -> None:
        @task(result_storage_key="fixed")
        def step(x: int) -> int:
            return x

        assert [step(1), step(2)] == [1, 1]

    def test_tasks_inherit_from_their_flow_and_subflows_too(self, tmp_path: Path, recorder: Any) -> None:
        seen: list[str] = []

        @task
        def step() -> None:
            seen.append(repr(get_result_store()))

        @task(persist_result=False, result_serializer="compressed/json")
        def other() -> None:
            seen.append(repr(get_result_store()))

        @flow
        def inner() -> None:
            step()
            other()

        @flow(result_storage=str(tmp_path / "flow"), result_serializer="json")
        def outer() -> None:
            inner()

        assert recorder.run(outer).is_completed()
        place = f"ResultStore('file://{tmp_path}/flow', serializer="
        assert seen == [f"{place}'json')", f"{place}'compressed/json')"]
        assert len(files(tmp_path / "flow")) == 3  # of step, inner and outer
        assert files(tmp_path / "default") == []

    def test_kept_by_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        @task
        def step() -> int:
            return 1

        @flow
        def f() -> int:
            return step()

        @flow(persist_result=False)
        def g() -> int:
            return step()

        monkeypatch.setenv("PENSTOCK_RESULTS_PERSIST_BY_DEFAULT", "true")
        monkeypatch.setenv("PENSTOCK_RESULTS_DEFAULT_SERIALIZER", "json")
        state = f(return_state=True)  # type: ignore[call-arg]
        assert (state.stored.get(), len(files(tmp_path))) == (1, 2)
        g()
        assert len(files(tmp_path)) == 2
        step()
        assert len(files(tmp_path)) == 3
        assert all(file.read_bytes().endswith(b"\n1") for file in files(tmp_path))
        monkeypatch.setenv("PENSTOCK_RESULTS_PERSIST_BY_DEFAULT", "false")
        step()
        assert len(files(tmp_path)) == 3

    def test_out_of_memory(self, recorder: Any) -> None:
        """With cache_result_in_memory=False, a value is read whenever it is asked for."""

        @task(persist_result=True, cache_result_in_memory=False)
        def big() -> list[int]:
            return [1, 2]

        @task
        def total(values: list[int]) -> int:
            return sum(values)

        @task
        async def atotal(values: list[int]) -> int:
            return sum(values)

        @flow(persist_result=True, cache_result_in_memory=False)
        def sub() -> str:
            return "sub"

        @flow
        def f() -> Any:
            future = big.submit()
            future.wait()
            assert isinstance(future.state.data, StoredResult)
            assert asyncio.run(future.result_async()) == asyncio.run(future.state.aresult()) == [1, 2]
            return future.result(), big(), total(future), sub(), total(future.state)

        @flow
        async def g() -> Any:
            return await atotal(big.submit()), await abig(), await asub(abig.submit())

        @task(persist_result=True, cache_result_in_memory=False)
        async def abig() -> list[int]:
            return [3]

        @flow(persist_result=True, cache_result_in_memory=False)
        async def asub(values: list[int]) -> list[int]:
            return values

        assert recorder.run(f).result() == ([1, 2], [1, 2], 3, "sub", 3)
        assert recorder.run(g, id="g").result() == (3, [3], [3])

    def test_a_result_that_was_deleted_meanwhile(self) -> None:
        @task(persist_result=True, cache_result_in_memory=False)
        def big() -> int:
            return 1

        state = big(return_state=True)  # type: ignore[call-arg]
        state.stored.store.storage.delete(state.stored.path)
        with pytest.raises(MissingResult, match="no result at file://"):
            state.result()

    def test_states_as_results_are_not_kept(self, tmp_path: Path) -> None:
        @flow(persist_result=True)
        def f() -> Any:
            return [double.with_options(persist_result=False).submit(1)]

        assert f(return_state=True).stored is None  # type: ignore[call-arg]
        assert files(tmp_path) == []


class TestUnavailable:
    """A place that cannot be written or read ends the run, with its name."""

    @pytest.fixture
    def nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
        (tmp_path / "file").write_text("")
        return f"file://{tmp_path}/file/results"

    def test_a_task(self, nowhere: str, recorder: Any) -> None:
        tries: list[int] = []

        @task(persist_result=True, result_storage=nowhere, retries=3)
        def step() -> None:
            tries.append(1)

        @flow
        def f() -> None:
            step()

        state = recorder.run(f)
        assert isinstance(state.data, StorageUnavailable)
        assert f"the result storage {nowhere} cannot be read: Not a directory" in state.message
        assert (tries, recorder.states_of("step-0")) == ([], ["Failed"])

    def test_a_task_that_has_run_is_not_run_again(self, tmp_path: Path, recorder: Any) -> None:
        """Its retries are for its own code; the store has been tried often enough."""
        tries: list[int] = []

        @task(persist_result=True, result_storage=str(tmp_path / "gone"), retries=3)
        def step() -> None:
            tries.append(1)
            (tmp_path / "gone").write_text("")  # a file where the folder was to be

        @flow
        def f() -> None:
            step()

        state = recorder.run(f)
        assert isinstance(state.data, StorageUnavailable)
        assert "cannot be written" in state.message
        assert (len(tries), recorder.states_of("step-0")) == (1, ["Running", "Failed"])

    def test_a_flow(self, nowhere: str, recorder: Any) -> None:
        @flow(persist_result=True, result_storage=nowhere)
        def f() -> int:
            return 1

        state = recorder.run(f)
        assert state.is_failed()
        assert isinstance(state.data, StorageUnavailable)


class TestRetriesOfFlows:
    """What completed in an earlier try is not done again, if its result was kept."""

    def test_tasks(self, recorder: Any) -> None:
        @task
        def kept(x: int) -> int:
            ran["kept"] += 1
            return x

        @task(persist_result=False)
        def other() -> None:
            ran["other"] += 1

        @flow(retries=1, persist_result=True)
        def f() -> int:
            value = kept(1)
            kept.submit(2).wait()
            other()
            ran["f"] += 1
            if ran["f"] == 1:
                raise ValueError("once")
            return value

        assert recorder.run(f).result() == 1
        assert ran == {"kept": 2, "other": 2, "f": 2}

    def test_subflows(self, recorder: Any) -> None:
        @flow
        def sub(x: int) -> int:
            ran[f"sub {x}"] += 1
            return x

        @flow(persist_result=False)
        def unkept() -> None:
            ran["unkept"] += 1

        @flow(persist_result=True)
        def failing(x: int) -> int:
            ran["failing"] += 1
            if ran["failing"] == 1:
                raise ValueError("once")
            return x

        @flow(retries=1, persist_result=True)
        def f() -> Any:
            first, second = sub(1), sub(2)
            unkept()
            return first, second, failing(3)

        assert recorder.run(f).result() == (1, 2, 3)
        assert ran == {"sub 1": 1, "sub 2": 1, "unkept": 2, "failing": 2}
        assert [record.state_name for record in recorder.records if record.task == "sub"][-2:] == ["Cached", "Cached"]
        recorder.run(f, id="another run")
        assert ran["sub 1"] == 2

    def test_in_an_event_loop(self, recorder: Any) -> None:
        @task
        async def kept(x: int) -> int:
            ran["kept"] += 1
            return x

        @flow
        async def sub() -> int:
            ran["sub"] += 1
            return 5

        @flow(retries=1, persist_result=True)
        async def f() -> Any:
            value = await kept(1) + await sub()
            ran["f"] += 1
            if ran["f"] == 1:
                raise ValueError("once")
            return value

        assert recorder.run(f).result() == 6
        assert ran == {"kept": 1, "sub": 1, "f": 2}


class TestTriesOfOneRun:
    """What a run kept is found by its next attempt, and by a run that retries it; by no other."""

    @staticmethod
    def etl(fails: bool, persist: bool | None = True) -> Any:
        @task(persist_result=True)
        def load(n: int) -> int:
            ran["load"] += 1
            return n

        @task(persist_result=False)
        def plain(n: int) -> int:
            ran["plain"] += 1
            return n

        @flow(persist_result=persist)
        def sub(n: int) -> int:
            ran["sub"] += 1
            value = load(10 * n) + plain(n)
            if fails:
                raise ValueError("once")
            return value

        @flow
        def etl() -> int:
            load(1)
            return sub(2) + sub(2)

        return etl

    @pytest.mark.parametrize(
        "info",
        [
            pytest.param({"attempt": 2}, id="a new attempt"),
            pytest.param({"id": "other-uid", "results_id": "run-uid"}, id="a retry"),
        ],
    )
    def test_tasks_that_were_kept_do_not_run_again(self, recorder: Any, info: dict[str, Any]) -> None:
        """Also those of a subflow that failed, which has a new run."""
        assert recorder.run(self.etl(fails=True)).is_failed()
        assert (ran["load"], ran["plain"], ran["sub"]) == (2, 1, 1)
        assert recorder.run(self.etl(fails=False), **info).result() == 44
        assert (ran["load"], ran["plain"]) == (3, 3), "the second call of the subflow is another"
        assert ran["sub"] == 3
        assert recorder.run(self.etl(fails=False), **{**info, "attempt": 3}).result() == 44
        assert (ran["load"], ran["plain"], ran["sub"]) == (3, 3, 3), "subflows that completed were kept whole"

    def test_other_runs_find_nothing(self, recorder: Any) -> None:
        recorder.run(self.etl(fails=False))
        recorder.run(self.etl(fails=False), id="other-uid")
        assert (ran["load"], ran["sub"]) == (6, 4)

    def test_a_subflow_that_is_not_kept_runs_again_with_the_tasks_it_kept(self, recorder: Any) -> None:
        recorder.run(self.etl(fails=False, persist=None))
        recorder.run(self.etl(fails=False, persist=None), attempt=2)
        assert (ran["load"], ran["plain"], ran["sub"]) == (3, 4, 4)

    def test_parameters_without_a_hash_keep_subflows_apart(self, recorder: Any) -> None:
        lock = threading.Lock()

        @task(persist_result=True)
        def load() -> int:
            ran["load"] += 1
            return 1

        @flow
        def sub(_held: Any) -> int:
            return load()

        @flow
        def etl() -> int:
            return sub(lock)

        recorder.run(etl)
        recorder.run(etl, attempt=2)
        assert ran["load"] == 2


class TestDeclarations:
    """What cannot work is refused where it is written."""

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"cache_policy": "INPUTS"}, "cache_policy must be a CachePolicy"),
            ({"cache_key_fn": "x"}, "cache_key_fn must be a function"),
            (
                {"cache_expiration": timedelta(0)},
                "cache_expiration must be a timedelta or a number",
            ),
            ({"result_storage_key": 5}, "result_storage_key must be a template"),
            ({"result_storage": "ftp://x"}, "no result storage ftp://"),
            ({"result_storage": 5}, "result_storage must be a URL, a path or a ResultStore"),
            ({"result_serializer": "yaml"}, "no serializer 'yaml'"),
        ],
    )
    def test_tasks(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(DefinitionError, match=f"task 'f': .*{words}"):
            task(name="f", **options)(lambda: None)

    def test_flows(self) -> None:
        with pytest.raises(DefinitionError, match="flow 'f': there is no serializer"):
            flow(name="f", result_serializer="yaml")(lambda: None)
        with pytest.raises(DefinitionError, match="no option cache_policy"):
            flow(cache_policy=DEFAULT)  # type: ignore[call-overload]

    def test_a_policy_without_persistence_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        task(name="f", cache_policy=INPUTS, persist_result=False)(lambda: None)
        assert "task 'f': persist_result=False: nothing is kept" in caplog.text

    def test_options_stay_with_copies(self) -> None:
        @task(cache_policy=TASK_SOURCE + RUN_ID, cache_expiration=5, result_storage="memory://x")
        def step() -> None:
            return None

        copy = step.with_options(name="other")
        assert (copy.cache_policy, copy.cache_expiration, copy.persists) == (step.cache_policy, 5, True)
        assert not step.with_options(persist_result=False).persists


def test_the_task_runs_of_one_map_share_a_store() -> None:
    """It holds connections."""
    from penstock.results.settings import store_for

    url = f"memory://{uuid.uuid4()}"
    assert store_for(url, "json") is store_for(url, "json")
    assert store_for(url, None) is not store_for(url, "json")
