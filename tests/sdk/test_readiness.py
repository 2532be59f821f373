"""What the operator's word on a deployment means. That it is asked for is tested where deployments are applied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock import readiness
from penstock.api import reasons
from penstock.applying import Applied
from penstock.readiness import Readiness, await_readiness, said_of

Body = dict[str, Any]


def deployment(status: str | None = None, reason: str = "Ready", *, of: int = 2) -> Body:
    """A FlowDeployment of generation 2, with a word on generation `of`."""
    condition = {"type": "Ready", "status": status, "reason": reason, "message": "why", "observedGeneration": of}
    conditions = [{"type": "Scheduling", "status": "False"}, *([condition] if status else [])]
    meta = {"name": "etl", "generation": 2}
    return {"kind": "FlowDeployment", "metadata": meta, "spec": {"n": of}, "status": {"conditions": conditions}}


class Words:
    """A client whose answers follow each other; the last one stays."""

    def __init__(self, *bodies: Body) -> None:
        self._bodies: Iterator[Body] = iter(bodies)
        self._last: Body = {}

    def get(self, plural: str, name: str) -> Body:
        assert (plural, name) == ("flowdeployments", "etl")
        self._last = next(self._bodies, self._last)
        return self._last


def word(*bodies: Body, before: Body | None = None) -> Readiness:
    (found,) = await_readiness(Words(*bodies), [Applied(before, deployment()), Applied(None, {"kind": "Flow"})])  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("body", "wanted", "said"),
    [
        (deployment(), None, "The operator has not looked at etl yet: is it running?"),
        (deployment("True", of=1), None, "The operator has not looked at etl yet: is it running?"),
        (deployment("True"), True, "etl is ready"),
        (deployment("False", "InvalidSchedule"), False, "etl is not ready: InvalidSchedule: why"),
    ],
    ids=["none", "of what was before", "ready", "not ready"],
)
def test_the_word_is_that_on_this_generation(body: Body, wanted: bool | None, said: str) -> None:
    found = said_of(body)
    assert (found.ready, str(found)) == (wanted, said)


@pytest.mark.parametrize(
    ("reason", "wrong"),
    [
        (reasons.POOL_NOT_FOUND, False),
        (reasons.FLOW_NOT_FOUND, False),
        (reasons.QUEUE_NOT_FOUND, False),
        (reasons.INVALID_PARAMETERS, True),
        (reasons.INVALID_SCHEDULE, True),
        (reasons.INVALID_OVERRIDES, True),
        (reasons.LIMIT_ZERO, True),
    ],
)
def test_what_is_to_be_applied_beside_it_is_no_fault_of_the_deployment(reason: str, wrong: bool) -> None:
    assert said_of(deployment("False", reason)).wrong is wrong


def test_a_word_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)
    assert word(deployment(), deployment("True", of=1), deployment("False", "InvalidSchedule")).wrong


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.0)
    assert word(deployment("True", of=1)).ready is None


def test_a_bad_word_on_what_was_not_changed_may_be_of_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its flow may have been: the operator looks again then, and the generation is the same."""
    monkeypatch.setattr(readiness, "POLL_SECONDS", 0.0)
    old = deployment("False", "InvalidParameters")
    assert word(old, deployment("True"), before=deployment()).ready
    assert word(old, deployment("True")).ready is False
    monkeypatch.setattr(readiness, "READY_SECONDS", 0.0)
    assert word(old, before=deployment()).wrong
