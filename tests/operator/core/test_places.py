"""Where a run waits: its queue, its place, its limits, and what is told of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from builders import flow_run, good, resolved, run_pod
from penstock.api import labels, reasons
from penstock.api.attempts import Admitted
from penstock_operator.core import places
from penstock_operator.core.admission import Limit
from penstock_operator.core.places import Deployment, Queue
from penstock_operator.core.views import PodView, RunView

Json = dict[str, Any]


def queue(name: str, priority: int = 1000, selector: Json | None = None, **spec: Any) -> Queue:
    body: Json = {
        "metadata": {"name": name},
        "spec": {"workPoolRef": {"name": "default"}, "priority": priority, **spec},
    }
    if selector is not None:
        body["spec"]["selector"] = selector
    found = places.rule("WorkQueue", body)
    assert isinstance(found, Queue)
    return found


def deployment(**spec: Any) -> Deployment:
    found = places.rule("FlowDeployment", {"spec": {"flowRef": {"name": "etl"}, **spec}})
    assert isinstance(found, Deployment)
    return found


def asking(labels: dict[str, str] | None = None, **spec: Any) -> places.Asks:
    body = flow_run(spec=spec)
    body["metadata"]["labels"] = labels or {}
    return places.asks(RunView(body), "default", 7.0)


ETL = deployment(labels={"team": "data"}, tags=["nightly"])
QUEUES: dict[str, tuple[places.Asks, Deployment | None, list[Queue], str | None]] = {
    "none takes it": (asking(), None, [queue("a"), queue("b", selector={"matchTags": ["x"]})], None),
    "that which it names": (asking(queue="a"), None, [queue("a"), queue("b", 1, {})], "a"),
    "that which its deployment names": (asking(), deployment(queue="a"), [queue("a")], "a"),
    "its own word goes first": (asking(queue="b"), deployment(queue="a"), [queue("a"), queue("b")], "b"),
    "one by label of the run": (asking({"team": "ml"}), None, [queue("a", 1, {"matchLabels": {"team": "ml"}})], "a"),
    "one by label of the deployment": (asking(), ETL, [queue("a", 1, {"matchLabels": {"team": "data"}})], "a"),
    "the run's label stands over it": (
        asking({"team": "ml"}),
        ETL,
        [queue("a", 1, {"matchLabels": {"team": "data"}}), queue("b", 2, {"matchLabels": {"team": "ml"}})],
        "b",
    ),
    "one by tags of both": (asking(tags=["now"]), ETL, [queue("a", 1, {"matchTags": ["now", "nightly"]})], "a"),
    "all parts must match": (
        asking(tags=["now"]),
        ETL,
        [queue("a", 1, {"matchTags": ["now"], "matchLabels": {"team": "ml"}})],
        None,
    ),
    "an empty selector takes all": (asking(), None, [queue("a", 1, {})], "a"),
    "the first of several": (asking(), None, [queue("a", 1, {}), queue("b", 2, {})], "a"),
}


@pytest.mark.parametrize("name", QUEUES)
def test_the_queue_of_a_run(name: str) -> None:
    run, deployed, queues, wanted = QUEUES[name]
    found = places.place(run, deployed, queues)
    assert found.queue == wanted
    assert found.waiting.order.queue_priority == next((q.priority for q in queues if q.name == wanted), 1000)


def test_the_limits_of_a_run_are_named_narrow_ones_first() -> None:
    found = places.place(
        asking(queue="a", tags=["gpu"]), deployment(tags=["db"], concurrency={"limit": 1}), [queue("a")], warm=True
    )
    assert found.waiting.limits == (
        Limit("FlowDeployment", "team", "etl"),
        Limit("WorkQueue", "team", "a"),
        Limit("tag", "team", "db"),
        Limit("tag", "team", "gpu"),
        Limit("WorkPool", "team", "default"),
        Limit("workers", "team", "default"),
    )
    assert found.admitted == {"queue": "a", "tags": ["db", "gpu"]}
    Admitted.model_validate(found.admitted)


def test_a_deployment_without_a_bound_makes_no_line() -> None:
    assert places.place(asking(), deployment(), []).waiting.limits == (Limit("WorkPool", "team", "default"),)
    assert places.place(asking(), deployment(), []).admitted == {}
    closed = places.place(asking(), deployment(suspend=True), [])
    assert closed.waiting.limits[0] == Limit("FlowDeployment", "team", "etl")


def test_a_queue_that_is_not_there_is_a_limit_that_is_closed() -> None:
    found = places.place(asking(queue="b"), None, [queue("a", 1, {})])
    assert found.waiting.limits[0] == Limit(places.NO_QUEUE, "team", "default/b")
    assert found.queue is None
    said = places.words(found.waiting.limits[0], 0, suspended=False, kept=False)
    assert said.reason == reasons.QUEUE_NOT_FOUND
    assert "WorkPool default has no WorkQueue b" in said.message


def test_the_place_of_a_run() -> None:
    found = places.place(
        asking(scheduledTime="2026-01-01T04:00:00Z", priority=3), deployment(priority=7), [queue("a", 5, {})]
    ).waiting.order
    assert (found.queue_priority, found.priority, found.uid) == (5, 3, "run-uid")
    assert found.due < found.created, "the time it was made is that of a run without a time of its own"
    assert places.place(asking(), deployment(priority=7), []).waiting.order[:2] == (1000, 7)
    assert places.place(asking(), None, []).waiting.order[:2] == (1000, 1000)


def test_what_is_held_is_what_the_status_says() -> None:
    run = RunView(flow_run("Running", admitted={"queue": "a", "tags": ["gpu"]}, resolved=resolved("Process")))
    assert [limit.kind for limit in places.held(run)] == ["FlowDeployment", "WorkQueue", "tag", "WorkPool", "workers"]
    assert [limit.kind for limit in places.held(RunView(flow_run("Running")))] == ["FlowDeployment", "WorkPool"]


@pytest.mark.parametrize("kind", ["WorkPool", "WorkQueue", "FlowDeployment", "ConcurrencyLimit"])
def test_every_valid_object_can_be_read(kind: str) -> None:
    assert places.rule(kind, good(kind)) == places.rule(kind, good(kind))


@pytest.mark.parametrize(
    ("limit", "size", "suspended", "kept", "reason", "message"),
    [
        (Limit("WorkPool", "team", "etl"), 10, False, False, "WorkPoolFull", "WorkPool etl is full: 10 of 10 "),
        (Limit("WorkPool", "team", "etl"), 0, False, False, "WorkPoolFull", "spec.concurrencyLimit is 0; raise or"),
        (Limit("WorkPool", "team", "etl"), 0, True, False, "WorkPoolSuspended", "WorkPool etl is suspended; the run"),
        (Limit("WorkQueue", "team", "a"), 1, False, True, "SlotKept", "of WorkQueue a are kept for runs that were"),
        (Limit("tag", "team", "gpu"), 1, False, False, "TagLimitFull", "the limit of tag gpu is full: 1 of 1"),
        (Limit("FlowDeployment", "team", "d"), 0, True, False, "FlowDeploymentSuspended", "spec.suspend is unset"),
        (Limit("workers", "team", "etl"), 4, False, False, "WorkersFull", "all workers of WorkPool etl are busy"),
        (Limit("workers", "team", "etl"), 0, False, False, "WorkersNotReady", "no worker of WorkPool etl is ready"),
    ],
)
def test_what_is_told_of_a_limit(
    limit: Limit,
    size: int,
    suspended: bool,
    kept: bool,
    reason: str,
    message: str,
) -> None:
    said = places.words(limit, size, suspended=suspended, kept=kept)
    assert said.reason == reason
    assert message in said.message
    assert said.full is not suspended


def test_a_run_was_first_looked_at_when_its_history_begins_whoever_asks() -> None:
    """So that the order of those made within a second outlives the process that found it."""
    now = datetime(2026, 1, 1, 8, tzinfo=UTC)
    entry = {"type": "Scheduled", "time": "2026-01-01T06:00:00.250000Z", "seq": 1}
    seen = flow_run("Scheduled", history=[entry, {**entry, "time": "2026-01-01T07:00:00Z", "seq": 2}])
    assert places.first_seen(RunView(seen), now) == datetime(2026, 1, 1, 6, 0, 0, 250_000, UTC).timestamp()
    assert places.first_seen(RunView(flow_run()), now) == now.timestamp()


POOL = Limit("WorkPool", "team", "default")
ETL_LIMIT = Limit("FlowDeployment", "team", "etl")
ADMITTED = {"queue": "fast", "tags": ["gpu"]}


@pytest.mark.parametrize(
    ("found", "said", "limits"),
    [
        pytest.param({labels.POOL: "default"}, None, [POOL], id="its pool"),
        pytest.param({labels.POOL: "default", labels.DEPLOYMENT: "etl"}, None, [ETL_LIMIT, POOL], id="its deployment"),
        pytest.param(
            {labels.POOL: "default"},
            json.dumps(ADMITTED),
            [Limit("WorkQueue", "team", "fast"), Limit("tag", "team", "gpu"), POOL],
            id="its queue and its tags",
        ),
        pytest.param({labels.POOL: "default"}, "null", [], id="none, for its parent waits for it"),
        pytest.param({labels.POOL: "default"}, "{no json", [POOL], id="nonsense"),
        pytest.param({labels.POOL: "default"}, '{"queue": [1], "tags": "gpu"}', [POOL], id="other nonsense"),
        pytest.param({labels.POOL: "default"}, "[1]", [POOL], id="no object"),
        pytest.param({}, None, [], id="no pod of ours"),
    ],
)
def test_what_a_pod_says_of_the_slots_of_its_run(found: Json, said: str | None, limits: list[Limit]) -> None:
    body = run_pod()
    body["metadata"]["labels"], body["metadata"]["annotations"] = found, {labels.ADMITTED: said} if said else {}
    held, deployment = places.held_for(PodView(body))
    assert (list(held), deployment) == (limits, found.get(labels.DEPLOYMENT))
