"""The harness for users' tests."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from penstock import flow, get_run_logger, task
from penstock.cache_policies import INPUTS
from penstock.concurrency import concurrency, declare_limit
from penstock.concurrency.claims import slots
from penstock.events import emit_event
from penstock.settings import get_current_settings
from penstock.testing import disable_run_logger, penstock_test_harness, temporary_settings
from penstock.testing.utilities import penstock_test_harness as by_prefects_path
from penstock.variables import Variable


@task(retries=1)
def load(n: int) -> int:
    get_run_logger().info("loading %s", n)
    if n < 0:
        raise ValueError(n)
    emit_event("row.loaded", {"penstock.resource.id": str(n)})
    return n


@flow
def etl(n: int) -> int:
    print("printed")
    return load.submit(n).result()


@flow
async def aetl() -> int:
    return etl(2)


def test_what_runs_do_is_kept(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PENSTOCK_PROGRESS", "lines")
    with penstock_test_harness(log_prints=True) as ran:
        assert etl(1) == 1
        assert asyncio.run(aetl()) == 2
        with pytest.raises(ValueError, match="-1"):
            etl(-1)
    assert [[state.name for state in run.states] for run in ran.runs] == [
        ["Running", "Completed"],
        ["Running", "Completed"],
        ["Running", "Failed"],
    ]
    assert ran.runs[0].states_of("load-0") == ["Pending", "Running", "Completed"]
    assert ran.states_of("load-0").count("Retrying") == 1
    assert [event.event for event in ran.events] == ["row.loaded"] * 2
    assert ran.messages[:2] == ["printed", "loading 1"]
    assert any(record.levelname == "ERROR" for record in ran.logs)
    assert capfd.readouterr() == ("", "")


def test_everything_is_as_before_afterwards() -> None:
    logger = logging.getLogger("penstock")
    before = (logger.handlers[:], logger.propagate, logger.level, slots())
    with penstock_test_harness({"log_level": "DEBUG"}) as ran:
        declare_limit("inside", 1)
        with concurrency("inside", strict=True):
            assert get_current_settings().log_level == "DEBUG"
    assert (logger.handlers[:], logger.propagate, logger.level, slots()) == before
    assert slots().known(["inside"]) == ()
    with pytest.raises(KeyError), penstock_test_harness():
        raise KeyError
    assert (logger.handlers[:], logger.propagate, logger.level, slots()) == before
    etl(3)
    assert ran.runs == []
    assert ran.events == []


def test_what_is_kept_inside_is_the_harnesss_own(tmp_path: Path) -> None:
    """Tests neither see nor change the variables and cached results of whoever runs them."""
    ran: list[int] = []

    @task(cache_policy=INPUTS)
    def cached(n: int) -> int:
        ran.append(n)
        return n

    with temporary_settings(home=str(tmp_path), results_storage=str(tmp_path / "results")):
        Variable.set("limit", 1)
        cached(1)
        for _ in range(2):
            with penstock_test_harness():
                assert Variable.get("limit") is None
                Variable.set("limit", 2)
                assert (cached(1), cached(1, return_state=True).name) == (1, "Cached")  # type: ignore[call-overload, call-arg]
                inside = get_current_settings().home
            assert not Path(inside).exists()
        assert Variable.get("limit") == 1
        assert ran == [1, 1, 1]
        with penstock_test_harness(home=str(tmp_path)):
            assert Variable.get("limit") == 1


def test_harnesses_may_be_nested() -> None:
    with penstock_test_harness() as outer:
        with by_prefects_path() as inner:
            etl(1)
        etl(2)
    assert (len(outer.runs), len(inner.runs)) == (1, 1)


def test_the_other_helpers_are_here_too() -> None:
    with disable_run_logger(), temporary_settings(log_level="ERROR"):
        assert load.fn(1) == 1
    import penstock.testing

    with pytest.raises(AttributeError, match="nothing"):
        _ = penstock.testing.nothing


def test_a_pod_that_tries_an_installation_imports_no_harness() -> None:
    code = "import penstock.testing.flows, sys; print('penstock.testing.harness' in sys.modules)"
    done: Any = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
