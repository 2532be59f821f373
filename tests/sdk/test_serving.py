"""What can be told without a cluster; that flows are served is tested with one, in `tests/integration`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from penstock import flow, serve
from penstock.errors import ConfigurationError
from penstock.serving import importable, pool_name


@flow
def etl() -> None: ...


def test_a_pool_is_named_by_what_is_served() -> None:
    assert pool_name("nightly") == "serve-nightly"
    assert len(pool_name("n" * 80)) <= 63


def test_what_cannot_be_served_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match=r"serve wants deployments such as my_flow.to_deployment"):
        serve()
    with pytest.raises(ConfigurationError, match="serve wants deployments"):
        serve(etl)  # type: ignore[arg-type]
    two = (etl.to_deployment("a", work_pool_name="x"), etl.to_deployment("b", work_pool_name="y"))
    with pytest.raises(ConfigurationError, match="serve is a worker of one pool, and these name x, y"):
        serve(*two)


def test_async_code_is_told_that_serving_goes_on() -> None:
    async def main() -> None:
        etl.serve("nightly")

    with pytest.raises(ConfigurationError, match="where no event loop runs"):
        asyncio.run(main())


def test_runs_import_from_the_folder_of_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "before")
    with importable([etl]):
        assert os.environ["PYTHONPATH"].split(os.pathsep) == [str(Path(__file__).resolve().parent), "before"]
    assert os.environ["PYTHONPATH"] == "before"
    assert str(Path(__file__).resolve().parent) not in sys.path
