"""Denials of the API server: those of one that has just started pass, those of a policy do not."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.runner import connection
from penstock.runner.connection import Answer, Api

RBAC = {"message": 'flowruns "x" is forbidden: User "u" cannot patch resource "flowruns/status"'}
POLICY = {"message": "flowruns \"x\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'p' denied request: no"}
RUNS = "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns"


class Scripted(Api):
    """A connection on which these answers come."""

    def __init__(self, *answers: Answer) -> None:
        super().__init__("nowhere", 443)
        self.answers = list(answers)

    def _request(self, method: str, path: str, body: Any, content_type: str) -> Answer:
        return self.answers.pop(0)


def test_a_denial_by_rbac_may_pass_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    api = Scripted(*(Answer(403, RBAC) for _ in range(3)))
    assert api.request("PATCH", f"{RUNS}/x/status").busy
    now += connection.DENIED_FOR - 1
    assert api.request("PATCH", f"{RUNS}/x/status").busy
    now += 1
    assert not api.request("PATCH", f"{RUNS}/x/status").busy


def test_what_is_allowed_meanwhile_does_not_prolong_the_doubt_about_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 1000.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    api = Scripted(Answer(403, RBAC), Answer(200, {}), Answer(403, RBAC))
    assert api.request("POST", RUNS).busy
    now += connection.DENIED_FOR
    assert not api.request("GET", f"{RUNS}/x?watch=1").busy
    assert not api.request("POST", RUNS).busy


def test_a_right_that_was_given_begins_the_doubt_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(connection.time, "monotonic", lambda: now)
    api = Scripted(Answer(403, RBAC), Answer(201, {}), Answer(403, RBAC))
    api.request("POST", RUNS)
    now += connection.DENIED_FOR
    api.request("POST", RUNS)
    assert api.request("POST", RUNS).busy


def test_the_word_of_a_policy_is_final() -> None:
    assert not Scripted(Answer(403, POLICY)).request("PATCH", f"{RUNS}/x/status").busy
