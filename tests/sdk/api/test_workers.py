from __future__ import annotations

import pytest

from penstock.api.workers import WorkerFacts, WorkerPod, facts


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
