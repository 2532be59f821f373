"""Tasks: calls, submits and maps, retries, timeouts, dependencies."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest

from penstock import allow_failure, exponential_backoff, flow, opaque, quote, tags, task, unmapped
from penstock.errors import (
    DefinitionError,
    MappingLengthMismatch,
    MappingMissingIterable,
    ParameterBind,
    TaskRunTimedOut,
    UnfinishedRun,
)
from penstock.runtime import flow_run, task_run
from penstock.states import Crashed, Failed, State, StateType
from penstock.task_runners import ThreadPoolTaskRunner
from penstock.tasks import Task


@task
def add(x: Any, y: Any = 1) -> Any:
    return x + y


@task
def broken() -> None:
    raise ValueError("bad input")


@task
def same(x: Any) -> Any:
    return x


class TestCall:
    """A task is called like its function."""

    def test_inside_and_outside_of_a_flow(self) -> None:
        @flow
        def f() -> Any:
            return add(1, y=2)

        assert (add(1), f(), add.fn(1, 5)) == (2, 3, 6)

    def test_return_state(self) -> None:
        assert add(1, return_state=True).result() == 2  # type: ignore[call-arg]
        assert broken(return_state=True).is_failed()  # type: ignore[call-arg,func-returns-value]

    def test_its_exception_is_raised_as_it_was(self) -> None:
        with pytest.raises(ValueError, match="bad input"):
            broken()

    def test_arguments_that_do_not_fit_are_the_callers_error(self) -> None:
        with pytest.raises(ParameterBind, match="y"):
            add()
        with pytest.raises(ParameterBind, match="z"):
            add.submit(1, z=1)

    def test_the_records_of_a_run(self, recorder: Any) -> None:
        @flow
        def f() -> None:
            add(1)
            add(2)

        recorder.run(f)
        assert recorder.states_of("add-0") == ["Running", "Completed"]
        record = recorder.last("add-1")
        assert (record.task, record.attempts, record.key) == ("add", 1, add.task_key)
        assert record.created <= record.started <= record.ended

    def test_async_tasks_are_awaited(self) -> None:
        @task
        async def later(x: int) -> int:
            await asyncio.sleep(0)
            return x

        async def main() -> Any:
            return await later(4)

        assert asyncio.run(main()) == 4

    def test_returned_states_count(self) -> None:
        @task
        def refuse() -> Any:
            return Failed(message="refused")

        assert refuse(return_state=True).message == "refused"  # type: ignore[call-arg]

    def test_nested_tasks(self, recorder: Any) -> None:
        @task
        def outer(x: int) -> Any:
            return add(x) + add.submit(x).result()

        @flow
        def f() -> Any:
            return outer.submit(1).result()

        assert recorder.run(f).result() == 4


class TestMethods:
    """Tasks may be methods of every kind."""

    class Steps:
        factor = 2

        @task
        def instance(self, x: int) -> int:
            return self.factor * x

        @task
        @classmethod
        def of_class(cls, x: int) -> int:
            return cls.factor * x

        @task
        @staticmethod
        def static(x: int) -> int:
            return 2 * x

    @pytest.mark.parametrize("name", ["instance", "of_class", "static"])
    def test_call_submit_and_map(self, name: str) -> None:
        steps = self.Steps()

        @flow
        def f() -> Any:
            step = getattr(steps, name)
            return step(1), step.submit(2).result(), step.map([3, 4]).result()

        assert f() == (2, 4, [6, 8])


class TestSubmit:
    """`.submit` gives a future, and futures are dependencies."""

    def test_dependencies_follow_from_futures_in_any_container(self) -> None:
        point = namedtuple("point", "x y")

        @dataclass(frozen=True)
        class Box:
            item: Any

        @flow
        def f() -> Any:
            one = same.submit(1)
            held = {"a": [one, {one}], "b": (one, point(one, 2)), "c": Box(one), "d": OrderedDict(x=one)}
            return same.submit(held).result()

        result = f()
        assert result == {"a": [1, {1}], "b": (1, point(1, 2)), "c": Box(1), "d": OrderedDict(x=1)}
        assert type(result["d"]) is OrderedDict

    def test_a_record_names_its_upstream_runs(self, recorder: Any) -> None:
        @flow
        def f() -> None:
            first = same.submit(1)
            second = same.submit(2)
            same.submit([first], wait_for=[second]).wait()

        recorder.run(f)
        ids = [recorder.last(name).id for name in ("same-0", "same-1")]
        assert list(recorder.last("same-2").upstream) == ids

    def test_wait_for_orders_runs_without_passing_data(self) -> None:
        order: list[str] = []

        @task
        def step(name: str, seconds: float) -> None:
            time.sleep(seconds)
            order.append(name)

        @flow
        def f() -> None:
            first = step.submit("first", 0.1)
            step.submit("second", 0, wait_for=[first]).wait()

        f()
        assert order == ["first", "second"]

    def test_a_task_whose_input_failed_does_not_run(self, recorder: Any) -> None:
        ran = []

        @task
        def after(x: Any) -> None:
            ran.append(x)

        @flow
        def f() -> Any:
            bad = broken.submit()
            future = after.submit(bad)
            future.wait()
            assert after(bad) is None  # a direct call runs nothing and raises nothing
            with pytest.raises(UnfinishedRun):
                future.result()
            return future.state.name

        assert recorder.run(f).result() == "NotReady"
        assert ran == []
        assert recorder.states_of("after-0")[-1] == "NotReady"
        assert "allow_failure" in recorder.last("after-0").message

    def test_wait_for_a_failed_task_blocks_too(self) -> None:
        @flow
        def f() -> Any:
            return add(1, wait_for=[broken.submit()], return_state=True).name  # type: ignore[call-arg]

        assert f() == "NotReady"

    def test_allow_failure_admits_failed_and_not_ready_inputs(self) -> None:
        @flow
        def f() -> Any:
            bad = broken.submit()
            never = same.submit(bad)
            return (
                same.submit(allow_failure(bad)).result(),
                same.submit(allow_failure([never])).result(),
                add.submit(1, wait_for=[allow_failure(bad)]).result(),
            )

        failure, never, waited = f()
        assert isinstance(failure, ValueError)
        assert never == [None]
        assert waited == 2

    def test_allow_failure_does_not_admit_a_crash(self) -> None:
        @task
        def crash() -> Any:
            return Crashed(message="gone")

        @flow
        def f() -> Any:
            future = same.submit(allow_failure(crash.submit()))
            future.wait()
            return future.state.name

        assert f() == "NotReady"

    @pytest.mark.parametrize("wrap", [quote, opaque])
    def test_quoted_values_are_not_looked_into(self, wrap: Any) -> None:
        @task
        def kind_of_first(x: Any) -> str:
            return type(x[0]).__name__

        @flow
        def f() -> Any:
            return kind_of_first.submit(wrap([same.submit(1)])).result()

        assert f() == "PenstockFuture"

    def test_async_tasks_are_submitted_like_others(self) -> None:
        @task
        async def later(x: int) -> int:
            await asyncio.sleep(0.01)
            return x

        @flow
        def f() -> Any:
            return later.map([1, 2, 3]).result()

        assert f() == [1, 2, 3]

    def test_outside_of_a_flow(self) -> None:
        assert add.submit(1).result(timeout=5) == 2

    def test_the_run_context_follows_into_the_thread(self) -> None:
        @task(tags=["own"])
        def where() -> Any:
            return flow_run.id, task_run.task_name, task_run.tags, threading.current_thread().name

        @flow
        def f() -> Any:
            with tags("added"):
                future = where.submit()
            return flow_run.id, future.result()

        outer, (inner, name, found, thread) = f()
        assert inner == outer
        assert (name, found) == ("where", ["added", "own"])
        assert thread.startswith("penstock-ThreadPool")


class TestMap:
    """`.map` zips its iterables."""

    def test_iterables_are_taken_together_and_the_rest_is_given_to_all(self) -> None:
        @flow
        def f() -> Any:
            return (
                add.map([1, 2], [10, 20]).result(),
                add.map([1, 2], 5).result(),
                add.map(x=["a", "b"], y="cd").result(),
                add.map([[1], [2]], unmapped([9])).result(),
                same.map({"k": 1, "l": 2}).result(),
                add.map(range(3)).result(),
                add.map(i for i in range(2)).result(),
            )

        assert f() == ([11, 22], [6, 7], ["acd", "bcd"], [[1, 9], [2, 9]], ["k", "l"], [1, 2, 3], [1, 2])

    def test_a_mapped_future_becomes_elements(self, recorder: Any) -> None:
        @flow
        def f() -> Any:
            return add.map(same.submit([1, 2])).result()

        assert recorder.run(f).result() == [2, 3]
        assert recorder.last("add-1").upstream == (recorder.last("same-0").id,)

    def test_a_list_of_futures_makes_one_run_for_each(self, recorder: Any) -> None:
        @flow
        def f() -> Any:
            return add.map(add.map([1, 2])).result()

        assert recorder.run(f).result() == [3, 4]
        assert recorder.last("add-2").upstream == (recorder.last("add-0").id,)

    def test_different_lengths_are_an_error_that_names_them(self) -> None:
        with pytest.raises(MappingLengthMismatch, match="argument 0 has 2, y has 3"):
            add.map([1, 2], y=[1, 2, 3])

    def test_a_generator_is_asked_for_no_more_than_may_be_in_flight(self) -> None:
        """So a source of any length costs no more than what is under way."""
        given, ended = 0, 0
        most = 0

        def source() -> Any:
            nonlocal given, most
            for number in range(50):
                given += 1
                most = max(most, given - ended)
                yield number

        @task
        def count(n: int) -> int:
            nonlocal ended
            ended += 1
            return n

        @flow(task_runner=ThreadPoolTaskRunner(max_workers=1, max_in_flight=4))
        def f() -> Any:
            return sum(count.map(source()).result())

        assert f() == sum(range(50))
        assert most <= 4 + 2, "four in flight, one asked for, one that has counted and is not finished yet"

    def test_a_generator_that_ends_early_is_told_after_what_was_submitted(self) -> None:
        @flow
        def f() -> Any:
            return add.map((n for n in (1, 2)), y=[1, 2, 3])

        with pytest.raises(MappingLengthMismatch, match="argument 0 ended before y; the 2 runs"):
            f()

    def test_nothing_to_iterate_over_is_an_error(self) -> None:
        with pytest.raises(MappingMissingIterable, match="unmapped"):
            add.map(1, y="text")

    def test_defaults_are_not_iterated_over(self) -> None:
        @task
        def pick(x: int, among: tuple[int, ...] = (1, 2, 3)) -> int:
            return among[x]

        assert pick.map([0, 1]).result() == [1, 2]

    def test_keyword_arguments_of_any_name(self) -> None:
        @task
        def total(*args: int, **more: int) -> int:
            return sum(args) + sum(more.values())

        assert total.map([1, 2], 10, z=[100, 200]).result() == [111, 212]

    def test_results_and_waiting_of_the_list(self) -> None:
        @flow
        def f() -> Any:
            futures = same.map([1, 2])
            futures.wait()
            return [state.result() for state in same.map([3], return_state=True)], futures.result(timeout=1)

        assert f() == ([3], [1, 2])


class TestRetries:
    """A failed task is tried again."""

    def test_until_it_succeeds(self, recorder: Any) -> None:
        counts: list[int] = []

        @task(retries=3, retry_delay_seconds=0.01)
        def flaky() -> int:
            counts.append(task_run.run_count)
            if len(counts) < 3:
                raise ValueError("not yet")
            return 7

        @flow
        def f() -> int:
            return flaky()

        assert recorder.run(f).result() == 7
        assert counts == [1, 2, 3]
        assert recorder.states_of("flaky-0") == [
            "Running",
            "AwaitingRetry",
            "Retrying",
            "AwaitingRetry",
            "Retrying",
            "Completed",
        ]
        assert recorder.last("flaky-0").attempts == 3

    def test_without_a_delay_there_is_no_waiting_state(self, recorder: Any) -> None:
        @task(retries=1)
        def bad() -> None:
            raise ValueError

        @flow
        def f() -> None:
            bad(return_state=True)

        recorder.run(f)
        assert recorder.states_of("bad-0") == ["Running", "Retrying", "Failed"]

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_condition_decides(self, asynchronous: bool) -> None:
        calls: list[str] = []

        def wanted(_task: Any, _run: Any, state: State[Any]) -> bool:
            return isinstance(state.result(raise_on_failure=False), KeyError)

        async def wanted_async(*args: Any) -> bool:
            return wanted(*args)

        @task(retries=5, retry_condition_fn=wanted_async if asynchronous else wanted)
        def flaky() -> None:
            calls.append("x")
            raise KeyError if len(calls) < 3 else ValueError

        with pytest.raises(ValueError):
            flaky()
        assert len(calls) == 3

    def test_a_condition_that_raises_means_no(self, caplog: pytest.LogCaptureFixture) -> None:
        calls = []

        @task(retries=5, retry_condition_fn=lambda *_: 1 / 0)
        def bad() -> None:
            calls.append(1)
            raise ValueError

        with pytest.raises(ValueError):
            bad()
        assert len(calls) == 1
        assert "retry_condition_fn raised" in caplog.text

    def test_a_returned_failed_state_is_retried(self) -> None:
        calls = []

        @task(retries=2)
        def refuse() -> Any:
            calls.append(1)
            return Failed(name="Refused")

        assert refuse(return_state=True).name == "Refused"  # type: ignore[call-arg]
        assert len(calls) == 3

    def test_delays_may_be_a_list_or_a_function_of_the_retries(self) -> None:
        listed: Task[Any, Any] = Task(lambda: None, name="t", retries=3, retry_delay_seconds=[1, 2])
        grown: Task[Any, Any] = Task(lambda: None, name="t", retries=3, retry_delay_seconds=exponential_backoff(10))
        assert listed.delays == (1.0, 2.0)
        assert grown.delays == (10.0, 20.0, 40.0)
        assert grown.with_options(retries=1).delays == (10.0,)

    @pytest.mark.parametrize("factor", [-1, float("nan"), "10", None, True])
    def test_a_backoff_that_is_no_number_of_seconds_is_refused(self, factor: Any) -> None:
        with pytest.raises(DefinitionError, match="backoff_factor must be a number of seconds of at least 0"):
            exponential_backoff(factor)

    def test_async_tasks_retry_without_blocking_the_loop(self) -> None:
        """Each is called for the first time before any of them is called again."""
        calls: list[int] = []

        @task(retries=1, retry_delay_seconds=0.1)
        async def flaky(x: int) -> int:
            calls.append(x)
            if calls.count(x) == 1:
                raise ValueError
            return x

        async def main() -> list[int]:
            return list(await asyncio.gather(*(flaky(i) for i in range(3))))

        assert asyncio.run(main()) == [0, 1, 2]
        assert calls[:3] == [0, 1, 2]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"retry_delay_seconds": [1, -1]}, "retry_delay_seconds"),
            ({"retry_delay_seconds": [1.0] * 51}, "a list of at most 50"),
            ({"retry_jitter_factor": -1}, "retry_jitter_factor"),
            ({"retry_condition_fn": "always"}, "retry_condition_fn"),
            ({"tags": "one"}, "tags"),
        ],
    )
    def test_options_that_cannot_work_are_refused_and_named(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(DefinitionError, match=message):
            task(**options)(lambda: None)


class TestTimeout:
    """`timeout_seconds` ends a task as Failed, named TimedOut, after its retries."""

    def test_in_the_main_thread(self) -> None:
        @task(timeout_seconds=0.05)
        def slow() -> None:
            time.sleep(5)

        with pytest.raises(TaskRunTimedOut, match=r"0\.05 s"):
            slow()

    def test_in_a_worker_thread(self, recorder: Any) -> None:
        @task(timeout_seconds=0.05, retries=1)
        def slow() -> None:
            while True:
                time.sleep(0.01)

        @flow
        def f() -> Any:
            return slow.submit()

        assert recorder.run(f).is_failed()
        assert recorder.last("slow-0").state_name == "TimedOut"
        assert recorder.last("slow-0").attempts == 2

    def test_in_an_event_loop(self) -> None:
        @task(timeout_seconds=0.05)
        async def slow() -> None:
            await asyncio.sleep(5)

        with pytest.raises(TaskRunTimedOut):
            asyncio.run(slow())  # type: ignore[arg-type]

    def test_a_tasks_timeout_inside_of_a_flows(self) -> None:
        @task(timeout_seconds=0.05)
        def slow() -> None:
            time.sleep(5)

        @flow(timeout_seconds=5)
        def f() -> Any:
            return slow(return_state=True).name  # type: ignore[call-arg,func-returns-value]

        assert f() == "TimedOut"


class TestGenerators:
    """A generator task hands its values on, or where it is submitted, collects them."""

    def test_iterating_over_a_call(self) -> None:
        @task
        def count(n: int) -> Any:
            yield from range(n)

        @flow
        def f() -> Any:
            return list(count(3)), count.submit(2).result(), count(2, return_state=True).result()

        assert f() == ([0, 1, 2], [0, 1], [0, 1])

    def test_a_returned_generator_is_consumed(self) -> None:
        @task
        def made() -> Any:
            return (i for i in range(3))

        assert made() == [0, 1, 2]

    def test_async_generators(self) -> None:
        @task
        async def count(n: int) -> Any:
            for i in range(n):
                yield i

        async def main() -> Any:
            return [i async for i in count(2)]

        @flow
        def f() -> Any:
            return count.submit(3).result()

        assert (asyncio.run(main()), f()) == ([0, 1], [0, 1, 2])


class TestHooksAndNames:
    """Hooks as flows have them; names by number, template or function."""

    def test_hooks(self) -> None:
        seen: list[tuple[str, str, str]] = []

        def note(which: str) -> Any:
            return lambda t, run, state: seen.append((which, run.name.split("-")[0], state.name))

        @task(on_running=[note("running")], on_completion=[note("done")], on_failure=[note("failed")], retries=1)
        def t(fail: bool) -> None:
            if fail:
                raise ValueError

        t(False)
        t(True, return_state=True)  # type: ignore[call-arg]
        assert seen == [
            ("running", "t", "Running"),
            ("done", "t", "Completed"),
            ("running", "t", "Running"),
            ("running", "t", "Retrying"),
            ("failed", "t", "Failed"),
        ]

    def test_templates_see_resolved_parameters(self, recorder: Any) -> None:
        @task(task_run_name="load {x} of {y}")
        def load(x: int, y: int = 9) -> str:
            return str(task_run.name)

        @flow
        def f() -> Any:
            return load.submit(same.submit(3)).result()

        assert recorder.run(f).result() == "load 3 of 9"
        assert recorder.records[-1].name == "load 3 of 9"

    def test_functions_may_take_the_parameters(self) -> None:
        @task(task_run_name=lambda parameters: f"x={parameters['x']}")
        def load(x: int) -> str:
            return str(task_run.name)

        assert load(3) == "x=3"

    def test_a_bad_template_raises_through_the_call(self) -> None:
        @task(task_run_name="{nothing}")
        def load(x: int) -> None: ...

        with pytest.raises(KeyError, match="nothing"):
            load(1)


def test_the_task_key_is_stable_and_tells_code_apart() -> None:
    def make(value: int) -> Task[Any, Any]:
        namespace: dict[str, Any] = {}
        exec(f"def t(): return {value}", namespace)
        return task(namespace["t"])

    assert make(1).task_key == make(1).task_key
    assert make(1).task_key != make(2).task_key
    assert make(1).task_key.startswith("t-")


def test_with_options_keeps_the_function() -> None:
    other = add.with_options(name="sum", tags=["x"], retries=2)
    assert (other.name, other.tags, other.retries, other(1)) == ("sum", frozenset({"x"}), 2, 2)
    assert add.name == "add"


def test_nested_submits_from_a_bounded_pool_do_not_deadlock() -> None:
    executing: list[int] = []
    most: list[int] = []
    lock = threading.Lock()

    @task
    def fib(n: int) -> int:
        with lock:
            executing.append(n)
            most.append(len(executing))
        time.sleep(0.001)
        with lock:
            executing.remove(n)
        if n < 2:
            return n
        below = [fib.submit(n - 1), fib.submit(n - 2)]
        return sum(future.result() for future in below)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2))
    def f() -> int:
        return fib.submit(8).result()

    assert f() == 21
    assert max(most) <= 2


def test_a_failed_future_that_is_allowed_goes_to_every_run_of_a_map() -> None:
    @task
    def broken() -> list[int]:
        raise ValueError("no")

    @task
    def told(n: int, of: Any) -> tuple[int, str]:
        return n, type(of).__name__

    @flow
    def f() -> list[tuple[int, str]]:
        return told.map([1, 2], allow_failure(broken.submit())).result()

    assert f() == [(1, "ValueError"), (2, "ValueError")]


@pytest.mark.parametrize("workers", [1, 2])
def test_nor_do_those_of_async_tasks(workers: int) -> None:
    @task
    async def leaf(n: int) -> int:
        return n

    @task
    async def outer(n: int) -> int:
        first, second = leaf.submit(n), leaf.submit(n + 1)
        return sum(await asyncio.gather(first.result_async(), second.result_async()))

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=workers))
    async def f() -> list[int]:
        futures = [outer.submit(n) for n in range(4)]
        return [await future.result_async() for future in futures]

    assert asyncio.run(f()) == [1, 3, 5, 7]


def test_a_function_that_makes_a_name_may_ask_for_the_run() -> None:
    from penstock.runtime import flow_run, task_run

    @task(task_run_name=lambda: f"{task_run.task_name}-{task_run.parameters['n']}-of-{flow_run.flow_name}")
    def t(n: int) -> str:
        return task_run.name

    @flow(flow_run_name=lambda: f"{flow_run.flow_name}-{flow_run.parameters['n']}")
    def f(n: int) -> tuple[str, str]:
        return flow_run.name, t(n)

    assert f(3) == ("f-3", "t-3-of-f")


def test_max_in_flight_bounds_what_is_submitted_and_not_done() -> None:
    submitted: list[int] = []
    seen: list[int] = []

    @task
    def work(i: int) -> None:
        seen.append(len(submitted))
        time.sleep(0.002)

    def inputs() -> Any:
        return range(50)

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=2, max_in_flight=5))
    def f() -> None:
        futures = []
        for i in inputs():
            futures.append(work.submit(i))
            submitted.append(i)
        work.map(inputs()).wait()

    f()
    assert max(ahead - done for done, ahead in enumerate(seen[:50])) <= 6


def test_a_state_type_is_what_results_compare_to() -> None:
    assert add(1, return_state=True).type is StateType.COMPLETED  # type: ignore[call-arg]
