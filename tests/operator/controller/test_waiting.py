"""Who waits for what: found from both sides, and nothing is kept of who waits no more."""

from __future__ import annotations

from penstock_operator.controller.waiting import Waiting


def test_who_waits_for_something_is_given_once() -> None:
    waiting: Waiting[str, str] = Waiting()
    waiting.wait("a", "flow")
    waiting.wait("b", "flow")
    waiting.wait("c", "pool")
    assert waiting.take("flow") == {"a", "b"}
    assert waiting.take("flow") == set()
    assert len(waiting) == 1


def test_a_key_waits_for_the_last_that_it_named() -> None:
    waiting: Waiting[str, str] = Waiting()
    waiting.wait("a", "flow")
    waiting.wait("a", "pool")
    assert waiting.take("flow") == set()
    assert waiting.take("pool") == {"a"}


def test_nothing_is_kept_of_a_key_that_is_dropped() -> None:
    waiting: Waiting[str, str] = Waiting()
    waiting.wait("a", "flow")
    waiting.drop("a")
    waiting.drop("never there")
    assert (len(waiting), dict(waiting._keys)) == (0, {})
    waiting.wait("a", "flow")
    waiting.clear()
    assert waiting.take("flow") == set()
