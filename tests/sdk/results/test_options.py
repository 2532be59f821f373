"""Options of flows: who inherits what, and what a manifest says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock import flow
from penstock.manifests import Options, flow_manifest
from penstock.results import ResultStore
from penstock.results.options import ResultOptions, described, of_flow
from penstock.serializers import CompressedJSONSerializer


def nothing() -> None:
    return None


def made(**options: Any) -> Any:
    return flow(name="f", **options)(nothing)


@pytest.mark.parametrize(
    ("options", "outer", "persist"),
    [
        ({}, None, False),
        ({"persist_result": True}, None, True),
        ({"result_storage": "memory://a"}, None, True),
        ({"result_serializer": "json"}, None, True),
        ({"persist_result": False, "result_storage": "memory://a"}, None, False),
        ({}, ResultOptions(True), True),
        ({"persist_result": False}, ResultOptions(True), False),
    ],
)
def test_whether_results_are_kept(options: dict[str, Any], outer: ResultOptions | None, persist: bool) -> None:
    assert of_flow(made(**options), outer).persist is persist


def test_the_environment_speaks_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_RESULTS_PERSIST_BY_DEFAULT", "1")
    assert of_flow(made(), None).persist
    assert not of_flow(made(), ResultOptions(False)).persist
    assert not of_flow(made(persist_result=False), None).persist


def test_storage_and_serializer_are_inherited_apart() -> None:
    inner = of_flow(made(result_serializer="json"), ResultOptions(True, "memory://a", "pickle"))
    assert (inner.storage, inner.serializer) == ("memory://a", "json")


def test_what_a_manifest_says(tmp_path: Path) -> None:
    store = ResultStore.from_url("memory://a")
    assert described(made()) == {}
    assert described(made(persist_result=False)) == {"persist": False}
    assert described(made(result_storage=store, result_serializer=CompressedJSONSerializer())) == {
        "storage": "memory://a",
        "serializer": "compressed/json",
    }
    assert described(made(result_storage=tmp_path)) == {"storage": str(tmp_path)}
    manifest = flow_manifest(made(persist_result=True, result_storage="memory://a"), "m:f", "pass", Options())
    assert manifest["spec"]["results"] == {"persist": True, "storage": "memory://a"}
    assert "results" not in flow_manifest(made(), "m:f", "pass", Options())["spec"]
