"""The Ready condition of a Flow: can this version deliver its code?"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from builders import changed, good
from penstock.api import names
from penstock_operator.reconcile import flows
from penstock_operator.reconcile.flows import Flows
from penstock_operator.reconcile.revisions import Revisions
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE, SOURCE, Stage

Json = dict[str, Any]


def flow(code: Json) -> Json:
    return changed(good("Flow"), {"spec.code": code})


@pytest.mark.parametrize(
    ("code", "digest"),
    [
        pytest.param({"source": {"text": "x = 1\n"}}, names.content_digest("x = 1\n"), id="source"),
        pytest.param({"source": {"text": ""}}, names.content_digest(""), id="empty source"),
        pytest.param({"image": {}}, None, id="in the image"),
        pytest.param({"git": {"url": "https://git.example/flows"}}, None, id="git"),
        pytest.param(
            {"bundle": {"data": "eA==", "pythonVersion": "3.11.2", "penstockVersion": "0.1.0"}},
            names.content_digest(b"x"),
            id="bundle",
        ),
    ],
)
def test_code_that_is_delivered_makes_a_flow_ready(code: Json, digest: str | None) -> None:
    verdict = flows.ready(flow(code))
    assert (verdict.ok, verdict.reason, verdict.fields) == (True, "Ready", (("codeDigest", digest),))


def test_code_that_cannot_be_delivered_is_named() -> None:
    bundle = {"data": "no base64", "pythonVersion": "3.11.2", "penstockVersion": "0.1.0"}
    verdict = flows.ready(flow({"bundle": bundle}))
    assert (verdict.ok, verdict.reason) == (False, "InvalidCode")
    assert verdict.message.startswith("spec.code.bundle.data: ")


def reconcile(stage: Stage, name: str = "etl") -> Json:
    """Status of the flow after the reconciler looked at it, which waits for nothing."""
    assert (
        asyncio.run(Flows(stage.cluster, stage.clock, Revisions(stage.cluster)).reconcile(Key(NAMESPACE, name))) is None
    )
    body = stage.get("Flow", name) or {}
    found: Json = body.get("status") or {}
    return found


def test_the_verdict_is_written_once() -> None:
    stage = Stage()
    status = reconcile(stage)
    assert status["codeDigest"] == names.content_digest(SOURCE)
    assert status["conditions"][0]["status"] == "True"
    known = len(stage.cluster.writes)
    assert reconcile(stage) == status
    assert len(stage.cluster.writes) == known


def test_the_digest_goes_with_the_source() -> None:
    stage = Stage()
    reconcile(stage)
    stage.edit("Flow", "etl", code={"image": {}})
    status = reconcile(stage)
    assert "codeDigest" not in status
    assert (status["conditions"][0]["status"], status["observedGeneration"]) == ("True", 2)


def test_a_flow_that_is_gone_is_no_work() -> None:
    stage = Stage()
    known = len(stage.cluster.writes)
    assert reconcile(stage, "absent") == {}
    assert len(stage.cluster.writes) == known
