"""Grants in a namespace: what is written, and the protocol between operator and processes when writes are lost, late or
repeated, attempts are killed and operators follow each other. Nothing here may ever exceed a limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from builders import flow_run
from crash_points import WRITE_FAULTS, Acts, Fault, Killed, Operator, acting, same_at_any_write
from memory_cluster import MemoryCluster, Write
from penstock.api import labels
from penstock.concurrency.claims import Claim
from penstock.concurrency.sharing import Shares
from penstock_operator.cluster import (
    CONCURRENCY_LIMITS,
    FLOW_RUNS,
    PODS,
    ApiError,
    Body,
    Invalid,
    NotFound,
    Unavailable,
)
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.core.views import format_time
from penstock_operator.reconcile.claims import Claims
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import Clock, at_once

NAMESPACE = "team"


class Cluster(MemoryCluster):
    """Writes of status that can go wrong, and the CRD's rule that a number cannot go back."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.fault: Callable[[], str] = lambda: "done"
        self.late: list[tuple[Any, ...]] = []

    async def patch(self, resource: Any, namespace: Any, name: str, ops: Any, *, subresource: Any = None) -> Body:
        """A write of the operator's."""
        how = self.fault()
        if how == "late":
            self.late.append((resource, namespace, name, ops, subresource))
        if how in ("late", "lost"):
            raise Unavailable(0, "Timeout", "no answer")
        body = await self.write(resource, namespace, name, ops, subresource)
        if how == "unanswered":
            raise Unavailable(0, "Timeout", "no answer")
        return body

    async def write(self, resource: Any, namespace: Any, name: str, ops: Any, subresource: Any) -> Body:
        """A write of anybody's, as the API server takes it."""
        before = (self.objects.get((resource.plural, namespace, name)) or {}).get("status") or {}
        for op in ops:
            field = op["path"].removeprefix("/status/")
            if op["op"] == "add" and field in ("claims", "grants") and field in before:
                old, new = before[field], op["value"]
                if (new["attempt"], new["number"]) < (old["attempt"], old["number"]):
                    raise Invalid(422, "Invalid", f"{field}: number cannot go back")
        return await super().patch(resource, namespace, name, ops, subresource=subresource)

    def arrive(self, number: int) -> None:
        """A late write arrives."""
        written = self.late.pop(number)
        with contextlib.suppress(Invalid, NotFound):
            at_once(self.write(*written))


class Process:
    """A process of an attempt: its ledger, and what of its code uses slots or waits."""

    def __init__(self, cell: Cell, name: str) -> None:
        self.cell, self.name = cell, name
        body = cell.cluster.objects[("flowruns", NAMESPACE, name)]
        self.uid, self.attempt = body["metadata"]["uid"], body["status"]["attempt"]
        self.pod = body["status"]["pod"]["uid"]
        self.shares, self.number, self.seen = Shares(), 0, -1
        self.using: list[tuple[Claim, tuple[str, ...], int]] = []
        self.waiting: list[tuple[Claim, tuple[str, ...], int]] = []
        self.refused = 0

    def ask(self, names: tuple[str, ...], occupy: int = 1, *, once: bool = False) -> None:
        names = tuple(sorted(names))
        claim = Claim(self, next(self.cell.numbers), names, occupy)  # type: ignore[arg-type]
        self.waiting.append((claim, names, occupy))
        rate = any(self.cell.is_rate(name) for name in names)
        self.shares.ask(claim, (names, occupy, rate, once), self.cell.seconds, format_time(self.cell.clock()))
        self._serve()

    def release(self, index: int) -> None:
        claim, _, _ = self.using.pop(index)
        self.shares.release(claim, self.cell.seconds, format_time(self.cell.clock()))
        self._serve()

    def give_up(self, index: int) -> None:
        claim, _, _ = self.waiting.pop(index)
        self.shares.release(claim, self.cell.seconds, format_time(self.cell.clock()))
        self._serve()

    def tick(self) -> None:
        self.shares.tick(self.cell.seconds, format_time(self.cell.clock()))
        self._serve()

    def write(self, how: str = "done") -> None:
        """Tell the operator what changed, if it must be told."""
        claims = self.shares.to_tell()
        if claims is None:
            return
        self.number += 1
        value = {"attempt": self.attempt, "number": self.number, "claims": claims}
        ops = [
            {"op": "test", "path": "/metadata/uid", "value": self.uid},
            {"op": "test", "path": "/status/attempt", "value": self.attempt},
            {"op": "test", "path": "/status/pod/uid", "value": self.pod},
            {"op": "add", "path": "/status/claims", "value": value},
        ]
        written = (FLOW_RUNS, NAMESPACE, self.name, ops, "status")
        if how == "late":
            self.cell.cluster.late.append(written)
        if how in ("done", "unanswered"):
            at_once(self.cell.cluster.write(*written))
        if how == "done":
            self.shares.told(claims)
        else:
            self.shares.doubt()

    def hear(self) -> None:
        """What stands in the run."""
        body = self.cell.cluster.objects.get(("flowruns", NAMESPACE, self.name))
        grants = ((body or {}).get("status") or {}).get("grants")
        if grants and grants["attempt"] == self.attempt and grants["number"] > self.seen:
            self.seen = grants["number"]
            self.shares.grant({grant["id"]: grant for grant in grants["grants"]}, self.cell.seconds)
        self._serve()

    def _serve(self) -> None:
        woken, self.shares.woken = self.shares.woken, []
        for claim in woken:
            entry = next(e for e in self.waiting if e[0] is claim)
            self.waiting.remove(entry)
            claim.happen()
            if claim.error is not None:
                self.refused += 1
            elif any(self.cell.is_rate(name) for name in entry[1]):
                self.cell.called += entry[2]
                self.shares.release(claim, self.cell.seconds, format_time(self.cell.clock()))
            else:
                self.using.append(entry)
                self.cell.check()


class Cell:
    """A namespace with limits, runs whose processes are played, and an operator."""

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.begun = self.clock()
        self.cluster = Cluster(self.clock)
        self.numbers = iter(range(10**9))
        self.processes: list[Process] = []
        self.operator = Operator()
        self.ceilings: dict[str, int] = {}
        self.called = 0
        for name, spec in limits.items():
            self.limit(name, **({"limit": spec} if isinstance(spec, int) else spec))
        self.restart()

    @property
    def seconds(self) -> float:
        return (self.clock() - self.begun).total_seconds()

    def limit(self, name: str, **spec: Any) -> None:
        body = {"metadata": {"name": name}, "spec": spec}
        at_once(self.cluster.create(CONCURRENCY_LIMITS, NAMESPACE, body))
        self.ceilings[name] = spec["limit"]

    def set(self, name: str, slots: int) -> None:
        """Change a limit; what is used of it may exceed it until it was given back."""
        ops = [{"op": "replace", "path": "/spec/limit", "value": slots}]
        at_once(MemoryCluster.patch(self.cluster, CONCURRENCY_LIMITS, NAMESPACE, name, ops))
        self.ceilings[name] = max(slots, self.granted(name))

    def is_rate(self, name: str) -> bool:
        found = self.cluster.objects.get(("concurrencylimits", NAMESPACE, name))
        return bool(found and found["spec"].get("slotDecayPerSecond"))

    def start(self, name: str, **status: Any) -> Process:
        """A run whose process has claimed it, in a pod."""
        body = flow_run("Running")
        body["metadata"] = {"name": name}
        at_once(self.cluster.create(FLOW_RUNS, NAMESPACE, body))
        at_once(
            self.cluster.create(
                PODS,
                NAMESPACE,
                {"metadata": {"name": f"{name}-1", "labels": {labels.RUN: name}}, "spec": {"containers": []}},
            )
        )
        self.cluster.set_node(NAMESPACE, f"{name}-1", "node")
        uid = self.cluster.objects[("pods", NAMESPACE, f"{name}-1")]["metadata"]["uid"]
        given = {**body["status"], "attempt": 1, "pod": {"name": f"{name}-1", "uid": uid}, **status}
        self.cluster.set_status(FLOW_RUNS, NAMESPACE, name, **given)
        process = Process(self, name)
        self.processes.append(process)
        return process

    def end(self, process: Process) -> None:
        """Its pod ends, and the operator says so."""
        self.processes.remove(process)
        state = {**self.cluster.objects[("flowruns", NAMESPACE, process.name)]["status"]["state"], "type": "Crashed"}
        self.cluster.set_status(FLOW_RUNS, NAMESPACE, process.name, state=state)

    def restart(self) -> None:
        """Another operator, with a consistent list."""
        self.cache = ObjectCache()
        self.claims = Claims(self.cluster, self.cache, self.clock)
        self.hear()

    def hear(self) -> None:
        """The informers catch up."""
        for kind in ("FlowRun", "Pod", "ConcurrencyLimit"):
            now = {(b["metadata"]["namespace"], b["metadata"]["name"]): b for b in self.cluster.kinds(kind)}
            for ref in set(self.cache.refs(kind, None)) - now.keys():
                self.cache.drop(kind, ref, str(10**9))
            for body in now.values():
                self.cache.put(kind, body)

    def reconcile(self, *, hears: bool = True) -> Requeue | None:
        if hears:
            self.hear()
        with acting(self.operator, self.cluster):
            return asyncio.run(self.claims.reconcile(Key(NAMESPACE, "")))

    def settle(self) -> None:
        """Everybody hears everything, until nothing changes."""
        for _ in range(4):
            for process in self.processes:
                process.write()
            self.reconcile()
            for process in self.processes:
                process.hear()

    def granted(self, name: str) -> int:
        """What stands granted in the runs, whether it was heard of or not, and what late writes may yet grant."""
        held = 0
        for process in self.processes:
            status = self.cluster.objects[("flowruns", NAMESPACE, process.name)]["status"]
            grants = [status.get("grants")] + [
                op["value"]
                for w in self.cluster.late
                if w[2] == process.name
                for op in w[3]
                if op["path"] == "/status/grants"
            ]
            for entry in process.shares._entries.values():
                if name in entry.names:
                    given = max(
                        (g["granted"] for s in grants if s for g in s["grants"] if g["id"] == entry.id), default=0
                    )
                    held += entry.occupy * max(given - entry.returned, 0)
        return held

    def used(self, name: str) -> int:
        return sum(occupy for p in self.processes for _, names, occupy in p.using if name in names)

    def check(self) -> None:
        for name, ceiling in self.ceilings.items():
            if not self.is_rate(name):
                assert self.used(name) <= ceiling, f"{self.used(name)} slots of {name} are used, of {ceiling}"

    def lower(self) -> None:
        """Once what was held of a lowered limit came back, it holds."""
        for name, ceiling in self.ceilings.items():
            slots = self.cluster.objects[("concurrencylimits", NAMESPACE, name)]["spec"]["limit"]
            self.ceilings[name] = max(slots, min(ceiling, self.granted(name)))

    def status(self, name: str) -> Body:
        found: Body = self.cluster.objects[("concurrencylimits", NAMESPACE, name)].get("status") or {}
        return found


def test_what_is_free_is_granted_and_shown() -> None:
    cell = Cell(db=1)
    x, y = cell.start("x"), cell.start("y")
    x.ask(("db",))
    cell.settle()
    y.ask(("db",))
    cell.clock.advance(2)
    cell.settle()
    assert (len(x.using), len(y.using)) == (1, 0)
    shown = cell.status("db")
    assert (shown["active"], shown["queued"]) == (1, 1)
    assert [(c["run"], c["active"], c["queued"]) for c in shown["claims"]] == [("x", 1, 0), ("y", 0, 1)]
    x.release(0)
    cell.settle()
    assert (len(x.using), len(y.using)) == (0, 1), "a slot that others wait for is given back at once"


def test_a_thousand_tasks_of_one_process_cost_a_few_writes() -> None:
    cell = Cell(db=3)
    x = cell.start("x")
    for _ in range(1000):
        x.ask(("db",))
    cell.cluster.writes.clear()
    steps = 0
    while x.using or x.waiting:
        if x.using:
            x.release(0)
        if steps % 5 == 0:
            cell.settle()
        cell.clock.advance(0.01)
        steps += 1
    writes = [write for write in cell.cluster.writes if write.kind == "FlowRun"]
    assert len(writes) < 40, len(writes)


def test_slots_of_a_deleted_run_are_held_until_its_pod_is_gone() -> None:
    cell = Cell(db=1)
    x, y = cell.start("x"), cell.start("y")
    x.ask(("db",))
    cell.settle()
    y.ask(("db",))
    cell.settle()
    cell.processes.remove(x)
    cell.cluster.remove(FLOW_RUNS, NAMESPACE, "x")
    cell.settle()
    assert not y.using
    cell.cluster.set_status(PODS, NAMESPACE, "x-1", phase="Failed")
    cell.settle()
    assert y.using


OVER: dict[str, Body] = {
    "ended": {"state": {"type": "Failed", "seq": 9}},
    "awaits a retry": {"state": {"type": "Scheduled", "seq": 9}},
    "another attempt": {"attempt": 2},
    "suspended": {"state": {"type": "Paused", "name": "Suspended", "seq": 9}},
}


@pytest.mark.parametrize("status", OVER.values(), ids=OVER)
def test_an_attempt_that_is_over_holds_nothing(status: Body) -> None:
    cell = Cell(db=1)
    x, y = cell.start("x"), cell.start("y")
    x.ask(("db",))
    cell.settle()
    y.ask(("db",))
    cell.settle()
    cell.processes.remove(x)
    cell.cluster.set_status(FLOW_RUNS, NAMESPACE, "x", **status)
    cell.settle()
    assert y.using


def test_a_run_that_is_cancelled_or_paused_holds_on() -> None:
    for state in ("Cancelling", "Paused"):
        cell = Cell(db=1)
        x, y = cell.start("x"), cell.start("y")
        x.ask(("db",))
        cell.settle()
        y.ask(("db",))
        cell.cluster.set_status(FLOW_RUNS, NAMESPACE, "x", state={"type": state, "name": state, "seq": 9})
        cell.settle()
        assert not y.using


def test_a_limit_of_0_and_one_too_small_are_errors_of_who_waits() -> None:
    cell = Cell(db=1, api=1)
    x, y = cell.start("x"), cell.start("y")
    x.ask(("db",))
    cell.settle()
    y.ask(("db",))
    y.ask(("api",), 2)
    cell.set("db", 0)
    cell.settle()
    assert (y.refused, len(x.using)) == (2, 1)
    x.release(0)
    cell.set("db", 1)
    y.ask(("db",))
    cell.settle()
    assert len(y.using) == 1, "what was refused may be asked for again"


def test_who_waits_for_a_limit_that_is_deleted_waits_no_more() -> None:
    cell = Cell(db=1)
    x, y = cell.start("x"), cell.start("y")
    x.ask(("db",))
    cell.settle()
    y.ask(("db",))
    cell.settle()
    cell.ceilings.clear()
    cell.cluster.remove(CONCURRENCY_LIMITS, NAMESPACE, "db")
    cell.settle()
    assert y.using


def test_use_of_a_rate_is_written_before_it_is_granted_and_outlives_the_operator() -> None:
    cell = Cell(api={"limit": 5, "slotDecayPerSecond": 1.0})
    x = cell.start("x")
    for _ in range(9):
        x.ask(("api",), once=True)
    cell.settle()
    assert cell.called == 5
    assert cell.status("api")["rate"]["taken"] == 6.0, "a second ahead"
    cell.restart()
    cell.settle()
    assert cell.called == 5
    cell.clock.advance(3)
    cell.settle()
    assert cell.called == 7, "what was written ahead counts as used"
    cell.cluster.fault = lambda: "lost"
    cell.clock.advance(10)
    with pytest.raises(Unavailable):
        cell.reconcile()
    cell.cluster.fault = lambda: "done"
    cell.settle()
    assert cell.called == 9


def test_a_rate_is_reset_once() -> None:
    cell = Cell(api={"limit": 1, "slotDecayPerSecond": 0.001})
    x = cell.start("x")
    for _ in range(3):
        x.ask(("api",), once=True)
    cell.settle()
    assert cell.called == 1
    cell.clock.advance(1)
    ops = [
        {"op": "add", "path": "/metadata/annotations", "value": {"penstock.dev/reset-at": format_time(cell.clock())}}
    ]
    at_once(MemoryCluster.patch(cell.cluster, CONCURRENCY_LIMITS, NAMESPACE, "api", ops))
    cell.clock.advance(1)
    cell.settle()
    cell.restart()
    cell.settle()
    assert cell.called == 2


def test_a_grant_whose_answer_was_lost_counts_as_given() -> None:
    cell = Cell(db=1)
    x, y = cell.start("x"), cell.start("y")
    for process in (x, y):
        process.ask(("db",))
        process.write()
    cell.cluster.fault = lambda: "late"
    with pytest.raises(Unavailable):
        cell.reconcile()
    cell.cluster.fault = lambda: "done"
    cell.reconcile()
    cell.cluster.arrive(0)
    cell.settle()
    assert (len(x.using), len(y.using)) == (1, 0), "nobody else has it meanwhile"
    x.release(0)
    cell.settle()
    assert (len(x.using), len(y.using)) == (0, 1)


FAULTS = st.sampled_from(["done", "done", "done", "done", "unanswered", "lost", "late"])


class Protocol(RuleBasedStateMachine):
    """Processes that ask and give back, an operator with a cache that lags, and writes that go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.names = iter(f"run-{n}" for n in range(1000))

    @initialize()
    def begin(self) -> None:
        self.cell = Cell(a=2, b=1, r={"limit": 3, "slotDecayPerSecond": 1.0})
        for _ in range(3):
            self.cell.start(next(self.names))

    def process(self, data: st.DataObject) -> Process:
        return data.draw(st.sampled_from(self.cell.processes))

    @rule(
        data=st.data(),
        names=st.sampled_from([("a",), ("b",), ("a", "b"), ("a",)]),
        occupy=st.integers(1, 2),
        n=st.integers(1, 4),
    )
    def ask(self, data: st.DataObject, names: tuple[str, ...], occupy: int, n: int) -> None:
        process = self.process(data)
        for _ in range(n):
            process.ask(names, occupy)

    @rule(data=st.data(), n=st.integers(1, 4))
    def call(self, data: st.DataObject, n: int) -> None:
        process = self.process(data)
        for _ in range(n):
            process.ask(("r",), once=True)

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        process = self.process(data)
        if process.using:
            process.release(data.draw(st.integers(0, len(process.using) - 1)))

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        process = self.process(data)
        if process.waiting:
            process.give_up(data.draw(st.integers(0, len(process.waiting) - 1)))

    @rule(data=st.data(), how=FAULTS)
    def write(self, data: st.DataObject, how: str) -> None:
        self.process(data).write(how)

    @rule(data=st.data())
    def hear(self, data: st.DataObject) -> None:
        self.process(data).hear()

    @rule(data=st.data(), hears=st.booleans())
    def reconcile(self, data: st.DataObject, hears: bool) -> None:
        self.cell.cluster.fault = lambda: data.draw(FAULTS)
        try:
            self.cell.reconcile(hears=hears)
        except (Unavailable, Invalid, NotFound):
            pass
        finally:
            self.cell.cluster.fault = lambda: "done"

    @precondition(lambda self: self.cell.cluster.late)
    @rule(data=st.data())
    def arrive(self, data: st.DataObject) -> None:
        self.cell.cluster.arrive(data.draw(st.integers(0, len(self.cell.cluster.late) - 1)))

    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        self.cell.end(self.process(data))
        self.cell.start(next(self.names))

    @rule()
    def another_operator(self) -> None:
        """It begins when what the one before it had sent has arrived or never will: a lease sees to that."""
        self.cell.cluster.late = [w for w in self.cell.cluster.late if w[3][-1]["path"] == "/status/claims"]
        self.cell.restart()

    @rule(name=st.sampled_from(["a", "b"]), slots=st.integers(0, 3))
    def change(self, name: str, slots: int) -> None:
        self.cell.set(name, slots)

    @rule(seconds=st.sampled_from([0.1, 0.6, 1.5, 70.0]))
    def wait(self, seconds: float) -> None:
        self.cell.clock.advance(seconds)
        for process in self.cell.processes:
            process.tick()

    @rule()
    def grants_are_late(self) -> None:
        """What is granted in one pass arrives after the next."""
        for process in self.cell.processes:
            process.write()
        for how in ("late", "done"):
            self.cell.cluster.fault = lambda how=how: how
            with contextlib.suppress(Unavailable, Invalid, NotFound):
                self.cell.reconcile()
        self.cell.cluster.fault = lambda: "done"
        while self.cell.cluster.late:
            self.cell.cluster.arrive(0)
        for process in self.cell.processes:
            process.hear()

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        self.cell.check()
        self.cell.lower()
        assert self.cell.called <= 3 + self.cell.seconds + 1e-6, "calls of a rate"

    def teardown(self) -> None:
        """Once nothing goes wrong any more, everybody is served and everything comes back."""
        cell = self.cell
        while cell.cluster.late:
            cell.cluster.arrive(0)
        for name in ("a", "b"):
            cell.set(name, 4)
        for _ in range(400):
            if not any(p.waiting or p.using for p in cell.processes):
                break
            for process in cell.processes:
                while process.using:
                    process.release(0)
            cell.clock.advance(1.1)
            try:
                cell.settle()
            except (Invalid, NotFound):
                continue
        assert not any(p.waiting or p.using for p in cell.processes), [len(p.waiting) for p in cell.processes]
        cell.clock.advance(5)
        for process in cell.processes:
            process.tick()
        cell.settle()
        cell.clock.advance(5)
        cell.settle()
        for process in cell.processes:
            status = cell.cluster.objects[("flowruns", NAMESPACE, process.name)]["status"]
            assert not status.get("claims", {}).get("claims"), status["claims"]
        assert (cell.status("a").get("active", 0), cell.status("b").get("active", 0)) == (0, 0)


TestProtocol = Protocol.TestCase
TestProtocol.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_fault_at_any_write_leaves_the_same_granted(fault: Fault) -> None:
    """Slots of a limit go from hand to hand, and tokens of a rate are used up: nothing is granted twice, or kept."""

    def live(disturb: Callable[[Acts], None]) -> tuple[Any, list[Write]]:
        cell = Cell(db=1, api={"limit": 3, "slotDecayPerSecond": 1.0})
        x, y, z = (cell.start(name) for name in "xyz")
        disturb(cell.operator)

        def rounds() -> None:
            for _ in range(6):
                cell.clock.advance(2)
                for process in cell.processes:
                    process.tick()
                    process.write()
                try:
                    cell.reconcile()
                except Killed:
                    cell.restart()
                except ApiError:
                    pass
                for process in cell.processes:
                    process.hear()

        order = []
        x.ask(("db",))
        rounds()
        for process in (y, z):
            process.ask(("db",))
            rounds()
        for process in (x, y, z):
            order.append([len(each.using) for each in (x, y, z)])
            process.release(0)
            rounds()
        for _ in range(5):
            x.ask(("api",), once=True)
        rounds()
        shown = [{key: cell.status(name)[key] for key in ("active", "queued", "claims")} for name in ("db", "api")]
        held = [(len(each.using), len(each.waiting), each.refused) for each in (x, y, z)]
        assert order == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
        return (shown, held, cell.called, cell.granted("db"), cell.granted("api")), cell.operator.writes

    same_at_any_write(live, fault)
