"""Objects that are kept as text: equal to what was put, and none of the readers' business with each other."""

from __future__ import annotations

import pytest

from penstock_operator.controller.bodies import Bodies

REF = ("team", "etl")
BODY = {"metadata": {"name": "etl", "labels": {"städte": "öre"}}, "status": {"n": 2**53, "x": 1.5, "none": None}}


def test_a_body_is_read_as_it_was_put() -> None:
    bodies = Bodies()
    bodies[REF] = BODY
    assert bodies[REF] == BODY
    assert list(bodies) == [REF]
    assert list(bodies.values()) == [BODY]


def test_what_a_reader_does_to_a_body_changes_no_other() -> None:
    bodies = Bodies()
    bodies[REF] = BODY
    bodies[REF]["metadata"].clear()
    assert bodies[REF] == BODY


def test_what_is_taken_out_is_gone() -> None:
    bodies = Bodies()
    bodies[REF] = BODY
    assert bodies.pop(REF) == BODY
    assert REF not in bodies
    assert bodies.get(REF) is None
    assert len(bodies) == 0
    with pytest.raises(KeyError):
        bodies[REF]


def test_the_version_of_a_body_is_known_while_it_is_there() -> None:
    bodies = Bodies()
    bodies[REF] = BODY
    assert bodies.version(REF) == 0, "it was not taken in as a whole"
    bodies.taken_in(REF, 7)
    assert bodies.version(REF) == 7
    assert bodies.take(REF) == BODY
    assert bodies.version(REF) == 0
    assert bodies.take(REF) is None
