"""Which deadline holds, and when an attempt is followed by another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.api import reasons
from penstock_operator.core.diagnosis import Diagnosis
from penstock_operator.core.policy import (
    DEFAULT_FORCE_AFTER,
    DEFAULT_PENDING_DEADLINE,
    MAX_BACKOFF,
    InfraRetries,
    Policy,
    policy,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OOM = Diagnosis(reasons.OOM_KILLED, "", 137)
EVICTED = Diagnosis(reasons.EVICTED, "")
PREEMPTED = Diagnosis(reasons.PREEMPTED, "")
LOST = Diagnosis(reasons.NODE_LOST, "")


def test_nothing_said_leaves_the_defaults() -> None:
    assert policy({}, None, None) == Policy(DEFAULT_PENDING_DEADLINE, None, None, InfraRetries())


@pytest.mark.parametrize(
    ("run", "deployment", "pool", "pending"),
    [
        pytest.param(1, 2, 3, 1, id="the run's own word comes first"),
        pytest.param(None, 2, 3, 2, id="then the deployment's"),
        pytest.param(None, None, 3, 3, id="then the pool's"),
        pytest.param(None, None, None, DEFAULT_PENDING_DEADLINE, id="then the default"),
    ],
)
def test_the_nearest_word_holds(run: int | None, deployment: int | None, pool: int | None, pending: int) -> None:
    layers = [{"pendingDeadlineSeconds": value} for value in (run, deployment, pool)]
    assert policy(*layers).pending_deadline == pending


def test_each_field_comes_from_the_nearest_that_says_it() -> None:
    found = policy(
        {"activeDeadlineSeconds": 5},
        {"activeDeadlineSeconds": 6, "startingDeadlineSeconds": 7, "infraRetries": {"limit": 1}},
        {"pendingDeadlineSeconds": 8},
    )
    assert found == Policy(8, 5, 7, InfraRetries(limit=1))


def test_retries_are_taken_whole_from_the_nearest_that_says_them() -> None:
    found = policy({"infraRetries": {"limit": 0}}, {"infraRetries": {"limit": 3, "backoffSeconds": 9}}, None)
    assert found.infra_retries == InfraRetries()


@pytest.mark.parametrize(
    ("said", "after"),
    [
        pytest.param(None, None, id="nothing"),
        pytest.param({}, None, id="the default"),
        pytest.param({"policy": "Wait", "afterSeconds": 5}, None, id="wait"),
        pytest.param({"policy": "ForceDelete"}, DEFAULT_FORCE_AFTER, id="force"),
        pytest.param({"policy": "ForceDelete", "afterSeconds": 5}, 5, id="force soon"),
    ],
)
def test_only_a_pool_that_says_so_gives_pods_on_silent_nodes_up(said: Any, after: int | None) -> None:
    assert policy({}, {}, {} if said is None else {"onNodeLost": said}).force_after == after


def test_every_word_of_infra_retries_counts() -> None:
    said = {
        "limit": 2,
        "backoffSeconds": 30,
        "reasons": ["OOMKilled"],
        "exitCodes": [137],
        "onPreemption": "Ignore",
    }
    assert policy({"infraRetries": said}, None, None).infra_retries == InfraRetries(
        2, 30, ("OOMKilled",), (137,), "Ignore"
    )


def test_an_empty_list_allows_none_and_no_list_allows_all() -> None:
    assert policy({"infraRetries": {"limit": 1, "reasons": []}}, None, None).infra_retries.allows(OOM, 0) is False
    assert policy({"infraRetries": {"limit": 1}}, None, None).infra_retries.allows(OOM, 0) is True


@pytest.mark.parametrize(
    ("retries", "why", "used", "allowed"),
    [
        pytest.param(InfraRetries(), OOM, 0, False, id="none by default"),
        pytest.param(InfraRetries(2), OOM, 1, True, id="within the limit"),
        pytest.param(InfraRetries(2), OOM, 2, False, id="the limit is spent"),
        pytest.param(InfraRetries(1, reasons=("NodeLost",)), LOST, 0, True, id="a reason that is named"),
        pytest.param(InfraRetries(1, reasons=("NodeLost",)), OOM, 0, False, id="a reason that is not"),
        pytest.param(InfraRetries(1, exit_codes=(137,)), OOM, 0, True, id="an exit code that is named"),
        pytest.param(InfraRetries(1, exit_codes=(1,)), OOM, 0, False, id="an exit code that is not"),
        pytest.param(InfraRetries(1, exit_codes=(1,)), LOST, 0, False, id="no exit code at all"),
        pytest.param(InfraRetries(1, reasons=("OOMKilled",), exit_codes=(1,)), OOM, 0, False, id="both must hold"),
        pytest.param(InfraRetries(1), EVICTED, 0, True, id="eviction counts like any other"),
        pytest.param(InfraRetries(1), PREEMPTED, 1, False, id="preemption counts like any other"),
        pytest.param(InfraRetries(1, on_preemption="Fail"), EVICTED, 0, False, id="eviction is final"),
        pytest.param(InfraRetries(1, on_preemption="Fail"), PREEMPTED, 0, False, id="preemption is final"),
        pytest.param(InfraRetries(1, on_preemption="Fail"), OOM, 0, True, id="final for nothing else"),
        pytest.param(InfraRetries(0, on_preemption="Ignore"), EVICTED, 9, True, id="eviction is free"),
        pytest.param(InfraRetries(0, on_preemption="Ignore"), PREEMPTED, 9, True, id="preemption is free"),
        pytest.param(InfraRetries(0, on_preemption="Ignore"), OOM, 0, False, id="free for nothing else"),
        pytest.param(
            InfraRetries(1, reasons=("OOMKilled",), on_preemption="Ignore"), EVICTED, 0, True, id="and whatever"
        ),
        pytest.param(
            InfraRetries(1, exit_codes=(1,), on_preemption="Ignore"), PREEMPTED, 0, True, id="else is asked for"
        ),
    ],
)
def test_when_another_attempt_follows(retries: InfraRetries, why: Diagnosis, used: int, allowed: bool) -> None:
    assert retries.allows(why, used) is allowed


@pytest.mark.parametrize(
    ("used", "seconds"),
    [(0, 30), (1, 30), (2, 60), (3, 120), (7, 1920), (8, MAX_BACKOFF), (1000, MAX_BACKOFF)],
)
def test_the_backoff_doubles_up_to_an_hour(used: int, seconds: int) -> None:
    assert InfraRetries(2000, 30).next_start(NOW, used) == NOW + timedelta(seconds=seconds)


@given(st.integers(0, 31_536_000), st.integers(0, 1000))
def test_a_wait_never_shrinks_and_never_exceeds_an_hour(backoff: int, used: int) -> None:
    retries = InfraRetries(1000, backoff)
    here, after = retries.next_start(NOW, used), retries.next_start(NOW, used + 1)
    assert NOW <= here <= after <= NOW + timedelta(seconds=MAX_BACKOFF)


@given(st.integers(0, 50), st.sampled_from([OOM, EVICTED, PREEMPTED, LOST]), st.sampled_from(["Retry", "Fail"]))
def test_a_run_without_free_retries_has_no_more_than_its_limit(limit: int, why: Diagnosis, word: str) -> None:
    retries, used = InfraRetries(limit, on_preemption=word), 0
    while retries.allows(why, used):
        used += 1
    assert used in (0, limit)


def test_policies_compare_as_values() -> None:
    body: dict[str, Any] = {"infraRetries": {"reasons": ["NodeLost"]}}
    assert policy(body, None, None) == policy({}, body, None)
