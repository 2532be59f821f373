"""Who is granted which slots: tables for the rules, properties for what must always hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_operator.core.claims import Claim, Decision, Id, Limit, Place, decide

NOW = datetime(2026, 1, 1, 6, tzinfo=UTC)
LIMITS = {limit.name: limit for limit in (Limit("a", 3), Limit("b", 1), Limit("r", 10, 2.0))}


def claim(text: str, number: int) -> Claim:
    """`x a+b*2 2/5`: run x holds 2 bundles of two slots of a and of b each, and wants 5."""
    run, what, amounts = text.split()
    names, _, occupy = what.partition("*")
    held, _, want = amounts.partition("/")
    limits = tuple(names.split("+"))
    return Claim(run, 0, limits, int(occupy or 1), int(want), granted=int(held), since=f"{number:03}")


def decided(
    claims: list[Claim], places: dict[Id, Place] | None = None, limits: dict[str, Limit] = LIMITS, at: float = 0.0
) -> Decision:
    return decide(limits, claims, places or {}, NOW + timedelta(seconds=at))


def outcome(decision: Decision, claims: list[Claim]) -> str:
    """What each holds then, with what it may keep: `3` or `3>1`."""
    shown = []
    for each in claims:
        grant = decision.grants[each.key]
        held = grant.granted - each.returned
        shown.append(f"{held}>{grant.keep}" if grant.keep is not None else str(held))
    return " ".join(shown)


CASES = {
    "what is free is granted, to whom asked first": (["x a 0/1", "y a 0/1", "z a 0/3"], "1 1 1"),
    "everybody gets a share before anybody gets all": (["x a 0/100", "y a 0/1"], "2 1"),
    "a bundle is granted whole or not at all": (["x b 1/1", "y a+b 0/1"], "1>0 0"),
    "nobody passes who waits in a limit that lacks room": (["x a 2/2", "y a*2 0/1", "z a 0/1"], "2>0 0 0"),
    "but who has his share, which he uses again, is passed": (["x a*2 1/50", "y a 0/1"], "1 1"),
    "a limit with room stays open beside one that has none": (["x b 1/1", "y a+b 0/1", "z a 0/1"], "1>0 0 1"),
    "who holds more than a share gives back": (["x a 3/100", "y a 0/1"], "3>2 0"),
    "and gives back to each who waits": (["x a 3/100", "y a 0/1", "z a 0/1"], "3>1 0 0"),
    "and everything where there are more of them": (["x a 3/9", "y a 0/1", "z a 0/1", "w a 0/1"], "3>0 0 0 0"),
    "who does not use what he holds gives it back": (["x a 3/0", "y a 0/3"], "3>0 0"),
    "nothing is asked back where nobody waits": (["x a 3/100"], "3"),
    "nor for one who waits for another limit": (["x a 3/3", "y b 0/1"], "3 1"),
    "a name without a limit is granted": (["x gone 0/7", "y gone+a 0/5"], "7 3"),
    "what is held of a limit that is gone counts nowhere": (["x gone 5/5", "y a 0/1"], "5 1"),
    "tokens of a rate are granted as far as they go": (["x r 0/8", "y r 0/8"], "5 5"),
    "tokens are not held": (["x r 50/50", "y r 0/8"], "50 8"),
    "a bundle of a rate and of slots waits for both": (["x a 3/3", "y a+r 0/1"], "3>2 0"),
}


@pytest.mark.parametrize(("texts", "expected"), CASES.values(), ids=CASES)
def test_who_is_granted_what(texts: list[str], expected: str) -> None:
    claims = [claim(text, number) for number, text in enumerate(texts)]
    assert outcome(decided(claims), claims) == expected


REFUSED = {
    "nothing can be had of a limit of 0": ("x zero 0/1", "limit 'zero' is 0"),
    "nor more slots than there are": ("x a*4 0/1", "'a' has 3 slots, of which 4 cannot be taken"),
    "also among others": ("x a+zero 0/1", "limit 'zero' is 0"),
    "who holds them and asks for no more keeps them": ("x zero 2/2", None),
    "and gives them back when he is done with one": ("x zero 2/3", "limit 'zero' is 0"),
}


@pytest.mark.parametrize(("text", "message"), REFUSED.values(), ids=REFUSED)
def test_what_can_never_be_granted_is_refused(text: str, message: str | None) -> None:
    one = claim(text, 0)
    said = decided([one], limits={**LIMITS, "zero": Limit("zero", 0)}).grants[one.key]
    assert said.granted == one.granted
    assert said.refused is None if message is None else message in str(said.refused)


def test_a_lowered_limit_takes_nothing_away_and_asks_back() -> None:
    claims = [claim("x a 2/2", 0), claim("y a 1/1", 1)]
    assert outcome(decided(claims, limits={"a": Limit("a", 1)}), claims) == "2>0 1"
    assert outcome(decided(claims, limits={"a": Limit("a", 2)}), claims) == "2>1 1"
    assert outcome(decided(claims, limits={"a": Limit("a", 0)}), claims) == "2>0 1>0"


def test_who_passes_for_a_while_does_not_pass_for_ever() -> None:
    """A claim that lacks one limit reserves its others after a minute."""
    claims = [claim("x b 1/1", 0), claim("y a+b 0/1", 1)]
    first = decided(claims)
    assert first.again == 60.0
    claims.append(claim("z a 0/1", 2))
    assert outcome(decided(claims, dict(first.places), at=59), claims) == "1>0 0 1"
    assert outcome(decided(claims, dict(first.places), at=60), claims) == "1>0 0 0"


def test_the_slot_of_who_gives_back_goes_to_who_waited() -> None:
    """Two processes with long queues take turns, whoever asked first."""
    x, y = claim("x b 1/50", 0), claim("y b 0/50", 1)
    before = decided([x, y])
    assert outcome(before, [x, y]) == "1>0 0"
    x = Claim("x", 0, ("b",), 1, 50, returned=1, granted=1, since="000")
    after = decided([x, y], dict(before.places))
    assert outcome(after, [x, y]) == "0 1>0"
    y = Claim("y", 0, ("b",), 1, 50, returned=1, granted=1, since="001")
    assert outcome(decided([x, y], dict(after.places)), [x, y]) == "1>0 0"


def test_a_rate_comes_back_with_time_and_in_batches() -> None:
    limits = {"r": Limit("r", 10, 2.0, 10.0, NOW)}
    one = [claim("x r 0/7", 0)]
    first = decided(one, limits=limits)
    assert (outcome(first, one), first.again, first.used) == ("0", 0.5, {"r": 10.0})
    fast = {"r": Limit("r", 1000, 1000.0, 1000.0, NOW)}
    assert decided(one, limits=fast).again == 0.25
    later = decided(one, limits=limits, at=2)
    assert (outcome(later, one), later.used) == ("4", {"r": 10.0})


def test_one_whose_process_cannot_be_asked_any_more_only_holds() -> None:
    ghost = Claim("x", 0, ("b",), 1, 5, granted=1, since="000", ends=True)
    waits = claim("y b 0/1", 1)
    assert outcome(decided([ghost, waits]), [ghost, waits]) == "1 0"


names = st.lists(st.sampled_from(["a", "b", "r", "gone"]), min_size=1, unique=True).map(tuple)
claims_ = st.lists(
    st.builds(
        lambda names, occupy, want, held: (names, occupy, want, held),
        names,
        st.integers(1, 3),
        st.integers(0, 20),
        st.integers(0, 3),
    ),
    max_size=7,
)


def built(drawn: list[Any]) -> list[Claim]:
    """Claims that hold no more than there is."""
    left, found = {"a": 3, "b": 1}, []
    for number, (which, occupy, want, held) in enumerate(drawn):
        fits = min((left[n] // occupy for n in which if n in left), default=held)
        held = min(held, fits)
        for name in which:
            if name in left:
                left[name] -= occupy * held
        found.append(Claim(f"run-{number}", 0, which, occupy, want, granted=held, since=f"{number:03}"))
    return found


@settings(deadline=None)
@given(claims_)
def test_no_limit_is_ever_exceeded_and_nothing_is_left_that_fits(drawn: list[Any]) -> None:
    claims = built(drawn)
    decision = decided(claims)
    after = [replace(c, granted=decision.grants[c.key].granted, refused=decision.grants[c.key].refused) for c in claims]
    used = {name: sum(c.occupy * c.held for c in after if name in c.names) for name in ("a", "b")}
    assert used["a"] <= 3
    assert used["b"] <= 1
    assert decision.used["r"] <= 10 + 1e-6
    for before, now in zip(claims, after, strict=True):
        assert before.granted <= now.granted <= max(before.granted, before.want)
        keep = decision.grants[now.key].keep
        assert keep is None or keep < now.held
    if any(c.occupy > 1 for c in after):  # what is left may be kept for one who needs more of it
        return
    again = decided(after, dict(decision.places), limits={**LIMITS, "r": Limit("r", 10, 2.0, decision.used["r"], NOW)})
    assert [again.grants[c.key].granted for c in after] == [c.granted for c in after]


@settings(deadline=None, max_examples=30)
@given(claims_)
def test_while_what_is_asked_back_comes_back_everybody_has_a_turn(drawn: list[Any]) -> None:
    """Processes that want more and more: each is granted something before anybody is granted a third time."""
    claims = {c.key: c for c in built(drawn) if "r" not in c.names}
    claims = {
        key: Claim(c.run, 0, c.names, c.occupy, 50, granted=c.granted, since=c.since) for key, c in claims.items()
    }
    places: dict[Id, Place] = {}
    turns = dict.fromkeys(claims, 0)
    limits = {"a": Limit("a", 3), "b": Limit("b", 1)}
    hopeless = {c.key for c in claims.values() if any(n in limits and c.occupy > limits[n].slots for n in c.names)}
    for step in range(60):
        decision = decide(limits, claims.values(), places, NOW + timedelta(seconds=10 * step))
        places = dict(decision.places)
        for key, c in claims.items():
            grant = decision.grants[key]
            turns[key] += grant.granted > c.granted
            held = grant.granted - c.returned
            back = held if grant.keep is None and "gone" not in c.names and step % 7 == 0 else 0
            back = back if grant.keep is None else held - grant.keep
            claims[key] = Claim(
                c.run, 0, c.names, c.occupy, 50, returned=c.returned + back, granted=grant.granted, since=c.since
            )
    fed = {key: n + (claims[key].granted > 0) for key, n in turns.items() if key not in hopeless}
    assert all(fed.values()), fed
