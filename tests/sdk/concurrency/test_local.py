"""Limits of the process: where they come from, who waits, who is woken."""

from __future__ import annotations

import logging
import sys
import threading

import pytest

from penstock.concurrency.claims import Claim
from penstock.concurrency.limits import Limit
from penstock.concurrency.local import LocalSlots
from penstock.errors import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError


def ask(slots: LocalSlots, *names: str, occupy: int = 1, rate: bool = False, strict: bool = False) -> Claim:
    return slots.ask(names, occupy, rate=rate, strict=strict, lease_seconds=300, holder=None)


def test_a_release_wakes_the_next_in_order(slots: LocalSlots) -> None:
    slots.declare(Limit("db", 1))
    first, second, third = ask(slots, "db"), ask(slots, "db"), ask(slots, "db")
    assert [claim.happened() for claim in (first, second, third)] == [True, False, False]
    first.release()
    first.release()
    assert [claim.happened() for claim in (second, third)] == [True, False]
    second.release()
    assert third.happened()
    assert slots.taken("db") == 1


def test_who_gives_up_makes_room_for_those_behind(slots: LocalSlots) -> None:
    slots.declare(Limit("db", 2))
    held, wide, small = ask(slots, "db"), ask(slots, "db", occupy=2), ask(slots, "db")
    assert not small.happened()
    with pytest.raises(AcquireConcurrencySlotTimeoutError, match=r"2 of db: not free after 0\.01 s"):
        wide.take(0.01)
    assert small.happened()
    held.release()
    assert slots.taken("db") == 1


def test_a_raised_limit_wakes_who_waits(slots: LocalSlots, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_CONCURRENCY_LIMITS", "db=1,api=3@1")
    ask(slots, "db")
    waiting = ask(slots, "db")
    slots.declare(Limit("db", 2))
    assert waiting.happened()
    slots.remove("db")
    assert slots.limits() == {"db": Limit("db", 1), "api": Limit("api", 3, 1.0)}


def test_slots_taken_before_there_was_a_limit_are_not_given_back_to_it(slots: LocalSlots) -> None:
    early = ask(slots, "db")
    slots.declare(Limit("db", 1))
    later = ask(slots, "db")
    early.release()
    assert slots.taken("db") == 1
    assert not ask(slots, "db").happened()
    later.release()


def test_a_rate_wakes_by_itself(slots: LocalSlots) -> None:
    slots.declare(Limit("api", 1, 50.0))
    first = ask(slots, "api", rate=True)
    waiting = [ask(slots, "api", rate=True) for _ in range(3)]
    first.release()
    for claim in waiting:
        claim.take(60)


def test_an_unknown_name_is_told_of_once(slots: LocalSlots, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "penstock"):
        for _ in range(3):
            assert ask(slots, "nobody").happened()
    (record,) = caplog.records
    assert "there is no concurrency limit nobody: set PENSTOCK_CONCURRENCY_LIMITS=nobody=3" in record.getMessage()
    with pytest.raises(ConcurrencySlotAcquisitionError, match="no concurrency limits nobody, none"):
        ask(slots, "nobody", "none", strict=True).take()


def test_threads_that_ask_together_are_told_of_it_once(slots: LocalSlots, caplog: pytest.LogCaptureFixture) -> None:
    threads, names, interval = 16, 20, sys.getswitchinterval()
    together = threading.Barrier(threads)

    def ask_all() -> None:
        for number in range(names):
            together.wait(60)
            ask(slots, f"nobody-{number}")

    asking = [threading.Thread(target=ask_all) for _ in range(threads)]
    sys.setswitchinterval(1e-6)
    try:
        with caplog.at_level(logging.WARNING, "penstock"):
            for thread in asking:
                thread.start()
            for thread in asking:
                thread.join(120)
    finally:
        sys.setswitchinterval(interval)
    assert len(caplog.records) == names


def test_an_unknown_rate_is_told_of_as_a_rate(slots: LocalSlots) -> None:
    with pytest.raises(
        ConcurrencySlotAcquisitionError, match=r"api=10/s, or call .*'api', 10, slot_decay_per_second=10"
    ):
        ask(slots, "api", rate=True, strict=True).take()


def test_in_a_worker_process_of_a_pod_the_warning_says_whose_limits_hold(
    slots: LocalSlots, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_RUN", "run-1")
    with caplog.at_level(logging.WARNING, "penstock"):
        ask(slots, "nobody")
    assert "a worker process of a task runner has limits of its own only" in caplog.text


@pytest.mark.parametrize("limit", [0, 1])
def test_who_waits_for_more_than_a_changed_limit_will_give_is_told(limit: int, slots: LocalSlots) -> None:
    slots.declare(Limit("db", 2))
    held, waiting = ask(slots, "db"), ask(slots, "db", occupy=2)
    slots.declare(Limit("db", limit))
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'db'"):
        waiting.take(60)
    held.release()
    assert slots.taken("db") == 0


@pytest.mark.parametrize(("occupy", "limit"), [(1, 0), (4, 3)])
def test_what_can_never_be_had_is_an_error_at_once(occupy: int, limit: int, slots: LocalSlots) -> None:
    slots.declare(Limit("db", limit))
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'db'"):
        ask(slots, "db", occupy=occupy).take()
