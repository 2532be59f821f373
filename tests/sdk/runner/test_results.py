"""The value of a run: inline, in the store, or why neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.api.bounds import MAX_INLINE_RESULT
from penstock.results import ResultStore, StoredResult
from penstock.runner.results import MAX_OMITTED, kept
from penstock.states import Completed, State

LARGE = "x" * MAX_INLINE_RESULT


def completed(value: Any, store: ResultStore | None = None, *, in_memory: bool = True) -> State[Any]:
    state = Completed(data=value)
    if store is not None:
        store.write("mine", value)
        state.stored = store.reference("mine")
        if not in_memory:
            state.data = state.stored
    return state


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", f"file://{tmp_path}/results")
    return f"file://{tmp_path}/results"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PENSTOCK_RESULTS_STORAGE", raising=False)


def test_small_values_are_inline(configured: str, tmp_path: Path) -> None:
    assert kept(completed({"rows": 3}), "uid") == {"inline": {"rows": 3}}
    assert kept(completed(None), "uid") == {}
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("value", [LARGE, {1, 2}], ids=["too large", "no JSON"])
def test_others_go_to_the_store_that_is_configured(configured: str, value: Any) -> None:
    found = kept(completed(value), "run-uid")
    assert found == {"reference": f"{configured}/run-uid"}
    assert StoredResult.from_url(found["reference"]).get() == value


def test_without_a_store_it_says_what_to_do() -> None:
    (found,) = kept(completed(LARGE), "uid").values()
    assert found.startswith(f"{MAX_INLINE_RESULT + 2} bytes of JSON")
    assert "spec.results.url of the WorkPool" in found


def test_what_is_kept_already_is_referred_to() -> None:
    store = ResultStore.from_url("memory://kept")
    reference = {"reference": "memory://kept/mine"}
    assert kept(completed(1, store), "uid") == {"inline": 1, **reference}
    assert kept(completed(None, store), "uid") == reference
    assert kept(completed(LARGE, store), "uid") == reference
    assert kept(completed(1, store, in_memory=False), "uid") == reference


def test_a_store_that_cannot_be_written_leaves_the_run_completed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", f"{tmp_path}/file/x")
    found = kept(completed(LARGE), "uid")["omitted"]
    assert "bytes of JSON" in found
    assert "cannot be written: " in found
    assert len(found) <= MAX_OMITTED
