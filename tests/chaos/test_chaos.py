"""Runs of every sort on a real node whose parts are killed and cut off: afterwards all that must hold does.

`PENSTOCK_CHAOS_SEED` repeats what was done and when; `PENSTOCK_CHAOS_RUNS` and `PENSTOCK_CHAOS_GAP` say how many runs
are made and how many seconds lie between two faults, `PENSTOCK_CHAOS_SECONDS` for how long runs are made at most.
`make chaos` makes hundreds of runs.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from api_client import ApiClient, Refused
from chaos.faults import Injector, plan
from chaos.invariants import Mark, violations
from chaos.limits import over_limits, uncounted
from chaos.workload import ANSWER, CODE_LIMIT, Submission, limited, manifests, submissions
from installation import ROOT, penstock
from penstock.api.states import TERMINAL
from penstock_cluster import node, supervisor
from penstock_cluster.layout import Layout

__all__ = ["penstock"]

pytestmark = pytest.mark.e2e

Json = dict[str, Any]

NAMESPACE = "penstock-chaos"
SEED = int(os.environ.get("PENSTOCK_CHAOS_SEED") or random.randrange(1_000_000))
RUNS = int(os.environ.get("PENSTOCK_CHAOS_RUNS", "24"))
GAP = float(os.environ.get("PENSTOCK_CHAOS_GAP", "7"))
SECONDS = float(os.environ.get("PENSTOCK_CHAOS_SECONDS", "3600"))  # after which no more runs are made
AT_ONCE = 7  # runs that are not settled: more than the limits let through, and no more than two cores bear
CALM = 420.0  # seconds within which all has settled once nothing more is broken


class Chaos:
    """The namespace, the user in it, and what is done to the node."""

    def __init__(self, layout: Layout, admin: ApiClient) -> None:
        self.admin, self.folder = admin, layout.state / "marks"
        self.injector = Injector(layout, admin, NAMESPACE)
        self.start = time.monotonic()
        self.cancelled: set[str] = set()
        self.suspended: set[str] = set()
        self.answered: set[str] = set()

    def persist(self, request: Callable[[], Json]) -> Json:
        """The answer, however often it takes: the API server is away now and then."""
        deadline = time.monotonic() + 180
        while True:
            try:
                return request()
            except (httpx.HTTPError, Refused, ValueError) as error:
                code = getattr(error, "code", 0)
                if code in (404, 409):
                    return {}
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def runs(self) -> list[Json]:
        """All runs."""
        found: list[Json] = self.persist(lambda: self.admin.list("FlowRun", NAMESPACE)).get("items", [])
        return found

    def submit(self, wanted: Submission) -> None:
        """Create a run; made twice it is one."""
        body = wanted.body
        body["metadata"]["namespace"] = NAMESPACE
        self.persist(lambda: self.admin.create(body))

    def cancel_those_that_are_due(self, wanted: dict[str, Submission], runs: list[Json]) -> None:
        """Ask for the end of runs that have been going on for as long as they should."""
        for body in runs:
            name, status = body["metadata"]["name"], body.get("status") or {}
            after = wanted[name].cancel_after if name in wanted else None
            begun = status.get("acceptedTime")
            if after is None or name in self.cancelled or not begun or status.get("settled"):
                continue
            if time.time() - _seconds(begun) >= after:
                self.cancelled.add(name)
                self.ask(name, {"cancel": True})

    def stop_and_answer(self, wanted: dict[str, Submission], runs: list[Json]) -> None:
        """Stop those that are due, let go on what has stopped, and answer whoever waits."""
        for body in runs:
            name, spec, status = body["metadata"]["name"], body["spec"], body.get("status") or {}
            after = wanted[name].suspend_after if name in wanted else None
            begun, state, pause = status.get("acceptedTime"), status.get("state") or {}, status.get("pause")
            if not begun or status.get("settled"):
                continue
            if after is not None and name not in self.suspended and time.time() - _seconds(begun) >= after:
                self.suspended.add(name)
                self.ask(name, {"suspend": True})
            elif spec.get("suspend") and "Suspend" in f"{state.get('name')} {state.get('reason')}":
                self.ask(name, {"suspend": False})
            elif state.get("type") == "Paused" and pause and "schema" in pause and not spec.get("suspend"):
                answer = {"pause": pause["id"], "input": ANSWER}
                if spec.get("resume") != answer:
                    self.answered.add(name)
                    self.ask(name, {"resume": answer})

    def ask(self, name: str, spec: Json) -> None:
        """Write something into the spec of a run."""
        self.persist(lambda: self.admin.merge("FlowRun", NAMESPACE, name, {"spec": spec}))

    def play(self, wanted: list[Submission]) -> None:
        """Make the runs, a few at a time, while faults happen, until the last is made and all are settled.

        What is left of `wanted` was made.
        """
        by_name, left = {one.name: one for one in wanted}, list(wanted)
        faults = plan(SEED, SECONDS + 60, GAP)
        calm = None
        while True:
            runs = self.runs()
            live = [body for body in runs if not (body.get("status") or {}).get("settled")]
            self.cancel_those_that_are_due(by_name, runs)
            self.stop_and_answer(by_name, runs)
            if left and time.monotonic() - self.start > SECONDS:
                del wanted[-len(left) :], left[:]
            for _ in range(min(AT_ONCE - len(live), len(left))):
                self.submit(left.pop(0))
            if left and faults[0].at <= time.monotonic() - self.start:
                self.injector.do(faults.pop(0))
            if not left and calm is None:
                self.injector.heal()
                calm = time.monotonic()
            if not left and not live and len(runs) >= len(wanted):
                return
            if calm is not None and time.monotonic() - calm > CALM:
                return  # the invariants will say what is stuck
            time.sleep(0.3)

    def miscounted(self) -> list[str]:
        """What pools and limits count that is not, however long one waits; counts are written now and then."""
        deadline = time.monotonic() + 60
        while True:
            kinds = ("WorkPool", "ConcurrencyLimit")
            lists = [self.persist(lambda kind=kind: self.admin.list(kind, NAMESPACE)) for kind in kinds]  # type: ignore[misc]
            found = uncounted(
                {**body, "kind": kind} for kind, answer in zip(kinds, lists, strict=True) for body in answer["items"]
            )
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(1)

    def marks(self) -> list[Mark]:
        """What user code wrote."""
        file = self.folder / "marks"
        return Mark.read(file.read_text()) if file.exists() else []


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


@pytest.fixture
def chaos(penstock: Any) -> Iterator[Chaos]:
    """A namespace whose pods may see a folder of the node, which is whole again at the end."""
    layout = Layout(ROOT)
    if not (layout.state / "parts.json").exists():
        pytest.fail("faults need the node of this checkout: run `make install` where no Docker is")
    (layout.state / "marks").mkdir(exist_ok=True)
    (layout.state / "marks").chmod(0o777)
    (layout.state / "marks" / "marks").unlink(missing_ok=True)
    helm, kubectl = str(ROOT / ".cluster/bin/helm"), str(ROOT / ".cluster/bin/kubectl")
    with ApiClient(layout.kubeconfig) as admin:
        meta = {"name": NAMESPACE}
        with contextlib.suppress(Refused):
            admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
        options = ("--set", f"runs.namespaces={{{NAMESPACE}}}", "--set", "workPools=null")
        words = ("template", "penstock", "charts/penstock", "--show-only", "templates/runs.yaml", *options)
        chart = penstock.command(helm, *words, "--skip-schema-validation").stdout
        penstock.command(kubectl, "apply", "--filename", "-", stdin=chart)
        for body in manifests(str(layout.state / "marks")):
            body["metadata"]["namespace"] = NAMESPACE
            admin.apply(body)
        found = Chaos(layout, admin)
        try:
            yield found
        finally:
            found.injector.heal()
            node.up(layout)
            penstock.command(
                *(kubectl, "--namespace", "penstock-system", "wait", "--for=condition=Available", "--timeout=110s"),
                *("deployment", "--all"),
            )
            penstock.command(kubectl, "delete", "namespace", NAMESPACE, "--wait=false")


def writes_after_waking(audit: list[Json], leader: str, woken: float) -> Counter[str]:
    """What an operator that had lost its lease got through, by what became of it: accepted, or refused with a code.

    Counted until it writes the Lease again, by which time it acts by right, or 30 seconds.
    """
    found: Counter[str] = Counter()
    for entry in sorted(audit, key=lambda entry: entry["requestReceivedTimestamp"]):
        at = _seconds(entry["requestReceivedTimestamp"])
        pod = ((entry["user"].get("extra") or {}).get("authentication.kubernetes.io/pod-name") or [""])[0]
        what = entry.get("objectRef") or {}
        if pod != leader or not woken <= at <= woken + 30 or what.get("resource") == "events":
            continue
        code = (entry.get("responseStatus") or {}).get("code", 0)
        if what.get("resource") == "leases":
            if code < 300:
                break
            continue
        found["accepted" if code < 300 else f"refused with {code}"] += 1
    return found


@pytest.mark.timeout(7200)
def test_all_that_must_hold_does_after_everything_was_killed(chaos: Chaos) -> None:
    wanted = submissions(SEED, RUNS)
    print(f"\nPENSTOCK_CHAOS_SEED={SEED} PENSTOCK_CHAOS_RUNS={RUNS} PENSTOCK_CHAOS_GAP={GAP:g}")
    chaos.play(wanted)
    runs, marks = chaos.runs(), chaos.marks()
    pods = chaos.persist(lambda: chaos.admin.list("Pod", NAMESPACE)).get("items", [])
    ends = Counter((body.get("status") or {}).get("state", {}).get("type", "none") for body in runs)
    attempts = Counter((body.get("status") or {}).get("attempt", 0) for body in runs if "parent" not in body["spec"])
    lost = Counter(
        entry["reason"]
        for body in runs
        for entry in body["status"].get("history", [])
        if entry["name"] == "AwaitingRetry"
    )
    print(f"{len(runs)} runs, {len(wanted)} of them submitted, in {time.monotonic() - chaos.start:.0f} s: {dict(ends)}")
    print(f"{len(chaos.injector.log)} faults; attempts by run: {dict(sorted(attempts.items()))}; lost: {dict(lost)}")
    asked = f"cancelled: {len(chaos.cancelled)}, suspended: {len(chaos.suspended)}, answered: {len(chaos.answered)}"
    print(f"{len(marks)} marks of user code; {asked}; load {os.getloadavg()[0]:.1f}")
    restarts = {name: count for name, _, count in supervisor.table(Layout(ROOT).state) if count}
    print(f"restarts of the node's parts: {restarts}")
    if chaos.injector.leaders:
        logs = sorted((ROOT / ".cluster").glob("audit*.log"))  # the older one, where it was rotated, and the current
        audit = [json.loads(line) for log in logs for line in log.read_text().splitlines() if line.endswith("}")]
        for leader, woken in chaos.injector.leaders:
            found = writes_after_waking(audit, leader, woken)
            print(f"leader {leader}, stopped past its lease, once woken: {dict(found) or 'no write'}")
    found = violations({one.name: one.wanted for one in wanted}, runs, pods, marks)
    found += over_limits(marks, limited(wanted), CODE_LIMIT) + chaos.miscounted()
    stories = [json.dumps(body["status"], indent=1) for body in runs if any(_of(body, what) for what in found)]
    assert not found, "\n".join([f"seed {SEED}", *found, *stories])
    assert ends.keys() <= {str(type_) for type_ in TERMINAL}


def _of(body: Json, violation: str) -> bool:
    return violation.startswith(f"{body['metadata']['name']}: ")
