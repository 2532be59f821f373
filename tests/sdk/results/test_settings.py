"""The store that is meant where nobody says."""

from __future__ import annotations

import logging
import uuid
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from penstock.results import ResultStore, get_result_store
from penstock.results.settings import store_for


def test_the_default_is_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PENSTOCK_RESULTS_STORAGE", raising=False)
    monkeypatch.setattr("penstock.results.settings._stores", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert get_result_store().url == f"file://{tmp_path}/.penstock/results"


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RESULTS_STORAGE", "memory://env")
    monkeypatch.setenv("PENSTOCK_RESULTS_DEFAULT_SERIALIZER", "json")
    assert repr(get_result_store()) == "ResultStore('memory://env', serializer='json')"
    assert repr(store_for("memory://own", "pickle")) == "ResultStore('memory://own', serializer='pickle')"


def test_a_store_that_is_given_keeps_its_serializer_unless_another_is_named() -> None:
    store = ResultStore.from_url("memory://a", serializer="json")
    assert store_for(store, None) is store
    assert repr(store_for(store, "pickle")) == "ResultStore('memory://a', serializer='pickle')"


def test_a_place_that_ends_with_its_pod_is_warned_of_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("PENSTOCK_RESULTS_STORAGE", raising=False)
    monkeypatch.setenv("PENSTOCK_RESULTS_FALLBACK", str(tmp_path / uuid.uuid4().hex))
    for _ in range(2):
        assert store_for(None, None).url.startswith(f"file://{tmp_path}/")
    assert caplog.text.count("gone with this pod. Set spec.results.url of the WorkPool") == 1


def test_threads_that_ask_together_get_one_store_and_one_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PENSTOCK_RESULTS_STORAGE", raising=False)
    monkeypatch.setenv("PENSTOCK_RESULTS_FALLBACK", str(tmp_path / uuid.uuid4().hex))
    stores: list[ResultStore] = []
    said: list[str] = []
    others: list[Thread] = []

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())
            if not others:  # another thread asks while the first has said it, and made nothing yet
                others.append(Thread(target=lambda: stores.append(store_for(None, None))))
                others[0].start()
                others[0].join(0.2)

    handler, logger = Slow(), logging.getLogger("penstock")
    logger.addHandler(handler)
    try:
        stores.append(store_for(None, None))
        others[0].join(60)
    finally:
        logger.removeHandler(handler)
    assert len(said) == 1
    assert stores[0] is stores[1]


def test_a_run_with_a_wrong_flag_fails(monkeypatch: pytest.MonkeyPatch, recorder: Any) -> None:
    from penstock import flow

    monkeypatch.setenv("PENSTOCK_RESULTS_PERSIST_BY_DEFAULT", "maybe")
    state = recorder.run(flow(name="f")(lambda: None))
    assert state.is_failed()
    assert "PENSTOCK_RESULTS_PERSIST_BY_DEFAULT: must be true or false" in state.message
