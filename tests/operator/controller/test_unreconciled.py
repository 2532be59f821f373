"""What breaks the operator is told on the object that does, by a condition or else by an Event, whatever its shape."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_cluster import MemoryCluster, Write
from penstock_operator.cluster import (
    FLOW_RUNS,
    FLOWS,
    PODS,
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    NotLeading,
    Unavailable,
)
from penstock_operator.controller.unreconciled import Unreconciled, condition_patch, failed, message, passes
from penstock_operator.reconcile.sources import Key

Json = dict[str, Any]
SIX = datetime(2026, 1, 1, 6, tzinfo=UTC)
KEY = Key("team", "run")
RUN: Json = {"kind": "FlowRun", "metadata": {"name": "run"}, "spec": {"flowRef": {"name": "etl"}}}
STATE: Json = {"type": "Running", "name": "Running", "time": "2026-01-01T06:00:00.000000Z", "seq": 3}


def told(
    scenario: Callable[[Unreconciled], Awaitable[None]],
    status: Json | None = None,
    before: Callable[[Write], None] = lambda _: None,
) -> tuple[Json, list[Json]]:
    """Status of the run after the scenario, and the Events."""
    cluster = MemoryCluster(lambda: SIX)

    async def whole() -> None:
        await cluster.create(FLOW_RUNS, "team", RUN)
        if status is not None:
            cluster.set_status(FLOW_RUNS, "team", "run", **status)
        cluster.before = before
        await scenario(Unreconciled(cluster, "operator-1", lambda: SIX))

    asyncio.run(whole())
    return cluster.kinds("FlowRun")[0].get("status") or {}, cluster.kinds("Event")


async def fails(unreconciled: Unreconciled) -> None:
    await unreconciled.tell("FlowRun", KEY, KeyError("poolType"))


def test_a_run_gets_a_condition_with_the_cause() -> None:
    status, events = told(fails, {"attempt": 1, "state": STATE})
    assert status["conditions"] == [
        {
            "type": "Reconciled",
            "status": "False",
            "reason": "ReconcileFailed",
            "message": message(KeyError("poolType")),
            "observedGeneration": 1,
            "lastTransitionTime": "2026-01-01T06:00:00.000000Z",
        }
    ]
    assert "KeyError: 'poolType'" in status["conditions"][0]["message"]
    assert (status["attempt"], status["state"], events) == (1, STATE, [])
    assert failed({"status": status})


def test_a_run_without_a_status_gets_one() -> None:
    status, _ = told(fails)
    assert status["attempt"] == 0
    assert failed({"status": status})


def test_the_same_failure_is_written_once() -> None:
    writes: list[Write] = []

    async def twice(unreconciled: Unreconciled) -> None:
        await fails(unreconciled)
        await fails(unreconciled)

    told(twice, before=writes.append)
    assert len(writes) == 1


def test_where_no_condition_can_be_written_one_event_tells_it() -> None:
    def refuse(write: Write) -> None:
        if write.verb == "patch":
            raise Invalid(422, "Invalid", "the whole object is nonsense")

    async def twice(unreconciled: Unreconciled) -> None:
        await fails(unreconciled)
        await fails(unreconciled)

    _, (event,) = told(twice, before=refuse)
    assert (event["type"], event["reason"], event["note"]) == (
        "Warning",
        "ReconcileFailed",
        message(KeyError("poolType")),
    )
    assert event["regarding"]["name"] == "run"
    assert len(event["note"].encode()) <= 1024


def test_a_pod_is_told_of_by_an_event() -> None:
    cluster = MemoryCluster(lambda: SIX)

    async def scenario() -> None:
        await cluster.create(PODS, "team", {"metadata": {"name": "run-1"}, "spec": {}})
        await Unreconciled(cluster, "operator-1", lambda: SIX).tell("Pod", Key("team", "run-1"), ValueError("x"))

    asyncio.run(scenario())
    (event,) = cluster.kinds("Event")
    assert (event["regarding"]["kind"], event["regarding"]["apiVersion"]) == ("Pod", "v1")


def test_a_kind_that_changes_seldom_is_not_ready() -> None:
    cluster = MemoryCluster(lambda: SIX)

    async def scenario() -> None:
        await cluster.create(FLOWS, "team", {"metadata": {"name": "etl"}, "spec": {}})
        await Unreconciled(cluster, "operator-1", lambda: SIX).tell("Flow", Key("team", "etl"), ValueError("x"))

    asyncio.run(scenario())
    (condition,) = cluster.kinds("Flow")[0]["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Ready", "False", "ReconcileFailed")


def test_a_run_that_goes_on_says_so_once() -> None:
    async def goes_on(unreconciled: Unreconciled) -> None:
        await unreconciled.clear(KEY)
        await fails(unreconciled)
        await unreconciled.clear(KEY)
        await unreconciled.clear(KEY)

    status, _ = told(goes_on, {"attempt": 1, "state": STATE})
    (condition,) = status["conditions"]
    assert (condition["status"], condition["reason"], condition["message"]) == ("True", "Reconciled", "")
    assert not failed({"status": status})


@pytest.mark.parametrize("error", [Unavailable(503, "", "away"), Forbidden(403, "", "no"), TypeError("a defect")])
def test_what_cannot_be_said_ends_nothing(error: Exception) -> None:
    def refuse(_: Write) -> None:
        raise error

    async def scenario(unreconciled: Unreconciled) -> None:
        await fails(unreconciled)
        await unreconciled.tell("FlowRun", Key("team", "deleted"), KeyError("x"))
        await unreconciled.tell("Strange", KEY, KeyError("x"))

    status, events = told(scenario, before=refuse)
    assert (status, events) == ({}, [])


def test_a_server_that_is_away_is_no_fault_to_be_traced(caplog: pytest.LogCaptureFixture) -> None:
    """It is away when most goes wrong, and the next failure says the same."""

    class Away:
        async def get(self, *_: object) -> Json:
            raise Unavailable(0, "ClientConnectorError", "Cannot connect")

    caplog.set_level("INFO")
    unreconciled = Unreconciled(Away(), "operator-1", lambda: SIX)  # type: ignore[arg-type]
    asyncio.run(unreconciled.tell("FlowRun", KEY, KeyError("poolType")))
    asyncio.run(unreconciled.clear(KEY))
    assert [(record.levelname, record.exc_info) for record in caplog.records] == [("INFO", None)] * 2


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (Unavailable(503, "", ""), True),
        (NotLeading("PATCH"), True),
        (Conflict(409, "", ""), True),
        (NotFound(404, "", ""), True),
        (AlreadyExists(409, "", ""), False),
        (Invalid(422, "", ""), False),
        (Forbidden(403, "", ""), False),
        (KeyError("x"), False),
    ],
)
def test_which_errors_say_nothing_of_the_object(error: Exception, passing: bool) -> None:
    assert passes(error) is passing


def test_a_long_cause_is_cut() -> None:
    text = message(ValueError("𐍈" * 10_000))
    assert 500 < len(text.encode()) <= 1024 + 100
    assert "…" in text


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "status", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["conditions", "attempt", "state"]), json) | json)
def test_whatever_stands_in_a_status_a_condition_can_be_set(status: Any) -> None:
    body = {"kind": "FlowRun", "metadata": {"name": "run", "resourceVersion": "7"}, "status": status}
    condition = {"type": "Reconciled", "status": "False", "reason": "ReconcileFailed", "message": "m"}
    after = jsonpatch.apply_patch(body, condition_patch(body, condition, SIX))
    assert failed(after)
    assert condition_patch(after, condition, SIX) == []
