"""Slots of ConcurrencyLimits for the code of a run: claimed in its status, granted there by the operator.

The giver of slots in a pod (`concurrency.claims.Slots`). A thread of its own writes what the process claims, another
watches the run while it claims anything; user code and event loops only ever wait for a `Claim`. Limits of the process
itself hold for names that no ConcurrencyLimit has.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING, Any

from ..api import labels, names
from ..api.bounds import MAX_CLAIM_NAMES
from ..api.states import StateType
from ..concurrency.claims import Claim
from ..concurrency.decision import refusal
from ..concurrency.limits import Limit
from ..concurrency.local import LocalSlots
from ..concurrency.sharing import Shares
from ..errors import ConcurrencySlotAcquisitionError
from ..waiting import Once
from .connection import JSON_PATCH, Api, Unreachable
from .connections import pauses
from .status import Fenced, say, timestamp
from .watching import Watch

if TYPE_CHECKING:
    from .assignment import Assignment

FRESH = 10.0  # seconds for which it is believed which limits there are
FRESH_REFUSAL = 1.0  # and for which a limit that allows nothing is
WATCHES_ON = 10.0  # seconds that the run is watched after the last claim
LAST_WRITE = 2.0  # seconds that the end of the run waits for a write under way
TAG = "tag:"


class _SlotClaim(Claim):
    """A claim of slots of the cluster, of this process, or of both."""

    __slots__ = ("inner", "key", "rate", "released", "rest", "strict")

    def __init__(self, giver: RunSlots, id: int, names: tuple[str, ...], occupy: int, rate: bool, strict: bool) -> None:
        super().__init__(giver, id, names, occupy)
        self.rate, self.strict = rate, strict
        self.rest: tuple[str, ...] = ()  # names that the cluster does not limit
        self.inner: Claim | None = None  # of those, by this process
        self.released = False


class _Limits:
    """The ConcurrencyLimits of the namespace as they were listed."""

    def __init__(self, items: Sequence[dict[str, Any]], at: float) -> None:
        self.at = at
        self.by_name: dict[str, Limit] = {}
        self.by_tag: dict[str, list[str]] = {}
        self.of_runs: dict[str, str] = {}  # those that admission holds runs to, and their tags
        for item in items:
            name, spec = item["metadata"]["name"], item["spec"]
            if spec.get("tag"):
                self.of_runs[name] = spec["tag"]
                continue
            self.by_name[name] = Limit(name, spec["limit"], float(spec.get("slotDecayPerSecond") or 0))
            if spec.get("taskTag"):
                self.by_tag.setdefault(TAG + spec["taskTag"], []).append(name)

    def refusal(self, wanted: Sequence[str]) -> str | None:
        """Why code takes no slots of these."""
        for name in wanted:
            tag = None if name.startswith(TAG) else self.of_runs.get(names.concurrency_limit(name))
            if tag is not None:
                return f"concurrency limit {name!r} counts runs with the tag {tag!r}, not code: create another"
        return None

    def of(self, name: str) -> list[str]:
        """The limits that code means by a name."""
        if name.startswith(TAG):
            return self.by_tag.get(name, [])
        found = names.concurrency_limit(name)
        return [found] if found in self.by_name else []


class RunSlots:
    """Implements `claims.Slots` for one attempt. `lost` is called when the run is seen to be another's."""

    answers_within = 5.0

    def __init__(self, api: Api, assignment: Assignment, lost: Callable[[], object]) -> None:
        self._api, self._at, self._tell_lost = api.another(), assignment, lost
        self._local = LocalSlots(remedy=_remedy)
        self._changed = threading.Condition()
        self._numbers = count()
        self._shares = Shares()
        self._limits: _Limits | None = None
        self._looked, self._look_wanted = Once(), True
        self._unresolved: list[_SlotClaim] = []
        self._number, self._granted = 0, -1  # of the last write of claims, and of the last grants that were seen
        self._watch: Watch | None = None
        self._quiet_since = time.monotonic()
        self._why_lost: str | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        self._wakes_at = -math.inf  # when the thread looks again by itself; while it works, it does when it is done

    @property
    def local(self) -> LocalSlots:
        return self._local

    # Slots, for user code and the engine, in any thread.

    def ask(
        self,
        names: Sequence[str],
        occupy: int,
        *,
        rate: bool,
        strict: bool,
        lease_seconds: float,  # noqa: ARG002 - slots end with the attempt
        holder: str | None,  # noqa: ARG002
    ) -> Claim:
        """A claim, granted at once where this process has room."""
        claim = _SlotClaim(self, next(self._numbers), tuple(dict.fromkeys(names)), occupy, rate, strict)
        with self._changed:
            self._quiet_since = time.monotonic()
            if not self._resolve(claim):
                self._unresolved.append(claim)
                self._look_wanted = True
            self._wake_worker()
        self._wake_claims()
        return claim

    def release(self, claim: Claim) -> None:
        """Take slots back, or the claim out of the queue."""
        assert isinstance(claim, _SlotClaim)
        with self._changed:
            claim.released, self._quiet_since = True, time.monotonic()
            inner, claim.inner = claim.inner, None
            if claim in self._unresolved:
                self._unresolved.remove(claim)
            self._shares.release(claim, time.monotonic(), timestamp(time.time()))
            self._wake_worker()
        if inner is not None:
            inner.release()
        self._wake_claims()

    def known(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that have a limit, here or in the cluster."""
        limits = self._limits  # without the lock, for which the tasks of a map would queue
        found = [name for name in names if limits is not None and limits.of(name)]
        if limits is None or time.monotonic() > limits.at + FRESH:
            with self._changed:
                self._look_wanted = True
                self._wake_worker()
        here = self._local.known(names)
        return tuple(name for name in names if name in found or name in here)

    def looking(self) -> Once | None:
        """Until it happens, it is not known yet which limits there are."""
        if self._limits is not None:
            return None
        with self._changed:
            self._wake_worker()
        return self._looked

    # For the runner.

    def check(self) -> None:
        """Return where nothing says that the run is another's. Raises Fenced."""
        if self._why_lost is not None:
            raise Fenced(self._why_lost)

    def close(self) -> None:
        """Write no more claims."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            watch, thread = self._watch, self._thread
        if watch is not None:
            watch.close()
        if thread is not None:
            thread.join(LAST_WRITE)

    # What becomes of a claim; with the lock held.

    def _resolve(self, claim: _SlotClaim) -> bool:
        """Decide which limits a claim is of; False where that must be looked up first."""
        if self._why_lost is not None:
            claim.error = ConcurrencySlotAcquisitionError(f"the run is not this process' any more: {self._why_lost}")
        elif self._closed:
            claim.error = ConcurrencySlotAcquisitionError("the run has ended: nothing is granted any more")
        if claim.error is not None:
            self._shares.woken.append(claim)
            return True
        if self._limits is None:
            return False
        limits, age = self._limits, time.monotonic() - self._limits.at
        self._look_wanted = self._look_wanted or age > FRESH
        found = {name: limits.of(name) for name in claim.names}
        mine = tuple(sorted({limit for every in found.values() for limit in every}))
        claim.rest = tuple(name for name in claim.names if not found[name])
        unknown = [name for name in claim.rest if name not in self._local.known(claim.rest)]
        if age > FRESH and any(not name.startswith(TAG) for name in unknown):
            return False
        why = limits.refusal(claim.rest) or refusal(limits.by_name, mine, claim.occupy, rate=claim.rate)
        if why is None and len(mine) > MAX_CLAIM_NAMES:
            why = f"{len(mine)} limits at once, of which at most {MAX_CLAIM_NAMES} are taken together: name fewer"
        if why is not None and age > FRESH_REFUSAL:
            return False
        if why is None and claim.strict and unknown:
            why = self._local.missing(unknown, claim.rate)
        if why is not None:
            claim.error = ConcurrencySlotAcquisitionError(why)
            self._shares.woken.append(claim)
            return True
        if not mine:
            self._shares.woken.append(claim)
            return True
        rates = any(limits.by_name[name].decays for name in mine)
        key = (mine, claim.occupy, rates, claim.rate)
        self._shares.ask(claim, key, time.monotonic(), timestamp(time.time()))
        return True

    def _wake_claims(self) -> None:
        """Wake those who were served or refused; without the lock, for it runs what waits for them."""
        if not self._shares.woken:
            return  # or whoever adds some meanwhile wakes them
        with self._changed:
            woken, self._shares.woken = self._shares.woken, []
        for claim in woken:
            assert isinstance(claim, _SlotClaim)
            if claim.rest and claim.error is None and not claim.released:
                self._take_here(claim)
            else:
                claim.happen()

    def _take_here(self, claim: _SlotClaim) -> None:
        """What the cluster does not limit is taken of this process, which also warns of what nobody limits."""
        inner = self._local.ask(
            claim.rest, claim.occupy, rate=claim.rate, strict=claim.strict, lease_seconds=0.0, holder=None
        )
        with self._changed:
            claim.inner, gone = inner, claim.released

        def done() -> None:
            claim.error = inner.error
            claim.happen()

        if gone:
            inner.release()
        inner.add_callback(done)

    def _wake_worker(self) -> None:
        """Have the thread look at what there is to do, unless it is nothing, or nothing before it looks anyway."""
        if self._thread is None and not self._closed:
            self._thread = threading.Thread(target=self._work, name="penstock-slots", daemon=True)
            self._thread.start()
        due = self._shares.due()
        if self._look_wanted or self._shares.news() or (due is not None and due < self._wakes_at):
            self._changed.notify_all()

    # The thread that writes.

    def _work(self) -> None:
        waits = pauses()
        while True:
            with self._changed:
                if self._closed:
                    break
                due = self._shares.tick(time.monotonic(), timestamp(time.time()))
                look = self._look_wanted
                claims = None if self._why_lost else self._shares.to_tell()
                if not look and claims is None and not self._shares.woken:
                    idle = self._idle(due)
                    self._wakes_at = math.inf if idle is None else time.monotonic() + idle
                    self._changed.wait(idle)
                    self._wakes_at = -math.inf
                    continue
            self._wake_claims()
            try:
                if look:
                    self._look_up()
                if claims is not None:
                    self._write()
                waits = pauses()
            except Unreachable:
                time.sleep(next(waits))
        self._api.close()

    def _idle(self, due: float | None) -> float | None:
        """Seconds to wait; ends a watch that nobody needs any more."""
        now = time.monotonic()
        if self._shares:
            self._quiet_since = now
            return None if due is None else max(due - now, 0.0)
        if self._watch is None:
            return None
        left = self._quiet_since + WATCHES_ON - now
        if left <= 0:
            self._watch.close()
            self._watch = None
            return None
        return left

    def _look_up(self) -> None:
        """List the limits. Raises Unreachable."""
        path = f"/apis/{labels.API_VERSION}/namespaces/{self._at.namespace}/concurrencylimits?resourceVersion=0"
        answer = self._api.request("GET", path).decided()
        if answer.status != 200:
            say(f"ConcurrencyLimits cannot be listed, so none is held to: {answer}")
        items = answer.body["items"] if answer.status == 200 else []
        with self._changed:
            self._limits, self._look_wanted = _Limits(items, time.monotonic()), False
            unresolved, self._unresolved = self._unresolved, []
            self._unresolved = [claim for claim in unresolved if not self._resolve(claim)]
        self._looked.happen()
        self._wake_claims()

    def _write(self) -> None:
        """Write the claims as they are now. Raises Unreachable."""
        with self._changed:
            claims = self._shares.to_tell()
            if claims is None or self._closed:
                return
            self._number += 1
            value = {"attempt": self._at.attempt, "number": self._number, "claims": claims}
        ops = [
            {"op": "test", "path": "/metadata/uid", "value": self._at.uid},
            {"op": "test", "path": "/status/attempt", "value": self._at.attempt},
            {"op": "test", "path": "/status/pod/uid", "value": self._at.pod_uid},
            {"op": "add", "path": "/status/claims", "value": value},
        ]
        try:
            answer = self._api.request("PATCH", f"{self._at.path}/status", ops, JSON_PATCH).decided()
        except Unreachable:
            with self._changed:
                self._shares.doubt()
            raise
        if answer.status == 200:
            with self._changed:
                self._shares.told(claims)
            self._see(answer.body)
            self._follow(answer.body["metadata"]["resourceVersion"])
            return
        with self._changed:
            self._shares.doubt()
        found = self._api.request("GET", self._at.path).decided()
        if found.status == 404:
            self._lose("the run was deleted")
        elif found.status == 200:
            self._see(found.body)
        raise Unreachable(f"the claims were refused: {answer}")

    # What the operator says.

    def _follow(self, version: str) -> None:
        """Watch the run from `version` on, unless somebody does."""
        with self._changed:
            if self._watch is not None or self._closed:
                return
            watch = self._watch = Watch(self._api.another())
        threading.Thread(target=self._listen, args=(watch, version), name="penstock-grants", daemon=True).start()

    def _listen(self, watch: Watch, version: str | None) -> None:
        """Look at the run whenever it changes, however long the API server is away."""
        api, waits = self._api.another(), pauses()
        selector = f"metadata.name={self._at.name}"
        while not watch.closed:
            with suppress(Unreachable):
                if version is None:
                    found = api.request("GET", self._at.path).decided()
                    if found.status == 404:
                        self._lose("the run was deleted")
                        break
                    self._see(found.body)
                    version = str(found.body["metadata"]["resourceVersion"])
                for kind, run in watch.events(self._at.runs, selector, version, by="fieldSelector"):
                    waits = pauses()
                    if kind == "DELETED":
                        self._lose("the run was deleted")
                    else:
                        self._see(run)
                    if watch.closed:
                        break
            version = None
            if not watch.closed:
                time.sleep(next(waits))
        api.close()

    def _see(self, run: dict[str, Any]) -> None:
        status = run.get("status") or {}
        state, pod = status.get("state") or {}, (status.get("pod") or {}).get("uid")
        if run["metadata"]["uid"] != self._at.uid:
            return self._lose("the run was deleted")
        if status.get("attempt") != self._at.attempt or pod != self._at.pod_uid:
            return self._lose(f"attempt {status.get('attempt')} has the run, by pod {pod}")
        if StateType(state["type"]).terminal:
            return None  # by ourselves, or it will be seen by who writes next
        grants = status.get("grants") or {}
        with self._changed:
            if grants.get("attempt") == self._at.attempt and grants["number"] > self._granted:
                self._granted = grants["number"]
                self._shares.grant({grant["id"]: grant for grant in grants["grants"]}, time.monotonic())
                self._changed.notify_all()
        self._wake_claims()
        return None

    def _lose(self, why: str) -> None:
        """Whoever waits is told that the run is another's, and so is whoever reports."""
        with self._changed:
            if self._closed or self._why_lost is not None:
                return
            self._why_lost = why
            self._shares.fail(f"the run is not this process' any more: {why}")
        self._wake_claims()
        self._tell_lost()


def _remedy(name: str, rate: bool) -> str:
    return f"penstock limits create {names.concurrency_limit(name) or 'NAME'} {'10/s' if rate else '3'}"
