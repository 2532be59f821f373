"""The package's public face, and what importing and running it does not import."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import penstock

HEAVY = ["pydantic", "asyncio", "concurrent.futures", "rich", "kubernetes", "kopf", "httpx", "aiohttp", "yaml", "click"]


def test_every_exported_name_is_there_and_listed() -> None:
    for name in penstock.__all__:
        assert getattr(penstock, name) is getattr(import_module(f"penstock.{penstock._HOMES[name]}"), name)
    assert set(penstock.__all__) == set(penstock._HOMES) <= set(dir(penstock))
    assert sorted(penstock.__all__) == penstock.__all__


def test_public_modules_are_attributes() -> None:
    assert penstock.runtime.flow_run.id is None
    assert penstock.states.Completed().is_completed()


def test_unknown_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        penstock.nothing  # noqa: B018


def imported(code: str) -> set[str]:
    """The modules that a fresh interpreter has after `code`."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        env={"PENSTOCK_PROGRESS": "off"},
    )
    return set(done.stdout.split())


RUN = """
from penstock.engine.flow_runs import run_flow
from penstock.engine.records import FlowRunInfo
from penstock.engine.reporting import Silent
assert run_flow(f, {"n": 3}, reporter=Silent(), info=FlowRunInfo(id="u", name="r")).result() == 4
"""


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import penstock", [*HEAVY, "logging", "inspect", "threading"]),
        ("from penstock import flow, task", [*HEAVY, "logging", "hashlib", "random", "uuid", "multiprocessing"]),
        (
            "from penstock import flow, task\n"
            "@task\ndef t(n): return n + 1\n"
            "@flow\ndef f(n: int, names: list[str] = []): return t(n)" + RUN,
            [*HEAVY, "logging"],
        ),
        (
            "from penstock import flow, task\n"
            "@task\ndef t(n): return n + 1\n"
            "@flow\ndef f(n): return t.submit(n).result()" + RUN,
            [*HEAVY, "logging"],
        ),
    ],
    ids=["the package", "the decorators", "a flow with plain parameters", "a flow with a submitted task"],
)
def test_what_is_not_needed_is_not_imported(code: str, absent: list[str]) -> None:
    assert imported(code).isdisjoint(absent)


def test_errors_have_prefects_module_as_well() -> None:
    """Whoever changes the import of `prefect.exceptions` finds the same classes."""
    from penstock import errors, exceptions

    public = {name for name in vars(errors) if name[0].isupper() and name not in ("TYPE_CHECKING", "Any")}
    assert {name for name in public if getattr(exceptions, name, None) is not getattr(errors, name)} == set()
    assert exceptions.MissingContextError is errors.MissingContext
    assert exceptions.ParameterTypeError is errors.InvalidParameters


def test_names_that_prefect_has_in_other_places() -> None:
    from penstock import annotations, logging
    from penstock.logging import loggers
    from penstock.utilities import annotations as theirs

    assert all(
        getattr(theirs, name) is getattr(annotations, name) for name in annotations.__all__ if name in dir(theirs)
    )
    assert theirs.BaseAnnotation is annotations.Annotation
    assert loggers.get_run_logger is logging.get_run_logger
    assert loggers.flow_run_logger is loggers.task_run_logger is logging.run_logger
    assert penstock.__version__.count(".") >= 2
