"""Options that cannot be are refused where they are written, by the name of what they are of."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from penstock import allow_failure, flow, task
from penstock.cache_policies import INPUTS
from penstock.definitions import Definition
from penstock.errors import DefinitionError, InvalidParameters, PenstockError
from penstock.flows import Flow
from penstock.options import OPTIONS
from penstock.states import Completed
from penstock.task_runners import ThreadPoolTaskRunner
from penstock.tasks import Task

DECORATORS: dict[str, Any] = {"flow": flow, "task": task}


def hook(*_: Any) -> None: ...


# Option -> what it may be, what it may not. Every option of either decorator has its row.
ROWS: dict[str, tuple[list[Any], list[Any]]] = {
    "name": (["load", None, ""], [3, b"load", ["load"]]),
    "description": (["Loads.", None], [3]),
    "version": (["1", None], [3, 1.2, True]),
    "retries": ([0, 3, None], [True, -1, 1.5, "3", [1]]),
    "retry_delay_seconds": (
        [None, 0, 1.5, [1, 2], (1.0,), lambda retries: [1.0] * retries],
        ["x", True, -1, float("nan"), float("inf"), timedelta(1), [1, "x"], [1.0] * 51, {1: 2}],
    ),
    "retry_jitter_factor": ([None, 0, 0.5], [-1, "x", True, float("inf")]),
    "retry_condition_fn": ([None, hook], ["always", 3]),
    "timeout_seconds": ([None, 0, 1.5], ["x", -1, True, timedelta(1), float("inf"), float("nan")]),
    "log_prints": ([None, True], ["yes", 1]),
    "persist_result": ([None, False], ["no", 0]),
    "refresh_cache": ([None, True], ["no", 1]),
    "cache_result_in_memory": ([True], [None, "no"]),
    "validate_parameters": ([False], [None, "no"]),
    "result_storage": ([None, "memory://x", Path("results")], [3, ["memory://x"]]),
    "result_serializer": ([None, "json"], [3]),
    "result_storage_key": ([None, "{task_run.name}"], [5, hook]),
    "flow_run_name": ([None, "load-{day}", lambda: "load"], [3, ["load"]]),
    "task_run_name": ([None, "load-{day}", lambda: "load"], [3, ["load"]]),
    "task_runner": ([None, ThreadPoolTaskRunner, ThreadPoolTaskRunner()], ["threads", 3]),
    "blocks": ([(), ["prod"], None], ["prod", [3], [""], 3]),
    "tags": ([None, [], {"a"}, ("a", "b")], [3, "nightly", [3], [""]]),
    "cache_policy": ([..., None, INPUTS], ["INPUTS", 3]),
    "cache_key_fn": ([None, hook], ["key", 3]),
    "cache_expiration": ([None, timedelta(1), 1.5], ["x", 0, -1, timedelta(0), True]),
    **{
        name: ([None, [], [hook], (hook,)], [hook, [3], "hook", 3])
        for name in OPTIONS
        if name.startswith("on_") and name not in ("on_commit", "on_rollback")
    },
    "on_commit": ([None, [hook]], [hook, [3]]),
    "on_rollback": ([None, [hook]], [hook, [3]]),
}
FREE = {"viz_return_value"}  # any value is one


def has(kind: str, option: str) -> bool:
    owner: type[Definition[Any, Any]] = {"flow": Flow, "task": Task}[kind]
    return option in (*owner.OPTIONS, *owner.HOOKS)


CASES = [(kind, option) for kind in DECORATORS for option in ROWS if has(kind, option)]


def test_every_option_has_a_rule_and_a_row() -> None:
    options = {*Flow.OPTIONS, *Flow.HOOKS, *Task.OPTIONS, *Task.HOOKS} - FREE
    assert options == set(OPTIONS) == set(ROWS)


@pytest.mark.parametrize(("kind", "option"), CASES)
def test_what_an_option_may_be(kind: str, option: str) -> None:
    for value in ROWS[option][0]:
        declared = DECORATORS[kind](**{option: value})(hook)
        assert type(declared.with_options(**{option: value})) is type(declared)


@pytest.mark.parametrize(("kind", "option"), CASES)
def test_what_an_option_may_not_be(kind: str, option: str) -> None:
    """The error names the flow or task, the option, what was given, and what may be."""
    own = {} if option == "name" else {"name": "etl"}
    name = "hook" if option == "name" else "etl"
    for value in ROWS[option][1]:
        for declare in (DECORATORS[kind](**own, **{option: value}), DECORATORS[kind](hook).with_options):
            with pytest.raises(DefinitionError) as error:
                declare(hook) if declare.__name__ == "declare" else declare(**own, **{option: value})
            assert str(error.value).startswith(f"{kind} {name!r}: {option} must be {OPTIONS[option][1]}, not ")
            assert repr(value)[:20] in str(error.value)


def test_what_is_shown_of_a_value_is_bounded() -> None:
    with pytest.raises(DefinitionError) as error:
        task(name="etl", tags="x" * 1_000_000)(hook)  # type: ignore[arg-type]
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("delays", "problem"),
    [
        (lambda retries: ["x"] * retries, "must be a finite number"),
        (lambda _retries: hook, "must be a finite number"),
        (lambda: [1], "raised TypeError: .*; it is called with the number of retries"),
        (lambda retries: 1 / (retries - 2), "raised ZeroDivisionError"),
    ],
)
def test_a_function_of_delays_that_gives_none(delays: Any, problem: str) -> None:
    with pytest.raises(DefinitionError, match=f"task 'etl': retry_delay_seconds:? .*{problem}"):
        task(name="etl", retries=2, retry_delay_seconds=delays)(hook)


class TestCalls:
    """`return_state` and `wait_for` of every way to call."""

    @pytest.mark.parametrize("wait_for", [3, "load", hook, iter([])])
    def test_what_cannot_be_waited_for(self, wait_for: Any) -> None:
        @task(name="load")
        def load(x: Any = 1) -> Any:
            return x

        @flow(name="etl")
        def etl() -> int:
            return 1

        for call in (load, load.submit, load.map):
            with pytest.raises(InvalidParameters, match="task 'load': wait_for must be a list of futures or states"):
                call([1], wait_for=wait_for)
        with pytest.raises(PenstockError, match="flow 'etl': wait_for must be"):
            etl(wait_for=wait_for)  # type: ignore[call-arg]

    def test_what_can_be(self) -> None:
        load = task(lambda: 1, name="load")
        future = load.submit()
        for wait_for in (None, [], future, [future], {"a": future}, Completed(), allow_failure(future)):
            assert load(wait_for=wait_for) == 1

    def test_a_state_is_wanted_or_not(self) -> None:
        load = task(lambda: 1, name="load")
        with pytest.raises(InvalidParameters, match="task 'load': return_state must be True or False, not 'yes'"):
            load(return_state="yes")
