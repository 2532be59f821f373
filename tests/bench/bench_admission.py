"""What admission takes of the operator's loop: a pass over everything, and a freed slot, against a plain scan.

No cluster is needed. The peer keeps no order: for a freed slot it sorts who waits, and takes the first that fits.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from penstock_operator.controller.slots import Slots
from penstock_operator.core.admission import Books, Limit, Order, Waiting, admit
from penstock_operator.core.views import RunView
from penstock_operator.reconcile.sources import Key

Json = dict[str, Any]
QUEUES, QUEUED, SLOTS = 100, 10_000, 200
POOL = Limit("WorkPool", "team", "pool")


def waiting(count: int, *, deployments: int = 0) -> list[Waiting]:
    """Runs of 100 queues, each with a limit of its own, all in one pool; also of so many deployments, with theirs."""
    found = []
    for n in range(count):
        queue = Limit("WorkQueue", "team", f"queue-{n % QUEUES}")
        deployment = (Limit("FlowDeployment", "team", f"d-{n % deployments}"),) if deployments else ()
        order = Order(1 + n % 7, 1 + n % 5, float(n), float(n), float(n), f"uid-{n}")
        found.append(Waiting(order, (*deployment, queue, POOL)))
    return found


def filled(runs: list[Waiting]) -> Books:
    books = Books()
    books.bound(POOL, SLOTS)
    for number in range(QUEUES):
        books.bound(Limit("WorkQueue", "team", f"queue-{number}"), 5)
    for run in runs:
        if run.limits[0].kind == "FlowDeployment":
            books.bound(run.limits[0], 3)
        books.wait(run)
    return books


def once(books: Books) -> int:
    count = 0
    while books.stirred:
        verdict = admit(books, 0.0)
        books.apply(verdict, 0.0)
        count += len(verdict.admitted)
    return count


def scanned(runs: list[Waiting], bounds: dict[Limit, int]) -> int:
    """The peer: everybody in order, whoever fits."""
    taken: Counter[Limit] = Counter()
    count = 0
    for run in sorted(runs, key=lambda each: each.order):
        if all(taken[limit] < bounds.get(limit, 1 << 30) for limit in run.limits):
            taken.update(run.limits)
            count += 1
    return count


def timed(what: Callable[[], Any], times: int = 5) -> float:
    """Milliseconds of the quickest of some tries, which is what it takes when nobody else works here."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        what()
        found.append((time.perf_counter() - begin) * 1e3)
    return min(found)


def bench_one_pass_over_all_that_wait() -> None:
    for deployments in (0, 5000):
        runs = waiting(QUEUED, deployments=deployments)
        times = []
        for _ in range(5):
            books = filled(runs)
            begin = time.perf_counter()
            admitted = once(books)
            times.append((time.perf_counter() - begin) * 1e3)
        scan = timed(lambda runs=runs, books=books: scanned(runs, books.bounds))
        print(
            f"\n{QUEUED} runs in {QUEUES} queues, {len(books.lines)} lines ({deployments} deployments): a pass that "
            f"admits {admitted} takes {min(times):.1f} ms; a scan of all {scan:.1f} ms ({min(times) / scan:.2f} of it)"
        )


def bench_a_freed_slot() -> None:
    for count in (1000, 10_000, 100_000):
        for deployments in (0, 5000):
            runs = waiting(count, deployments=deployments)
            books = filled(runs)
            once(books)
            taken = []
            for _ in range(500):
                uid = next(iter(books.holding))
                begin = time.perf_counter()
                books.leave(uid)
                assert once(books) == 1
                taken.append((time.perf_counter() - begin) * 1e6)
            scan = timed(lambda runs=runs, books=books: scanned(runs, books.bounds), 2) * 1e3
            print(
                f"\n{count} queued, {deployments} deployments: a freed slot and its successor take "
                f"p50 {statistics.median(taken):.0f} µs, p99 {statistics.quantiles(taken, n=100)[98]:.0f} µs; "
                f"a scan {scan:.0f} µs ({statistics.median(taken) / scan:.4f} of it)"
            )


def bench_lines_that_move_from_limit_to_limit() -> None:
    """5,000 deployments in one queue, and now and then runs of another that are before them, in a pool with room for
    little more than one of the queues: where a limit has room and another has not, all lines move to that one."""
    books, chance, number = Books(), random.Random(1), 0
    queues = [Limit("WorkQueue", "team", name) for name in ("many", "first")]
    books.bound(POOL, 6)
    for queue in queues:
        books.bound(queue, 5)

    def asks(deployment: int, queue: int) -> None:
        nonlocal number
        number += 1
        limit = Limit("FlowDeployment", "team", f"d-{deployment}")
        books.bound(limit, 3)
        order = Order(2 - queue, 1, float(number), float(number), float(number), f"uid-{number}")
        books.wait(Waiting(order, (limit, queues[queue], POOL)))

    for deployment in range(5000):
        asks(deployment, 0)
    once(books)
    taken, moved = [], []
    for _ in range(1500):
        uid = chance.choice(sorted(books.holding))
        deployment, queue, _ = books.holding[uid]
        before = dict(books.stands)
        begin = time.process_time()
        books.leave(uid)
        once(books)
        taken.append((time.process_time() - begin) * 1e6)
        moved.append(sum(before.get(line) != stop for line, stop in books.stands.items()))
        if queue == queues[0]:
            asks(int(deployment.name[2:]), 0)
        if not books.queued[queues[1]] and chance.random() < 0.1:
            for extra in range(5):
                asks(5000 + extra, 1)
        once(books)
    print(
        f"\n5000 lines of one queue, beside another: a freed slot takes p50 {statistics.median(taken):.0f} µs, mean "
        f"{statistics.fmean(taken):.0f} µs, p99 {statistics.quantiles(taken, n=100)[98]:.0f} µs, at most "
        f"{max(taken):.0f} µs, where {max(moved)} lines move; {sum(n > 100 for n in moved)} of {len(taken)} move many"
    )


def body(n: int) -> Json:
    """A run as it waits when a term begins."""
    state = {"type": "Scheduled", "name": "AwaitingConcurrencySlot", "reason": "WorkPoolFull", "seq": 1}
    meta = {
        "name": f"run-{n}",
        "namespace": "team",
        "uid": f"uid-{n}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "labels": {"team": f"t{n % QUEUES}"},
    }
    return {"metadata": meta, "spec": {"deploymentRef": {"name": f"d-{n % 5000}"}}, "status": {"state": state}}


def rules(slots: Slots) -> None:
    pool = {"type": "Pod", "concurrencyLimit": SLOTS}
    slots.rules.put("WorkPool", _object("pool", pool))
    for n in range(QUEUES):
        selector = {"matchLabels": {"team": f"t{n}"}}
        spec = {"workPoolRef": {"name": "pool"}, "priority": 1 + n % 7, "concurrencyLimit": 5, "selector": selector}
        slots.rules.put("WorkQueue", _object(f"queue-{n}", spec))
    for n in range(5000):
        slots.rules.put("FlowDeployment", _object(f"d-{n}", {"flowRef": {"name": "f"}, "workPool": "pool"}))


def _object(name: str, spec: Json) -> Json:
    return {"metadata": {"name": name, "namespace": "team", "resourceVersion": "1"}, "spec": spec}


def bench_a_term_begins() -> None:
    bodies = [RunView(body(n)) for n in range(QUEUED)]
    named: list[Key] = []
    slots = Slots(lambda: datetime(2026, 1, 1, 1, tzinfo=UTC), named.append)
    rules(slots)
    begin = time.perf_counter()
    for run in bodies:
        slots.recall(run)
    placed = time.perf_counter()
    slots.open()
    opened = time.perf_counter()
    print(
        f"\n{QUEUED} runs that wait are found their queues (100, by selector) in {(placed - begin) * 1e3:.0f} ms, once "
        f"a term; the pass that admits {len(named)} of them takes {(opened - placed) * 1e3:.1f} ms"
    )


def bench_a_run_of_a_pool_without_limits() -> None:
    """What the books take of a run that nobody limits: asked for, launched, claimed, ended, settled."""
    slots = Slots(lambda: datetime(2026, 1, 1, 1, tzinfo=UTC), lambda _: None)
    slots.rules.put("WorkPool", _object("pool", {"type": "Pod"}))
    slots.open()
    resolved = {"pool": {"name": "pool"}, "poolType": "Pod", "deployment": {"name": "d-1"}}
    taken = []
    for n in range(2000):
        asking = body(n)
        states = [
            {**asking, "status": {"attempt": 1, "resolved": resolved, "state": {"type": type_, "name": type_}}}
            for type_ in ("Pending", "Running", "Completed", "Completed")
        ]
        states[-1]["status"]["settled"] = True
        begin = time.perf_counter()
        slots.ask(RunView(asking), "pool")
        for state in states:
            slots.observe(RunView(state), gone=state is states[-1])
        taken.append((time.perf_counter() - begin) * 1e6)
    assert not slots.books.holding
    print(f"\na run that nothing limits takes p50 {statistics.median(taken):.0f} µs of the loop, in five looks at it")
