"""The Ready condition: one patch when something differs, none otherwise, and whoever else writes is not undone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from memory_cluster import MemoryCluster, Write
from penstock.api.bounds import MAX_MESSAGE
from penstock_operator.cluster import FLOWS, Conflict, Invalid, Unavailable
from penstock_operator.reconcile import conditions
from penstock_operator.reconcile.conditions import Ready
from penstock_operator.reconcile.sources import Key
from run_stage import Clock

Json = dict[str, Any]

KEY = Key("team", "etl")
READY = Ready(True, fields=(("codeDigest", "sha256:abc"),))
BROKEN = Ready(False, "InvalidCode", "spec.code.git: not yet")


class Trial:
    """A Flow whose Ready condition is written."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.cluster = MemoryCluster(self.clock)
        body = {"kind": "Flow", "metadata": {"name": "etl"}, "spec": {"entrypoint": "flow:etl"}}
        asyncio.run(self.cluster.create(FLOWS, "team", body))
        self.cluster.writes.clear()

    @property
    def body(self) -> Json:
        return self.cluster.kinds("Flow")[0]

    def write(self, ready: Ready, body: Json | None = None) -> int:
        """How many writes it took."""
        known = len(self.cluster.writes)
        asyncio.run(conditions.write(self.cluster, FLOWS, KEY, body or self.body, ready, self.clock))
        return len(self.cluster.writes) - known

    @property
    def status(self) -> Json:
        found: Json = self.body.get("status") or {}
        return found

    @property
    def condition(self) -> Json:
        return next(c for c in self.status["conditions"] if c["type"] == "Ready")


def test_the_condition_and_the_fields_are_one_patch() -> None:
    trial = Trial()
    assert trial.write(READY) == 1
    assert trial.cluster.writes == [Write("patch", "Flow", "etl", "status")]
    assert trial.status == {
        "codeDigest": "sha256:abc",
        "observedGeneration": 1,
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Ready",
                "message": "",
                "observedGeneration": 1,
                "lastTransitionTime": "2026-01-01T06:00:00.000000Z",
            }
        ],
    }


@pytest.mark.parametrize("ready", [READY, BROKEN], ids=["ready", "not ready"])
def test_nothing_is_written_when_nothing_differs(ready: Ready) -> None:
    trial = Trial()
    trial.write(ready)
    trial.clock.advance(60)
    assert trial.write(ready) == 0


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Ready(True, fields=(("codeDigest", "sha256:def"),)), id="a field"),
        pytest.param(Ready(True, "Ready", "with a remark", READY.fields), id="the message"),
        pytest.param(Ready(True, "StillReady", "", READY.fields), id="the reason"),
    ],
)
def test_what_differs_is_written_and_the_transition_time_stays(other: Ready) -> None:
    trial = Trial()
    trial.write(READY)
    trial.clock.advance(60)
    assert trial.write(other) == 1
    assert (trial.condition["reason"], trial.condition["message"]) == (other.reason, other.message)
    assert trial.condition["lastTransitionTime"] == "2026-01-01T06:00:00.000000Z"


def test_the_transition_time_is_that_of_the_status() -> None:
    trial = Trial()
    trial.write(READY)
    trial.clock.advance(60)
    trial.write(BROKEN)
    assert (trial.condition["status"], trial.condition["reason"]) == ("False", "InvalidCode")
    assert trial.condition["lastTransitionTime"] == "2026-01-01T06:01:00.000000Z"


def test_a_new_generation_is_observed_though_the_verdict_is_the_same() -> None:
    trial = Trial()
    trial.write(READY)
    edit = [{"op": "add", "path": "/spec/description", "value": "Edited."}]
    asyncio.run(trial.cluster.patch(FLOWS, "team", "etl", edit))
    assert trial.write(READY) == 1
    assert (trial.status["observedGeneration"], trial.condition["observedGeneration"]) == (2, 2)


def test_a_field_that_is_none_is_taken_away() -> None:
    trial = Trial()
    trial.write(READY)
    without = Ready(True, fields=(("codeDigest", None),))
    assert trial.write(without) == 1
    assert "codeDigest" not in trial.status
    assert trial.write(without) == 0


def test_what_others_keep_in_the_status_stays() -> None:
    trial = Trial()
    foreign = {"type": "Audited", "status": "True", "reason": "Yes", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    trial.cluster.set_status(FLOWS, "team", "etl", conditions=[foreign], active=3)
    trial.write(READY)
    assert trial.status["active"] == 3
    assert [c["type"] for c in trial.status["conditions"]] == ["Audited", "Ready"]
    trial.write(BROKEN)
    assert [c["type"] for c in trial.status["conditions"]] == ["Audited", "Ready"]


def test_a_long_message_is_cut() -> None:
    trial = Trial()
    ready = Ready(False, "InvalidParameters", "n: too long; " * 200)
    trial.write(ready)
    assert len(trial.condition["message"]) == MAX_MESSAGE
    assert trial.write(ready) == 0


def test_who_wrote_meanwhile_is_not_overwritten() -> None:
    """The verdict was found of an older body; the change that overtook it names the object again."""
    trial = Trial()
    old = trial.body
    trial.cluster.set_status(FLOWS, "team", "etl", active=3)
    trial.write(READY, old)
    assert trial.status == {"active": 3}


def test_an_object_that_was_deleted_meanwhile_needs_no_condition() -> None:
    trial = Trial()
    old = trial.body
    trial.cluster.remove(FLOWS, "team", "etl")
    trial.write(READY, old)
    assert trial.cluster.kinds("Flow") == []


@pytest.mark.parametrize(
    ("error", "raised"), [(Conflict(409, "Conflict", ""), False), (Unavailable(503, "", ""), True)]
)
def test_a_conflict_is_forgiven_and_a_server_that_is_away_is_not(error: Exception, raised: bool) -> None:
    trial = Trial()
    trial.cluster.before = _raising(error)
    if raised:
        with pytest.raises(Unavailable):
            trial.write(READY)
    else:
        trial.write(READY)
    assert trial.status == {}


def test_a_refused_patch_is_forgiven() -> None:
    trial = Trial()
    trial.cluster.before = _raising(Invalid(422, "Invalid", "the test failed"))
    assert trial.write(READY) == 0


def _raising(error: Exception) -> Callable[[Write], None]:
    def before(_: Write) -> None:
        raise error

    return before
