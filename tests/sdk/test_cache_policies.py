"""Cache policies: what keys are made of, how policies add up, what is refused."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest

from penstock import task
from penstock.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    IsolationLevel,
)
from penstock.context import TaskRunContext
from penstock.engine.runs import TaskRun
from penstock.errors import ConfigurationError, UnhashableInput
from penstock.locking.filesystem import FileSystemLockManager
from penstock.locking.memory import MemoryLockManager


@task
def one(x: int) -> int:
    return x


@task
def other(x: int) -> int:
    return x + 1


def context(which: Any = one, flow_run: str | None = "run-1") -> TaskRunContext:
    return TaskRunContext(which, TaskRun(which, "one-0", {}, flow_run, frozenset()), False)


def key(
    policy: CachePolicy, inputs: dict[str, Any] | None = None, ctx: TaskRunContext | None = None, **flow: Any
) -> Any:
    return policy.compute_key(ctx or context(), {"x": 1} if inputs is None else inputs, flow)


class TestKeys:
    """What makes a key another one, and what does not."""

    def test_inputs(self) -> None:
        assert key(INPUTS) == key(INPUTS, ctx=context(other))
        assert key(INPUTS) != key(INPUTS, {"x": 2})
        assert key(INPUTS, {"a": 1, "b": 2}) == key(INPUTS, {"b": 2, "a": 1})
        assert key(INPUTS, {"a": 1}) != key(INPUTS, {"b": 1})
        assert key(INPUTS, {}) is None

    def test_task_source(self) -> None:
        assert key(TASK_SOURCE) == key(TASK_SOURCE, {"x": 5})
        assert key(TASK_SOURCE) != key(TASK_SOURCE, ctx=context(other))

    def test_task_source_where_there_is_no_source(self) -> None:
        def made(text: str) -> Any:
            names: dict[str, Any] = {}
            exec(text, names)
            return context(task(names["f"]))

        assert key(TASK_SOURCE, ctx=made("def f(): return 1")) == key(TASK_SOURCE, ctx=made("def f(): return 1"))
        assert key(TASK_SOURCE, ctx=made("def f(): return 1")) != key(TASK_SOURCE, ctx=made("def f(): return 2"))

    def test_flow_parameters(self) -> None:
        assert key(FLOW_PARAMETERS, day=1) == key(FLOW_PARAMETERS, {"x": 9}, day=1)
        assert key(FLOW_PARAMETERS, day=1) != key(FLOW_PARAMETERS, day=2)
        assert FLOW_PARAMETERS.compute_key(context(), {"x": 1}, None) is None

    def test_run_id_is_the_flow_runs_or_the_tasks_own(self) -> None:
        alone = context(flow_run=None)
        assert key(RUN_ID) == "run-1"
        assert key(RUN_ID, ctx=alone) == alone.run.id

    def test_no_cache(self) -> None:
        assert NONE is NO_CACHE
        assert key(NO_CACHE) is None

    def test_the_default(self) -> None:
        base = key(DEFAULT)
        assert base == key(DEFAULT)
        assert base != key(DEFAULT, {"x": 2})
        assert base != key(DEFAULT, ctx=context(other))
        assert base != key(DEFAULT, ctx=context(flow_run="run-2"))

    def test_a_function(self) -> None:
        policy = CachePolicy.from_cache_key_fn(lambda ctx, parameters: f"{ctx.task.name}-{parameters['x']}")
        assert key(policy) == "one-1"
        assert key(policy + RUN_ID) not in (None, "one-1")
        assert key(CacheKeyFnPolicy(lambda ctx, parameters: None)) is None
        with pytest.raises(TypeError, match="str or None, not a int"):
            key(CacheKeyFnPolicy(lambda ctx, parameters: 5))  # type: ignore[arg-type,return-value]
        with pytest.raises(ConfigurationError, match="must be a function"):
            CacheKeyFnPolicy("key")  # type: ignore[arg-type]

    def test_a_policy_of_your_own(self) -> None:
        class Tenth(CachePolicy):
            def compute_key(self, task_ctx: Any, inputs: Any, flow_parameters: Any, **kwargs: Any) -> str:
                return str(inputs["x"] // 10)

        assert key(Tenth() + TASK_SOURCE, {"x": 11}) == key(TASK_SOURCE + Tenth(), {"x": 19})


class TestSums:
    """`+` and `-`."""

    def test_the_order_makes_no_difference(self) -> None:
        assert key(INPUTS + TASK_SOURCE + RUN_ID) == key(RUN_ID + (TASK_SOURCE + INPUTS))

    def test_one_that_makes_no_key_counts_for_nothing(self) -> None:
        assert key(INPUTS + RUN_ID, {}) == key(FLOW_PARAMETERS + RUN_ID, {})
        assert key(INPUTS + FLOW_PARAMETERS, {}) is None

    def test_none_adds_nothing(self) -> None:
        assert (NONE + INPUTS, INPUTS + NONE, NONE + NONE, NONE - "x") == (INPUTS, INPUTS, NONE, NONE)

    def test_an_argument_is_left_out(self) -> None:
        for policy in (INPUTS - "debug", DEFAULT - "debug", INPUTS + TASK_SOURCE - "debug"):
            assert key(policy, {"x": 1, "debug": 1}) == key(policy, {"x": 1, "debug": 2})
            assert key(policy, {"x": 1, "debug": 1}) != key(policy, {"x": 2, "debug": 1})
        assert key(INPUTS - "x") is None
        assert key(INPUTS - "a" - "b", {"a": 1, "b": 2}) is None
        assert key(INPUTS) is not None  # nothing was changed in place

    def test_taking_an_argument_out_of_one_without_inputs_brings_the_others_in(self) -> None:
        policy = TASK_SOURCE - "debug"
        assert key(policy, {"x": 1, "debug": 1}) == key(policy, {"x": 1, "debug": 2})
        assert key(policy, {"x": 1}) != key(policy, {"x": 2})

    @pytest.mark.parametrize("wrong", [5, None, INPUTS])
    def test_only_names_are_taken_out(self, wrong: Any) -> None:
        for policy in (INPUTS, DEFAULT):
            with pytest.raises(TypeError, match="only the name of an argument"):
                policy - wrong

    def test_only_policies_are_added(self) -> None:
        with pytest.raises(TypeError):
            INPUTS + "x"  # type: ignore[operator]

    def test_they_show_what_they_are(self) -> None:
        assert repr(INPUTS + TASK_SOURCE) == "Inputs + TaskSource"


class TestConfigure:
    """Where keys are, and locks around them."""

    def test_it_gives_a_new_policy_with_the_same_key(self) -> None:
        changed = DEFAULT.configure(key_storage="memory://keys")
        assert (changed.key_storage, DEFAULT.key_storage) == ("memory://keys", None)
        assert key(changed) == key(DEFAULT)

    def test_a_sum_takes_it_over(self) -> None:
        locks = MemoryLockManager()
        locked = INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE, lock_manager=locks)
        for policy in (locked + TASK_SOURCE, TASK_SOURCE + locked, locked + locked, locked - "x"):
            assert (policy.isolation_level, policy.lock_manager) == (IsolationLevel.SERIALIZABLE, locks)

    def test_different_ones_cannot_be_added(self, tmp_path: Any) -> None:
        cases = [
            ({"key_storage": "memory://a"}, {"key_storage": "memory://b"}, "key_storage"),
            ({"lock_manager": MemoryLockManager()}, {"lock_manager": FileSystemLockManager(tmp_path)}, "lock_manager"),
            (
                {"isolation_level": "READ_COMMITTED"},
                {"isolation_level": "SERIALIZABLE", "lock_manager": MemoryLockManager()},
                "isolation_level",
            ),
        ]
        for mine, theirs, name in cases:
            with pytest.raises(ConfigurationError, match=f"different {name} cannot be added"):
                INPUTS.configure(**mine) + RUN_ID.configure(**theirs)

    def test_serializable_needs_a_lock_manager(self) -> None:
        with pytest.raises(ConfigurationError, match="needs a lock manager"):
            INPUTS.configure(isolation_level=IsolationLevel.SERIALIZABLE)
        with pytest.raises(ConfigurationError, match="one of READ_COMMITTED, SERIALIZABLE, not 'SERIAL'"):
            INPUTS.configure(isolation_level="SERIAL")


def test_an_input_that_cannot_be_hashed_is_named() -> None:
    with pytest.raises(UnhashableInput, match=r"argument 'lock' cannot be hashed: .*lock") as caught:
        key(DEFAULT, {"x": 1, "lock": threading.Lock()})
    assert caught.value.argument == "lock"


PROGRAM = """
from pathlib import Path
from penstock.cache_policies import INPUTS
from tests_values import VALUES
print(INPUTS.compute_key(None, VALUES, None))
"""


def test_keys_are_the_same_in_every_process(tmp_path: Any) -> None:
    """Sets of strings above all, whose order differs between processes."""
    (tmp_path / "tests_values.py").write_text(
        "from dataclasses import dataclass\nfrom pathlib import Path\n"
        "@dataclass\nclass P:\n    names: set\n"
        "VALUES = {'a': {'x', 'y', 'z', 'w'}, "
        "'b': P({'q', 'r', 's'}), 'c': [1.5, None, Path('/x')], 'd': {2: 'b', 1: 'a'}}\n"
    )
    found = set()
    for seed in "123":
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={"PYTHONPATH": ":".join((str(tmp_path), *sys.path)), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        found.add(ran.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 64
