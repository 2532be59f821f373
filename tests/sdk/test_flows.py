"""Flows: what calling one means, sync and async, from the final-state rule to methods and generators."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock import flow, task
from penstock.errors import (
    CancellationRequested,
    CancelledRun,
    DefinitionError,
    FailedRun,
    FlowRunTimedOut,
    InvalidParameters,
    ParameterBind,
    ReservedArgument,
)
from penstock.runtime import flow_run
from penstock.states import Cancelled, Completed, Crashed, Failed, State, StateType


@task
def one() -> int:
    return 1


@task
def broken() -> None:
    raise ValueError("bad input")


def test_a_flow_is_called_like_its_function() -> None:
    @flow
    def add(x: int, y: int = 2) -> int:
        return x + y

    assert add(1) == 3
    assert add(x=1, y=5) == 6
    assert add.fn(1, 1) == 2


def test_a_flow_takes_its_name_and_description_from_the_function() -> None:
    @flow
    def load_all() -> None:
        """Load everything."""

    assert (load_all.name, load_all.description, load_all.__name__) == ("load-all", "Load everything.", "load_all")


def test_parameters_are_coerced_by_their_annotations() -> None:
    @flow
    def show(n: int, items: list[float]) -> Any:
        return n, items

    assert show("5", ["1.5", 2]) == (5, [1.5, 2.0])


def test_validation_can_be_turned_off() -> None:
    @flow(validate_parameters=False)
    def show(n: int) -> Any:
        return n

    assert show("5") == "5"


def test_a_wrong_parameter_fails_the_run_and_names_the_path() -> None:
    @flow
    def show(rows: list[int]) -> None: ...

    with pytest.raises(InvalidParameters, match=r"rows\.1: .*valid integer"):
        show([1, "x"])
    state: Any = show([1, "x"], return_state=True)
    assert (state.type, state.reason) == (StateType.FAILED, "InvalidParameters")


def test_a_call_that_does_not_fit_the_signature_is_the_callers_error() -> None:
    @flow
    def show(n: int) -> None: ...

    with pytest.raises(ParameterBind, match="missing a required argument: 'n'"):
        show()
    with pytest.raises(ParameterBind, match="unexpected keyword argument 'm'"):
        show(1, m=2)


@pytest.mark.parametrize("name", ["return_state", "wait_for"])
def test_reserved_argument_names_are_refused_at_definition(name: str) -> None:
    namespace: dict[str, Any] = {}
    exec(f"def f({name}): ...", namespace)
    with pytest.raises(ReservedArgument, match=name):
        flow(namespace["f"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries"),
        ({"retry_delay_seconds": -0.1}, "retry_delay_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"task_runner": "threads"}, "task_runner"),
    ],
)
def test_options_that_cannot_work_are_refused_and_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        flow(**options)(lambda: None)


class TestFinalState:
    """What a flow returns decides its state."""

    def test_a_value_is_completed(self) -> None:
        @flow
        def f() -> int:
            return 5

        state: Any = f(return_state=True)
        assert state.is_completed()
        assert state.result() == 5

    def test_an_exception_is_failed(self) -> None:
        @flow
        def f() -> None:
            raise ValueError("no")

        state: Any = f(return_state=True)
        assert (state.type, state.message, state.reason) == (StateType.FAILED, "ValueError: no", "Exception")
        with pytest.raises(ValueError, match="no"):
            f()
        assert isinstance(state.result(raise_on_failure=False), ValueError)

    def test_what_is_no_exception_is_crashed_and_raised(self) -> None:
        seen: list[State[Any]] = []

        @flow(on_crashed=[lambda _f, _r, state: seen.append(state)])
        def f() -> None:
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            f()
        assert seen[0].type is StateType.CRASHED

    def test_a_state_made_by_the_user_is_taken_as_it_is(self) -> None:
        @flow
        def f(state: str) -> Any:
            return {"c": Completed(message="fine", data=7), "f": Failed(message="no"), "n": Cancelled(name="Stopped")}[
                state
            ]

        assert f("c") == 7
        with pytest.raises(FailedRun, match="no"):
            f("f")
        with pytest.raises(CancelledRun):
            f("n")
        assert f("n", return_state=True).name == "Stopped"  # type: ignore[call-arg]

    def test_a_failed_task_does_not_fail_the_flow_unless_its_result_is_used(self) -> None:
        @flow
        def f() -> str:
            broken(return_state=True)
            broken.submit().wait()
            return "fine"

        assert f() == "fine"

    def test_a_returned_future_gives_the_tasks_state(self) -> None:
        @flow
        def f() -> Any:
            return one.submit()

        state = f()
        assert isinstance(state, State)
        assert state.result() == 1

    def test_a_failed_future_that_is_returned_alone_raises(self) -> None:
        @flow
        def f() -> Any:
            return broken.submit()

        with pytest.raises(ValueError, match="bad input"):
            f()

    def test_a_list_with_a_failed_future_fails_the_run_but_gives_the_states(self) -> None:
        @flow
        def f() -> Any:
            return [one.submit(), broken.submit()]

        states = f()
        assert [state.type for state in states] == [StateType.COMPLETED, StateType.FAILED]
        final: Any = f(return_state=True)
        assert (final.type, final.message) == (StateType.FAILED, "1 of 2 states did not complete")
        with pytest.raises(ValueError, match="bad input"):
            final.result()

    @pytest.mark.parametrize(
        ("states", "expected"),
        [
            ([Completed(), Completed()], StateType.COMPLETED),
            ([Completed(), Cancelled(), Failed()], StateType.CANCELLED),
            ([Completed(), Crashed()], StateType.FAILED),
        ],
    )
    def test_collections_of_states_are_aggregated(self, states: list[State[Any]], expected: StateType) -> None:
        @flow
        def f() -> Any:
            return tuple(states)

        assert f(return_state=True).type is expected  # type: ignore[call-arg]

    def test_a_list_with_values_beside_states_is_a_value(self) -> None:
        @flow
        def f() -> Any:
            return [broken(return_state=True), 1]

        assert f(return_state=True).is_completed()  # type: ignore[call-arg]


class TestRetries:
    """A failed flow is run again in the same process."""

    def test_the_function_is_run_again_after_the_delay(self, recorder: Any) -> None:
        calls = []

        @flow(retries=2, retry_delay_seconds=0.02)
        def f() -> int:
            calls.append(flow_run.run_count)
            if len(calls) < 3:
                raise ValueError("not yet")
            return 7

        assert recorder.run(f).result() == 7
        assert calls == [1, 2, 3]
        assert [state.name for state in recorder.flow_states] == [
            "Running",
            "AwaitingRetry",
            "Retrying",
            "AwaitingRetry",
            "Retrying",
        ]

    def test_crashes_are_not_retried(self) -> None:
        calls = []

        @flow(retries=2)
        def f() -> None:
            calls.append(1)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            f()
        assert calls == [1]

    def test_retries_used_up_give_the_last_error(self) -> None:
        calls: list[int] = []

        @flow(retries=1)
        def f() -> None:
            calls.append(1)
            raise ValueError(str(len(calls)))

        with pytest.raises(ValueError, match="2"):
            f()


class TestTimeout:
    """`timeout_seconds` ends the run as Failed, named TimedOut."""

    def test_a_blocking_call_in_the_main_thread_is_interrupted(self) -> None:
        @flow(timeout_seconds=0.1)
        def f() -> None:
            time.sleep(120)

        began = time.monotonic()
        state: Any = f(return_state=True)
        assert time.monotonic() - began < 60
        assert (state.type, state.name, state.reason) == (StateType.FAILED, "TimedOut", "TimedOut")
        with pytest.raises(FlowRunTimedOut, match=r"0\.1 s"):
            state.result()

    def test_an_async_flow_is_cancelled_at_its_await(self) -> None:
        @flow(timeout_seconds=0.1)
        async def f() -> None:
            await asyncio.sleep(5)

        with pytest.raises(FlowRunTimedOut):
            asyncio.run(f())

    def test_a_timeout_error_of_the_users_own_is_a_plain_failure(self) -> None:
        @flow(timeout_seconds=5)
        def f() -> None:
            raise TimeoutError("the database")

        assert f(return_state=True).name == "Failed"  # type: ignore[call-arg]

    def test_zero_is_no_limit(self) -> None:
        @flow(timeout_seconds=0)
        def f() -> int:
            return 1

        assert f() == 1

    def test_tasks_that_have_not_started_end_with_the_flow(self, recorder: Any) -> None:
        @task
        def slow() -> None:
            time.sleep(0.3)

        @flow(timeout_seconds=0.1, task_runner=penstock.task_runners.ThreadPoolTaskRunner(max_workers=1))
        def f() -> None:

            futures = [slow.submit() for _ in range(3)]
            for future in futures:
                future.wait()

        assert recorder.run(f).name == "TimedOut"
        assert recorder.last("slow-2").state_name == "Cancelled"


class TestAsync:
    """Async flows mean the same."""

    def test_an_async_flow_is_awaited(self) -> None:
        @task
        async def double(x: int) -> int:
            await asyncio.sleep(0)
            return 2 * x

        @flow
        async def f(n: int) -> list[int]:
            return list(await asyncio.gather(*(double(i) for i in range(n))))

        assert asyncio.run(f("3")) == [0, 2, 4]

    def test_sync_tasks_and_futures_work_in_an_async_flow(self) -> None:
        @flow
        async def f() -> Any:
            future = one.submit()
            return one() + await future.result_async() + future.result()

        assert asyncio.run(f()) == 3

    def test_retries_and_return_state(self) -> None:
        calls = []

        @flow(retries=1, retry_delay_seconds=0.01)
        async def f() -> None:
            calls.append(1)
            raise ValueError("no")

        state: Any = asyncio.run(f(return_state=True))
        assert state.is_failed()
        assert len(calls) == 2

    def test_run_flow_runs_an_async_flow_from_sync_code(self, recorder: Any) -> None:
        @flow
        async def f(n: int) -> int:
            return n

        assert recorder.run(f, {"n": "4"}).result() == 4


class TestSubflows:
    """A flow that is called in a flow is a run of its own, seen in the parent as a task run."""

    def test_a_subflow_knows_its_parent_and_reports_to_it(self, recorder: Any) -> None:
        @flow
        def child(x: int) -> tuple[str | None, str | None]:
            one()
            return flow_run.parent_flow_run_id, flow_run.root_flow_run_id

        @flow
        def parent() -> Any:
            return child("3"), flow_run.id

        result = recorder.run(parent).result()
        assert result == (("run-uid", "run-uid"), "run-uid")
        mirrored = [record for record in recorder.records if record.task == "child"]
        assert [record.state for record in mirrored] == ["Running", "Completed"]
        assert "one-0" in {record.name for record in recorder.records}
        assert [state.name for state in recorder.flow_states] == ["Running"]

    def test_a_failed_subflow_raises_in_its_parent(self) -> None:
        @flow
        def child() -> None:
            raise ValueError("child")

        @flow
        def parent() -> str:
            state: Any = child(return_state=True)
            assert state.is_failed()
            with pytest.raises(ValueError, match="child"):
                child()
            return "went on"

        assert parent() == "went on"

    def test_futures_are_resolved_before_a_subflow_starts(self) -> None:
        @flow
        def child(x: int) -> int:
            return x + 1

        @flow
        def parent() -> int:
            return child(one.submit())

        assert parent() == 2

    def test_a_subflow_whose_input_failed_does_not_start(self) -> None:
        @flow
        def child(x: Any) -> None:
            raise AssertionError("must not run")

        @flow
        def parent() -> Any:
            state = child(broken.submit(), return_state=True)
            return (state.type, state.name)

        assert parent() == (StateType.PENDING, "NotReady")


class TestHooks:
    """Hooks run in the run's process; one that raises stops nothing."""

    def test_hooks_get_the_flow_the_run_and_the_state(self) -> None:
        seen: list[tuple[str, str, str]] = []

        def note(which: str) -> Any:
            return lambda fl, run, state: seen.append((which, run.flow_name, state.name))

        @flow(name="f", on_running=[note("running")], on_completion=[note("done")], on_failure=[note("failed")])
        def f(fail: bool = False) -> None:
            if fail:
                raise ValueError

        f()
        f(fail=True, return_state=True)  # type: ignore[call-arg]
        assert seen == [
            ("running", "f", "Running"),
            ("done", "f", "Completed"),
            ("running", "f", "Running"),
            ("failed", "f", "Failed"),
        ]

    def test_a_hook_may_be_added_by_decorator_and_be_async(self) -> None:
        seen = []

        @flow
        def f() -> None: ...

        @f.on_completion
        async def note(*_: Any) -> None:
            seen.append(1)

        f()
        assert seen == [1]

    def test_a_raising_hook_is_logged_only(self, caplog: pytest.LogCaptureFixture) -> None:
        @flow
        def f() -> int:
            return 1

        @f.on_completion
        def bad(*_: Any) -> None:
            raise ValueError("hook")

        assert f() == 1
        assert "Hook bad raised" in caplog.text

    def test_cancellation_fires_its_own_hook(self) -> None:
        seen: list[str] = []

        @flow(on_cancellation=[lambda _f, _r, state: seen.append(state.name)], on_failure=[lambda *_: seen.append("x")])
        def f() -> None:
            raise CancellationRequested("asked by a person")

        state: Any = f(return_state=True)
        assert (state.type, state.message, seen) == (StateType.CANCELLED, "asked by a person", ["Cancelled"])

    @pytest.mark.parametrize("asynchronous", [False, True])
    def test_a_signal_handler_may_ask_for_it(self, recorder: Any, asynchronous: bool) -> None:
        seen: list[str] = []

        def ask(*_: Any) -> None:
            raise CancellationRequested("terminated")

        @task
        def endless() -> None:
            time.sleep(0.3)

        def waits() -> None:
            endless.submit().wait()
            time.sleep(5)

        async def waits_async() -> None:
            endless.submit()
            await asyncio.sleep(5)

        f: Any = flow(name="f")(waits_async if asynchronous else waits)
        f.on_cancellation(lambda *_: seen.append("cancelled"))
        f.on_crashed(lambda *_: seen.append("crashed"))
        before = signal.signal(signal.SIGALRM, ask)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            state = recorder.run(f)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert (state.type, state.message, state.reason) == (StateType.CANCELLED, "terminated", "CancelRequested")
        assert seen == ["cancelled"]

    @pytest.mark.parametrize("waits", ["in its code", "for its retry"])
    @pytest.mark.parametrize("cancelled", [True, False])
    def test_whoever_ends_the_process_says_whether_that_is_a_cancellation(
        self, recorder: Any, waits: str, cancelled: bool
    ) -> None:
        seen: list[str] = []
        recorder.being_cancelled = lambda: cancelled

        class Ended(BaseException):
            """As a runner ends its process."""

        def end(*_: Any) -> None:
            raise Ended

        @flow(retries=1, retry_delay_seconds=5)
        def f() -> None:
            if waits == "for its retry":
                raise ValueError
            time.sleep(5)

        f.on_cancellation(lambda _f, _r, state: seen.append(state.name))
        f.on_crashed(lambda _f, _r, state: seen.append(state.name))
        before = signal.signal(signal.SIGALRM, end)
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            state = recorder.run(f)
        finally:
            signal.signal(signal.SIGALRM, before)
        assert state.type is StateType.CRASHED
        assert seen == ["Cancelling" if cancelled else "Crashed"]

    def test_a_returned_cancelled_state_fires_none(self) -> None:
        seen: list[int] = []

        @flow(on_cancellation=[lambda *_: seen.append(1)], on_failure=[lambda *_: seen.append(2)])
        def f() -> Any:
            return Cancelled()

        f(return_state=True)  # type: ignore[call-arg]
        assert seen == []


class TestGenerators:
    """A generator flow hands its values on while it runs."""

    def test_values_arrive_one_by_one(self) -> None:
        seen: list[int] = []

        @flow
        def f(n: int) -> Any:
            for i in range(n):
                seen.append(i)
                yield i

        values = f("3")
        assert next(values) == 0
        assert seen == [0]
        assert list(values) == [1, 2]

    def test_the_consumer_is_outside_of_the_run(self) -> None:
        @flow
        def f() -> Any:
            yield flow_run.id

        for inside in f():
            assert inside is not None
            assert flow_run.id is None

    def test_an_early_stop_closes_the_generator(self) -> None:
        closed = []

        @flow
        def f() -> Any:
            try:
                yield 1
                yield 2
            finally:
                closed.append(True)

        for _ in f():
            break
        assert closed == [True]

    def test_an_error_reaches_the_consumer(self) -> None:
        @flow
        def f() -> Any:
            yield 1
            raise ValueError("late")

        values = f()
        next(values)
        with pytest.raises(ValueError, match="late"):
            next(values)

    def test_async_generators(self) -> None:
        @flow
        async def f(n: int) -> Any:
            for i in range(n):
                yield i

        async def main() -> list[int]:
            return [i async for i in f("3")]

        assert asyncio.run(main()) == [0, 1, 2]


class TestMethods:
    """Flows may be methods of every kind."""

    class Pipeline:
        factor = 3

        @flow
        def instance(self, x: int) -> int:
            return self.factor * x

        @classmethod
        @flow
        def outer_class(cls, x: int) -> int:
            return cls.factor * x

        @flow
        @classmethod
        def inner_class(cls, x: int) -> int:
            return cls.factor * x

        @staticmethod
        @flow
        def outer_static(x: int) -> int:
            return x

        @flow
        @staticmethod
        def inner_static(x: int) -> int:
            return x

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("instance", 6), ("outer_class", 6), ("inner_class", 6), ("outer_static", 2), ("inner_static", 2)],
    )
    def test_through_an_instance(self, name: str, expected: int) -> None:
        assert getattr(self.Pipeline(), name)("2") == expected

    @pytest.mark.parametrize("name", ["outer_class", "inner_class", "outer_static", "inner_static"])
    def test_through_the_class(self, name: str) -> None:
        assert getattr(self.Pipeline, name)("2") in (2, 6)


class TestNames:
    """`flow_run_name` names runs."""

    def test_a_template_is_filled_with_the_parameters(self) -> None:
        @flow(flow_run_name="load-{n}")
        def f(n: int) -> Any:
            return flow_run.name

        assert f("3") == "load-3"

    def test_a_function_may_name_it(self) -> None:
        @flow(flow_run_name=lambda: "nightly")
        def f() -> Any:
            return flow_run.name

        assert f() == "nightly"

    def test_a_template_with_an_unknown_name_raises_through_the_call(self) -> None:
        @flow(flow_run_name="load-{m}")
        def f() -> None: ...

        with pytest.raises(KeyError, match="m"):
            f()


def test_with_options_changes_only_what_is_named() -> None:
    @flow(retries=2, on_completion=[lambda *_: None])
    def f() -> None: ...

    changed = f.with_options(name="other", retries=0)
    assert (changed.name, changed.retries, len(changed.on_completion_hooks)) == ("other", 0, 1)
    assert (f.name, f.retries) == ("f", 2)
    with pytest.raises(DefinitionError, match="retires"):
        f.with_options(retires=1)


def test_run_flow_gives_a_final_state_whatever_happens(recorder: Any) -> None:
    @flow
    def exits() -> None:
        raise SystemExit(1)

    @flow
    def add(x: int, y: int = 1) -> int:
        return x + y

    assert recorder.run(exits).type is StateType.CRASHED
    assert recorder.run(add, {"x": 1}).result() == 2
    assert recorder.run(add, {"x": 1, "z": 1}).reason == "InvalidParameters"
    assert recorder.run(add).reason == "InvalidParameters"
    assert recorder.run(add, {"x": "one"}).reason == "InvalidParameters"


def test_submitted_tasks_end_before_their_flow_does(recorder: Any) -> None:
    @task
    def slow() -> None:
        time.sleep(0.05)

    @flow
    def f() -> None:
        slow.submit()

    recorder.run(f)
    assert recorder.last("slow-0").state_name == "Completed"


def test_the_version_of_a_flow_is_a_hash_of_its_file(tmp_path: Path) -> None:
    """As long as nobody says another; a function that no file has, has none."""

    def of(text: str) -> Any:
        path = tmp_path / "etl.py"
        path.write_text(text)
        namespace: dict[str, Any] = {"__name__": "etl"}
        exec(compile(text, str(path), "exec"), namespace)
        return namespace["etl"].version

    text = "from penstock import flow\n@flow\ndef etl(): ...\n"
    first = of(text)
    assert len(first) == 32
    assert (of(text), of(text + "# more")) == (first, of(text + "# more"))
    assert of(text + "# more") != first
    assert flow(lambda: 1, version="2").version == "2"
    assert flow(lambda: 1).with_options(retries=1).version == flow(lambda: 1).version
    namespace: dict[str, Any] = {}
    exec("from penstock import flow\n@flow\ndef etl(): ...", namespace)
    assert namespace["etl"].version is None


def test_a_version_that_is_worked_out_is_never_taken_for_a_declared_one() -> None:
    here = flow(lambda: 1)
    assert here.version is not None
    assert here.with_options(retries=1).declared_version is None
    assert here.with_options(version="2").with_options(retries=1).declared_version == "2"
