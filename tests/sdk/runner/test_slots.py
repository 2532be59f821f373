"""A run's process and its slots, on an API server of the loopback, which has no watches: the run is looked at again and
again, and the test grants what the operator would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from eventually import until
from loopback_api import Json, Lost
from loopback_pod import Pod
from penstock.concurrency.claims import Claim
from penstock.concurrency.limits import Limit
from penstock.errors import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from penstock.runner.slots import RunSlots
from penstock.runner.status import Fenced, RunStatus

LIMITS = "/apis/penstock.dev/v1alpha1/namespaces/team/concurrencylimits?resourceVersion=0"


class Run:
    """A claimed run, the giver of its slots, and an operator."""

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        assert RunStatus(pod.api(), pod.assignment()).claim() is not None
        self.lost = threading.Event()
        self.limits(db={"limit": 2}, gpus={"limit": 1, "taskTag": "gpu"}, api={"limit": 5, "slotDecayPerSecond": 1})
        self.slots = RunSlots(pod.api(), pod.assignment(), self.lost.set)
        self._number = 0

    def limits(self, **specs: Json) -> None:
        items = [{"metadata": {"name": name}, "spec": spec} for name, spec in specs.items()]
        self.pod.server.objects[LIMITS] = {"kind": "List", "metadata": {}, "items": items}

    def ask(self, *names: str, occupy: int = 1, rate: bool = False, strict: bool = False) -> Claim:
        return self.slots.ask(names, occupy, rate=rate, strict=strict, lease_seconds=300, holder=None)

    def claims(self) -> list[Json]:
        claims: list[Json] = (self.pod.status.get("claims") or {}).get("claims") or []
        return claims

    def grant(self, **more: Any) -> None:
        """Everything that is wanted."""
        self._number += 1
        grants = [{"id": claim["id"], "granted": claim["returned"] + claim["want"], **more} for claim in self.claims()]
        self.pod.status["grants"] = {"attempt": 1, "number": self._number, "grants": grants}


@pytest.fixture
def run(pod: Pod) -> Iterator[Run]:
    run = Run(pod)
    yield run
    run.slots.close()


def test_slots_are_claimed_granted_and_given_back(run: Run) -> None:
    claim = run.ask("DB", "gpus", occupy=1)
    (told,) = until(run.claims)
    assert (told["names"], told["occupy"], told["want"], told["returned"]) == (["db", "gpus"], 1, 1, 0)
    assert not claim.happened()
    run.grant()
    claim.take(60)
    claim.release()
    until(lambda: run.pod.status["claims"]["claims"] == [])


def test_names_without_a_limit_cost_no_write(run: Run) -> None:
    run.ask("nobody").take(60)
    assert not run.pod.server.writes("/status")[1:], "after the claim of the run"
    with pytest.raises(ConcurrencySlotAcquisitionError, match="penstock limits create nobody 3"):
        run.ask("nobody", strict=True).take(60)


def test_limits_of_the_process_hold_for_names_that_the_cluster_does_not_have(run: Run) -> None:
    run.slots.local.declare(Limit("mine", 1))
    first = run.ask("mine")
    first.take(60)
    second = run.ask("mine", "db")
    until(run.claims)
    run.grant()
    time.sleep(0.2)
    assert not second.happened()
    first.release()
    second.take(60)
    assert run.slots.known(["mine", "db", "other"]) == ("mine", "db")
    second.release()
    assert run.slots.local.taken("mine") == 0


def test_limits_of_a_tag_are_found_by_it(run: Run) -> None:
    looking = run.slots.looking()
    assert looking is None or looking.wait(60)
    assert run.slots.looking() is None
    assert run.slots.known(["tag:gpu", "tag:cpu"]) == ("tag:gpu",)
    run.ask("tag:gpu")
    assert until(run.claims)[0]["names"] == ["gpus"]


@pytest.mark.parametrize(
    ("names", "occupy", "rate", "message"),
    [
        (["none"], 1, False, "limit 'none' is 0"),
        (["db"], 3, False, "has 2 slots, of which 3 cannot be taken"),
        (["db"], 1, True, "'db' is no rate"),
        (["runs"], 1, False, "'runs' counts runs with the tag 'etl', not code"),
    ],
)
def test_what_can_never_be_had_is_an_error_at_once(
    names: list[str], occupy: int, rate: bool, message: str, run: Run
) -> None:
    run.limits(none={"limit": 0}, db={"limit": 2}, runs={"limit": 2, "tag": "etl"})
    with pytest.raises(ConcurrencySlotAcquisitionError, match=message):
        run.ask(*names, occupy=occupy, rate=rate).take(60)
    assert not run.claims()


def test_who_has_waited_long_enough_waits_no_more(run: Run) -> None:
    claim = run.ask("db")
    until(run.claims)
    with pytest.raises(AcquireConcurrencySlotTimeoutError):
        claim.take(0.01)
    until(lambda: run.pod.status["claims"]["claims"] == [])
    run.grant()


def test_who_wants_slots_now_or_not_at_all_waits_for_the_answer(run: Run) -> None:
    claim = run.ask("db")
    threading.Thread(target=lambda: (until(run.claims), run.grant())).start()
    claim.take(0)


def test_the_operators_refusal_is_the_error_of_who_waits(run: Run) -> None:
    claim = run.ask("db")
    until(run.claims)
    run.grant(granted=0, refused="concurrency limit 'db' is 0")
    with pytest.raises(ConcurrencySlotAcquisitionError, match="'db' is 0"):
        claim.take(60)


def test_a_write_whose_answer_is_lost_is_repeated_under_another_number(run: Run) -> None:
    faults = [Lost.ANSWER, Lost.REQUEST]
    run.pod.server.fault = lambda request: faults.pop() if request.method == "PATCH" and faults else None
    claim = run.ask("db")
    until(lambda: not faults and run.claims())
    until(lambda: run.pod.status["claims"]["number"] == 3)
    run.grant()
    claim.take(60)


@pytest.mark.parametrize(
    "change",
    [{"attempt": 2, "pod": {"name": "run-2", "uid": "another"}}, {"pod": {"name": "run-1-x", "uid": "another"}}],
    ids=["another attempt", "another pod"],
)
def test_who_waits_when_the_run_is_taken_from_it_is_told(change: Json, run: Run) -> None:
    claim = run.ask("db")
    until(run.claims)
    run.pod.status.update(change)
    with pytest.raises(ConcurrencySlotAcquisitionError, match="not this process' any more"):
        claim.take(60)
    assert run.lost.wait(60)
    with pytest.raises(Fenced):
        run.slots.check()


def test_nothing_is_claimed_after_the_end(run: Run) -> None:
    run.ask("nobody").take(60)
    run.slots.close()
    with pytest.raises(ConcurrencySlotAcquisitionError, match="the run has ended"):
        run.ask("db").take(60)
    assert not run.claims()


def test_threads_share_what_the_process_holds(run: Run) -> None:
    """Two slots, forty threads: a handful of writes, and never more than two at a time."""
    inside, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal inside, most
        claim = run.ask("db")
        claim.take(60)
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.002)
        with lock:
            inside -= 1
        claim.release()

    threads = [threading.Thread(target=work) for _ in range(40)]
    for thread in threads:
        thread.start()
    (told,) = until(run.claims)
    run.pod.status["grants"] = {"attempt": 1, "number": 1, "grants": [{"id": told["id"], "granted": 2}]}
    for thread in threads:
        thread.join(60)
    assert most == 2
    assert len(run.pod.server.writes("/status")) < 25
