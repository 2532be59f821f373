"""Runs as those who claim slots: what is read of them, what is written, what is shown of a limit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

import builders
from penstock_operator.core import claimants
from penstock_operator.core.claims import Granted

Json = dict[str, Any]
CLAIM = {"id": 3, "names": ["db", "db"], "occupy": 2, "want": 4, "returned": 1, "since": "2026-01-01T06:00:00Z"}


def run(type_: str = "Running", attempt: int = 1, **status: Any) -> Json:
    claims = {"attempt": attempt, "number": 7, "claims": [CLAIM]}
    pod = {"name": "etl-1-1", "uid": "pod-uid"}
    return builders.flow_run(type_, **{"pod": pod, "claims": claims, **status})


def grants(attempt: int = 1, **more: Any) -> Json:
    return {"attempt": attempt, "number": 5, "grants": [{"id": 3, "granted": 3, **more}]}


def test_a_run_is_read_with_what_was_granted_to_it() -> None:
    found = claimants.claimant(run(grants=grants(keep=1)))
    assert found is not None
    (claim,) = found.claims
    assert (claim.names, claim.occupy, claim.held, claim.waiting) == (("db",), 2, 2, 2)
    assert (found.number, found.said) == (5, {3: Granted(3, 1)})


@pytest.mark.parametrize("status", [{}, {"grants": grants(attempt=0)}], ids=["none yet", "of an earlier attempt"])
def test_grants_of_this_attempt_alone_count(status: Json) -> None:
    found = claimants.claimant(run(**status))
    assert found is not None
    assert (found.claims[0].held, found.number, found.said) == (0, 0, {})


NOBODY: dict[str, Json] = {
    "claims nothing": run(claims=None),
    "claims nothing any more": run(claims={"attempt": 1, "number": 8, "claims": []}),
    "claimed in an earlier attempt": run(attempt=0),
    "was launched again": run("Pending", pod=None),
    "has ended": run("Completed"),
    "waits for its retry": run("Scheduled"),
    "is suspended": run("Paused", state={**builders.run_state("Paused"), "name": "Suspended"}),
}


@pytest.mark.parametrize("body", NOBODY.values(), ids=NOBODY)
def test_who_holds_nothing(body: Json) -> None:
    assert claimants.claimant(body) is None


@pytest.mark.parametrize("state", ["Running", "Cancelling", "Paused"])
def test_a_process_that_may_run_holds_what_it_holds(state: str) -> None:
    assert claimants.claimant(run(state)) is not None


def test_news_is_what_is_claimed_not_what_is_granted() -> None:
    before = claimants.claimant(run())
    assert before == claimants.claimant(run(grants=grants()))
    assert before != claimants.claimant(run(claims={"attempt": 1, "number": 8, "claims": [CLAIM]}))


def test_grants_are_written_whole_for_the_pod_that_claims() -> None:
    found = claimants.claimant(run())
    assert found is not None
    tests, (written,) = (
        (ops := claimants.patch(found, {3: Granted(2, 0), 4: Granted(0, None, "why")}, 6))[:-1],
        ops[-1:],
    )
    assert [(op["op"], op["path"], op["value"]) for op in tests] == [
        ("test", "/metadata/uid", "run-uid"),
        ("test", "/status/attempt", 1),
        ("test", "/status/pod/uid", "pod-uid"),
    ]
    assert written["value"] == {
        "attempt": 1,
        "number": 6,
        "grants": [{"id": 3, "granted": 2, "keep": 0}, {"id": 4, "granted": 0, "refused": "why"}],
    }


def test_holders_are_shown_first() -> None:
    one, two = claimants.claimant(run()), claimants.claimant(run(grants=grants()))
    assert one is not None
    assert two is not None
    limit = {"metadata": {"name": "db", "generation": 2}, "spec": {"limit": 9}}
    shown = claimants.shown(limit, [one, two])
    assert (shown["observedGeneration"], shown["active"], shown["queued"]) == (2, 4, 8 + 4)
    assert [(row["active"], row["queued"]) for row in shown["claims"]] == [(4, 4), (0, 8)]
    rate = claimants.shown({**limit, "spec": {"limit": 9, "slotDecayPerSecond": 1}}, [two])
    assert rate["active"] == 0, "tokens are not held"


SAID = [("2026-01-01T06:00:00Z", datetime(2026, 1, 1, 6, tzinfo=UTC)), ("soon", None), (None, None)]


@pytest.mark.parametrize(("said", "expected"), SAID)
def test_anybody_may_write_an_annotation(said: str | None, expected: datetime | None) -> None:
    annotations = {} if said is None else {"penstock.dev/reset-at": said}
    assert claimants.reset({"metadata": {"annotations": annotations}}) == expected
