from __future__ import annotations

import pytest

from penstock.api.workers import (
    MAX_DELETED,
    DeletedRun,
    WorkerFacts,
    WorkerPod,
    deleted_runs,
    deleted_runs_annotation,
    facts,
)


def test_facts_are_read_as_they_were_written() -> None:
    said = WorkerFacts(
        uid="u-1", slots=4, preloaded=["pandas"], version="0.1.0", pod=WorkerPod(name="p-worker-abcde", uid="u-1")
    )
    assert facts(said.annotation()) == said


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"uid": "u", "slots": 0}', '{"uid": "", "slots": 1}', "{"])
def test_an_annotation_that_makes_no_sense_is_no_worker(text: str | None) -> None:
    assert facts(text) is None


def test_fields_of_newer_versions_are_ignored() -> None:
    assert facts('{"uid": "u", "slots": 1, "mood": "good"}') == WorkerFacts(uid="u", slots=1)


def test_deleted_runs_are_read_as_they_were_written() -> None:
    said = [
        DeletedRun(name="a", uid="u-a", deployment="etl", admitted={"queue": "fast", "tags": ["gpu"]}),
        DeletedRun(name="b", uid="u-b", ended=True),
    ]
    assert deleted_runs(deleted_runs_annotation(said)) == said


@pytest.mark.parametrize("text", [None, "", "{}", "[1]", '[{"name": "a"}]', "["])
def test_an_annotation_that_makes_no_sense_names_no_deleted_runs(text: str | None) -> None:
    assert deleted_runs(text) == []


def test_a_lease_names_so_many_deleted_runs_at_most() -> None:
    many = [DeletedRun(name=f"run-{number}", uid=f"u-{number}") for number in range(MAX_DELETED + 1)]
    assert deleted_runs(deleted_runs_annotation(many)) == many[:MAX_DELETED]
