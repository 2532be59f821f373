"""One operator acts at a time, whatever is late, lost or stopped; and one does, once nothing is in its way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock_operator.core import leadership
from penstock_operator.core.leadership import DURATION, GIVE_UP, LONGEST, RENEW, Lease, Seen, Step, decide

MINE = Lease("me", "t1", 3, DURATION)
THEIRS = replace(MINE, holder="another")
RELEASED = replace(MINE, holder="")
NEVER = Seen()


@pytest.mark.parametrize(
    ("seen", "renewed", "step"),
    [
        pytest.param(NEVER, None, Step.TAKE, id="there never was a Lease"),
        pytest.param(Seen(None, 100 - DURATION), None, Step.TAKE, id="it vanished long enough ago"),
        pytest.param(Seen(None, 101 - DURATION), None, Step.WAIT, id="it vanished, and its holder may not know"),
        pytest.param(Seen(THEIRS, 100 - DURATION), None, Step.TAKE, id="its holder is outlasted"),
        pytest.param(Seen(THEIRS, 101 - DURATION), None, Step.WAIT, id="its holder may act still"),
        pytest.param(Seen(replace(THEIRS, duration=40), 61), None, Step.WAIT, id="its holder counts by a longer one"),
        pytest.param(Seen(replace(THEIRS, duration=40), 60), None, Step.TAKE, id="and that is over"),
        pytest.param(Seen(replace(THEIRS, duration=1), 90), None, Step.WAIT, id="a shorter one is not believed"),
        pytest.param(Seen(replace(THEIRS, duration=9e9), 100 - LONGEST), None, Step.TAKE, id="nor one without reason"),
        pytest.param(Seen(RELEASED, 100), None, Step.TAKE, id="it was released"),
        pytest.param(Seen(MINE, 100), None, Step.TAKE, id="it is of this process' former life"),
        pytest.param(Seen(MINE, 99), 99, Step.WAIT, id="a leader that has just renewed"),
        pytest.param(Seen(MINE, 97), 100 - RENEW, Step.RENEW, id="a leader after a while"),
        pytest.param(Seen(MINE, 91), 101 - GIVE_UP, Step.RENEW, id="a leader that could not renew lately"),
        pytest.param(Seen(MINE, 90), 100 - GIVE_UP, Step.LOST, id="a leader that could not renew for too long"),
        pytest.param(Seen(THEIRS, 99), 99, Step.LOST, id="a leader that sees another"),
        pytest.param(Seen(None, 99), 99, Step.TAKE, id="a leader whose Lease somebody deleted"),
        pytest.param(Seen(RELEASED, 99), 99, Step.TAKE, id="a leader whose name somebody cleared"),
        pytest.param(Seen(None, 99), 100 - GIVE_UP, Step.LOST, id="a leader without a Lease for too long"),
    ],
)
def test_the_step_of_a_process_at_100(seen: Seen, renewed: float | None, step: Step) -> None:
    assert decide("me", seen, renewed, 100.0) is step


def test_since_when_a_lease_is_seen_counts_from_its_last_change() -> None:
    seen = NEVER.then(THEIRS, 5).then(replace(THEIRS), 9)
    assert seen == Seen(THEIRS, 5)
    assert seen.then(replace(THEIRS, renewed="t2"), 12).since == 12
    assert seen.then(None, 13) == Seen(None, 13)
    assert NEVER.then(None, 14) == NEVER


def test_a_lease_is_read_as_it_is_written() -> None:
    taken = leadership.held("me", THEIRS, "t9")
    assert leadership.read({"spec": taken}) == Lease("me", "t9", 4, DURATION)
    assert leadership.held("me", MINE, "t9")["leaseTransitions"] == 3
    assert leadership.held("me", None, "t9")["leaseTransitions"] == 0
    assert leadership.read(None) is None
    assert leadership.read({"metadata": {}}) == Lease("", "", 0, 0)


@dataclass
class Process:
    """An operator: what it knows, what it has asked for, and what has been answered but not heard."""

    name: str
    ahead: float  # its clock
    seen: Seen = NEVER
    renewed: float | None = None
    version: int = -1
    reading: tuple[Lease | None, int] | None = None
    asked: dict[str, Any] | None = None
    answered: tuple[Lease, int, float] | None = None
    lives: int = field(default=0)


PROCESSES = st.integers(0, 2)


class Election(RuleBasedStateMachine):
    """Three processes, whose clocks differ, one Lease, and a network that delivers when it likes or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.lease, self.version = 1000.0, None, 0
        self.processes = [Process(f"p{n}", ahead=10_000.0 * n) for n in range(3)]

    lease: Lease | None

    def clock(self, process: Process) -> float:
        return self.now + process.ahead

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.9, 5.0, 9.9, 10.0, 14.9, 15.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(n=PROCESSES, seconds=st.sampled_from([0.0, 1.0, 5.0, 15.0]))
    def a_round(self, n: int, seconds: float) -> None:
        """All of it, without a fault."""
        self.now += seconds
        self.the_lease_is_read(n)
        self.what_was_read_arrives(n)
        self.a_write_arrives(n)
        self.its_answer_arrives(n)

    @rule(n=PROCESSES)
    def the_lease_is_read(self, n: int) -> None:
        self.processes[n].reading = (self.lease, self.version)

    @rule(n=PROCESSES)
    def what_was_read_arrives(self, n: int) -> None:
        process = self.processes[n]
        if process.reading is not None:
            (lease, process.version), process.reading = process.reading, None
            process.seen = process.seen.then(lease, self.clock(process))
            self.step(n)

    @rule(n=PROCESSES)
    def step(self, n: int) -> None:
        process, now = self.processes[n], self.clock(self.processes[n])
        step = decide(process.name, process.seen, process.renewed, now)
        if step is Step.LOST:
            process.renewed = None
        elif step is not Step.WAIT and process.asked is None:
            process.asked = {"step": step, "sent": now, "version": process.version, "before": process.seen.lease}

    @rule(n=PROCESSES)
    def a_write_arrives(self, n: int) -> None:
        process = self.processes[n]
        asked, process.asked = process.asked, None
        if asked is None:
            return
        text = f"{self.now} {self.version}"
        if asked["step"] is Step.TAKE and asked["version"] == self.version:
            self.lease = leadership.read({"spec": leadership.held(process.name, asked["before"], text)})
        elif asked["step"] is Step.RENEW and self.lease is not None and self.lease.holder == process.name:
            self.lease = replace(self.lease, renewed=text)
        else:
            return
        assert self.lease is not None
        self.version += 1
        process.answered = (self.lease, self.version, asked["sent"])

    @rule(n=PROCESSES)
    def its_answer_arrives(self, n: int) -> None:
        process = self.processes[n]
        if process.answered is not None:
            (lease, process.version, sent), process.answered = process.answered, None
            process.seen = process.seen.then(lease, self.clock(process))
            process.renewed = sent

    @rule(n=PROCESSES)
    def whatever_is_on_its_way_is_lost(self, n: int) -> None:
        self.processes[n].asked = self.processes[n].answered = self.processes[n].reading = None

    @rule(n=PROCESSES, same_name=st.booleans())
    def a_process_is_killed_and_started(self, n: int, same_name: bool) -> None:
        """A container keeps its pod's name; any other process has a new one."""
        old = self.processes[n]
        name = old.name if same_name else f"p{n}-{old.lives + 1}"
        self.processes[n] = Process(name, old.ahead + 5.0, lives=old.lives + 1)

    @rule(n=PROCESSES)
    def a_leader_releases(self, n: int) -> None:
        process = self.processes[n]
        if process.renewed is not None and self.lease is not None and self.lease.holder == process.name:
            process.renewed = process.answered = process.asked = None
            self.lease, self.version = replace(self.lease, holder=""), self.version + 1

    @invariant()
    def one_acts_at_most(self) -> None:
        acting = [p.name for p in self.processes if p.renewed is not None and self.clock(p) - p.renewed < GIVE_UP]
        assert len(acting) <= 1, acting

    def teardown(self) -> None:
        """Left in peace, somebody leads in the end."""
        for n in range(3):
            self.whatever_is_on_its_way_is_lost(n)
        for _ in range(int(LONGEST) + 2):
            self.now += 1
            for n in range(3):
                self.a_round(n, 0.0)
                self.one_acts_at_most()
        assert [p for p in self.processes if p.renewed is not None and self.clock(p) - p.renewed < GIVE_UP]


Election.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestElection = Election.TestCase
