"""What a process does with what it holds: serves its own, keeps for a while, gives back, and tells little."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.api.bounds import MAX_CLAIMS
from penstock.concurrency.claims import Claim
from penstock.concurrency.sharing import LINGER, MAX_BATCH, TOKEN_LIFE, TURN, Shares

DB, RATE, CALL = (("db",), 1, False, False), (("api", "db"), 1, True, False), (("api",), 1, True, True)


class Process:
    """A ledger, and an operator that grants what it is told to."""

    def __init__(self) -> None:
        self.shares, self.now = Shares(), 0.0
        self.claims: list[Claim] = []
        self.written: list[list[dict[str, Any]]] = []

    def ask(self, key: Any = DB) -> Claim:
        claim = Claim(self, len(self.claims), key[0], key[1])  # type: ignore[arg-type]
        self.claims.append(claim)
        self.shares.ask(claim, key, self.now, "since")
        self._wake()
        return claim

    def release(self, claim: Claim) -> None:
        self.shares.release(claim, self.now, "since")
        self._wake()

    def grant(self, granted: int, id: int = 0, **more: Any) -> None:
        self.shares.grant({id: {"granted": granted, **more}}, self.now)
        self._wake()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.shares.tick(self.now, "since")
        self._wake()

    def tells(self) -> list[tuple[int, int]] | None:
        """Want and returned of each claim that is written; None where nothing is."""
        claims = self.shares.to_tell()
        if claims is None:
            return None
        self.shares.told(claims)
        return [(claim["want"], claim["returned"]) for claim in claims]

    def served(self) -> int:
        return sum(claim.happened() and claim.error is None for claim in self.claims)

    def _wake(self) -> None:
        woken, self.shares.woken = self.shares.woken, []
        for claim in woken:
            claim.happen()


@pytest.fixture
def process() -> Process:
    return Process()


def test_a_claim_is_told_served_and_taken_back(process: Process) -> None:
    one = process.ask()
    assert process.tells() == [(1, 0)]
    assert process.tells() is None
    process.grant(1)
    assert one.happened()
    process.release(one)
    assert process.tells() is None, "it is kept for a moment"
    process.wait(LINGER)
    assert process.tells() == [], "nothing is claimed any more"
    assert not process.shares


def test_what_one_gives_back_serves_the_next_without_a_word(process: Process) -> None:
    claims = [process.ask() for _ in range(100)]
    assert process.tells() == [(100, 0)]
    process.grant(1)
    told = 0
    for claim in claims:
        assert claim.happened()
        process.release(claim)
        told += process.tells() is not None
    assert process.served() == 100
    assert told <= 8, "each time that half of what waits is served"


def test_what_waits_is_told_when_it_has_doubled(process: Process) -> None:
    told = 0
    for _ in range(1000):
        process.ask()
        told += process.tells() is not None
    assert told == 10


def test_a_slot_that_others_wait_for_is_given_back_after_a_turn(process: Process) -> None:
    first, second, third = (process.ask() for _ in range(3))
    process.grant(1, keep=0)
    process.now += TURN / 2
    process.release(first)
    assert second.happened(), "it is still this process' turn"
    process.now += TURN
    process.release(second)
    assert not third.happened()
    assert process.tells() == [(1, 1)]
    process.grant(2)
    assert third.happened()


def test_what_nobody_uses_here_is_given_back_at_once_where_others_wait(process: Process) -> None:
    one, two = process.ask(), process.ask()
    process.tells()
    process.grant(2)
    process.release(one)
    assert process.tells() is None
    process.grant(2, keep=1)
    assert process.tells() == [(1, 1)]
    process.grant(2, keep=0)
    process.release(two)
    assert process.tells() == []


def test_who_waits_no_more_is_told_of_and_a_grant_that_comes_too_late_comes_back(process: Process) -> None:
    one = process.ask()
    process.tells()
    process.release(one)
    assert process.tells() == []
    process.grant(1)
    assert not one.happened()
    assert not process.shares
    again = process.ask()
    process.grant(1)
    assert not again.happened(), "numbers are not used again"
    process.grant(1, id=1)
    assert again.happened()


def test_what_may_have_been_written_is_written_again(process: Process) -> None:
    one = process.ask()
    assert process.shares.to_tell() is not None
    process.shares.doubt()
    process.release(one)
    assert process.tells() == []
    assert process.tells() is None


def test_grants_that_are_repeated_or_old_change_nothing(process: Process) -> None:
    one, two = process.ask(), process.ask()
    process.grant(1)
    process.grant(1)
    process.grant(0)
    assert (one.happened(), two.happened()) == (True, False)


def test_a_refusal_ends_those_who_wait_and_nobody_who_holds(process: Process) -> None:
    one, two = process.ask(), process.ask()
    process.grant(1)
    process.grant(1, refused="limit 'db' is 0")
    assert "limit 'db' is 0" in str(two.error)
    assert one.error is None
    three = process.ask()
    assert process.tells() == [(1, 0), (1, 0)], "who asks then asks anew"
    process.release(one)
    process.wait(LINGER)
    process.grant(1, id=1)
    assert three.happened()


def test_a_bundle_with_a_rate_is_used_once(process: Process) -> None:
    one, two = process.ask(RATE), process.ask(RATE)
    process.tells()
    process.grant(1)
    process.release(one)
    assert not two.happened()
    assert process.tells() == [(1, 1)]
    process.grant(2)
    assert two.happened()


def test_calls_in_a_row_ask_for_twice_as_many_each_time(process: Process) -> None:
    granted, writes = 0, 0
    for _ in range(1000):
        claim = process.ask(CALL)
        if not claim.happened():
            told = process.tells()
            assert told is not None
            writes += 1
            want, returned = told[0]
            granted += max(want - (granted - returned), 0)
            process.grant(granted)
        assert claim.happened()
        process.now += 0.001
    assert writes <= 12
    assert granted <= 1000 + MAX_BATCH


def test_tokens_that_were_not_used_in_time_are_void(process: Process) -> None:
    process.ask(CALL)
    process.tells()
    process.grant(1)
    process.ask(CALL)
    assert process.tells() == [(2, 1)]
    process.grant(3)
    process.wait(TOKEN_LIFE)
    assert process.tells() == []
    late = process.ask(CALL)
    assert not late.happened()
    assert process.tells() == [(1, 0)], "and nothing is asked for ahead"


def test_tokens_asked_for_ahead_are_not_waited_for_long(process: Process) -> None:
    process.ask(CALL)
    process.tells()
    process.grant(1)
    process.ask(CALL)
    process.tells()
    process.grant(2)
    assert process.served() == 2
    process.wait(TOKEN_LIFE)
    assert process.tells() == []


def test_kinds_of_claims_beyond_the_bound_wait_for_a_place(process: Process) -> None:
    claims = [process.ask(((f"limit-{n}",), 1, False, False)) for n in range(MAX_CLAIMS + 2)]
    told = process.tells()
    assert told is not None
    assert len(told) == MAX_CLAIMS
    process.release(claims[0])
    process.release(claims[-1])
    told = process.tells()
    assert told is not None
    assert len(told) == MAX_CLAIMS
    process.grant(1, id=MAX_CLAIMS)
    assert claims[-2].happened()


def test_several_at_once_in_one_process(process: Process) -> None:
    one, two = process.ask((("a", "b"), 2, False, False)), process.ask((("b",), 1, False, False))
    claims = process.shares.to_tell()
    assert claims is not None
    assert [(c["names"], c["occupy"]) for c in claims] == [(["a", "b"], 2), (["b"], 1)]
    process.grant(1, id=1)
    assert (one.happened(), two.happened()) == (False, True)
