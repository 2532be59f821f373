"""Warm workers of the model: an agent that decides as the real one does, an executor with its processes, and a Lease.

A worker is the pod that the operator made, or somebody's machine that may lose the network. What the agent sees may be
old, what it tells may be lost, and agent, executor and each process may be killed by themselves.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from penstock.api import labels, launches, reasons
from penstock.api.workers import (
    GRACE_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    WorkerFacts,
    WorkerPod,
    deleted_runs_annotation,
)
from penstock.runner.assignment import Assignment
from penstock.worker import assignments, lease
from penstock.worker.assignments import Do, Identity
from penstock.worker.deletions import Deletions
from penstock.worker.lease import OUT_OF_CONTACT
from penstock_operator.cluster import FLOW_RUNS, LEASES, ApiError
from penstock_operator.core.orphans import PATIENCE
from penstock_operator.core.views import format_time, parse_time
from run_stage import NAMESPACE, at_once

if TYPE_CHECKING:
    from .world import Process, World

Json = dict[str, Any]
POOL = "default"


class WarmWorker:
    """One worker. `node` and `pod_uid` of one outside of the cluster are empty."""

    def __init__(self, world: World, name: str, slots: int, *, node: str = "", pod_uid: str = "") -> None:
        self.world, self.name, self.slots, self.node, self.pod_uid = world, name, slots, node, pod_uid
        self.uid = pod_uid or str(uuid.UUID(int=len(world.workers) + 1))
        self.alive, self.cut, self.given_up, self.stopping = True, False, False, False
        self.retries = False
        """Outside: its pool says that a run goes on elsewhere once it counts as lost."""
        self.there = False
        """Its Lease is its own, as far as it knows."""
        self.contact = world.clock()
        self.children: dict[tuple[str, int], Process] = {}  # the executor's, by run and attempt
        self.over: dict[tuple[str, int], str] = {}  # what the agent knows to have ended, and why
        self.untold: set[tuple[str, int]] = set()
        self.seen: dict[str, Json] = {}
        self.last: dict[str, Json] = {}  # each run as it was last seen
        self.deletions, self.said = Deletions(), ""

    @property
    def me(self) -> Identity:
        """What runs say of it."""
        return Identity(self.name, self.uid, self.name)

    @property
    def inside(self) -> bool:
        return bool(self.pod_uid)

    @property
    def reaches(self) -> bool:
        """Whether it, or a process of it, gets through to the API server."""
        return self.alive and not self.cut

    # The agent.

    def goes_on(self, *, fresh: bool = True) -> bool:
        """The agent hears, or acts upon what it has heard before; whether there was anything to do."""
        if not self.reaches:
            return False
        if not self.there:
            return self._begin()
        if fresh:
            self.seen = {body["metadata"]["uid"]: body for body in self._listed()}
        done = self._reap()
        for uid in [*self.seen, *(uid for uid, _ in self.children if uid not in self.seen)]:
            done = self._look(uid, self.seen.get(uid)) or done
        for key in list(self.untold):
            done = self._report(key) or done
        return self._tell_of_deletions() or done

    def _tell_of_deletions(self) -> bool:
        """Say on the Lease what there is of deleted runs; whether that is news."""
        runs = self.deletions.said(self.world.clock().timestamp())
        said, news = deleted_runs_annotation(runs or ()), False
        if runs is not None and said != self.said:
            found = self.world.find(LEASES, self._lease.lease)
            if found is not None and lease.holder(found) == self.uid:
                ops = lease.renewed(self._lease, self._now(), deleted=runs)
                at_once(self.world.cluster.patch(LEASES, NAMESPACE, self._lease.lease, ops))
                self.said, news, self.contact = said, True, self.world.clock()
        if said == self.said:
            self.deletions.heard(runs, self.world.clock().timestamp())
        return news

    def _listed(self) -> Iterator[Json]:
        for body in self.world.objects("FlowRun"):
            status = body.get("status") or {}
            if (status.get("worker") or {}).get("name") == self.name and not status.get("settled"):
                yield body

    def _reap(self) -> bool:
        ended = [key for key, process in self.children.items() if not process.alive]
        for key in ended:
            self._end_of(key, "stopped" if self.stopping else "")
        return bool(ended)

    def _end_of(self, key: tuple[str, int], why: str) -> None:
        self.children.pop(key)
        self.deletions.ended(f"{key[0]}/{key[1]}")
        self.over[key] = why
        self.untold.add(key)

    def _end(self, process: Process) -> None:
        """SIGTERM, and its end when one looks again, or after its grace."""
        if process.ending:
            process.die(143)
        process.ending = process.ending or self.world.clock()

    def _look(self, uid: str, run: Json | None) -> bool:
        if run is None:
            for of, attempt in self.children:
                if of == uid:
                    name, last = self.children[of, attempt].assignment.name, self.last.pop(uid, None)
                    self.deletions.deleted(f"{of}/{attempt}", name, uid, last)
        else:
            self.last[uid] = run
        running = [attempt for of, attempt in self.children if of == uid]
        over = [attempt for of, attempt in self.over if of == uid]
        actions = assignments.decide(run, uid, self.me, running, over)
        for action in actions:
            key = (uid, action.attempt)
            if action.do in (Do.END, Do.LINGERS):
                self._end(self.children[key])
            elif action.do is Do.START and not self.stopping:
                assert run is not None
                self._start(key, run)
            else:
                self.over[key] = "lost"
                self.untold.add(key)
        if run is None:
            self.over = {key: why for key, why in self.over.items() if key[0] != uid}
        return bool(actions)

    def _start(self, key: tuple[str, int], run: Json) -> None:
        told = {**launches.environment(run), labels.ENV_POD_NAME: self.name, labels.ENV_POD_UID: self.uid}
        # One that was told to end before it claimed its run never will, nor one whose run has gone on without it.
        never = [p for p in self.children.values() if (p.ending and not p.executing) or self.world.fenced(p)]
        gone = [p for p in self.children.values() if p.over or p.silent or p.given_up or p in never]
        others = [p for p in self.children.values() if p.alive and p not in gone]
        if len(others) >= self.slots:
            self.world.crowded.append(f"{self.name} has {len(others)} processes, and is given {told}")
        self.children[key] = self.world.start_warm(self, Assignment(told))

    def _report(self, key: tuple[str, int]) -> bool:
        """Say how a process ended, where nobody else has; what is lost is said again."""
        uid, attempt = key
        run = next((body for body in self.world.objects("FlowRun") if body["metadata"]["uid"] == uid), None)
        if run is None or assignments.over(run, attempt, self.me):
            self.untold.discard(key)
            return False
        exited = {"attempt": attempt, "reason": reasons.EXITED, "message": self.over.get(key, ""), "exitCode": 137}
        if self.over.get(key) == "stopped":
            exited["reason"] = reasons.WORKER_STOPPED
        tests = {"/metadata/uid": uid, "/status/worker/uid": self.uid, "/status/attempt": attempt}
        ops: list[Json] = [{"op": "test", "path": path, "value": value} for path, value in tests.items()]
        exited["time"] = format_time(self.world.clock())
        ops.append({"op": "add", "path": "/status/worker/exited", "value": exited})
        try:
            at_once(self.world.cluster.patch(FLOW_RUNS, NAMESPACE, run["metadata"]["name"], ops, subresource="status"))
        except ApiError:
            return True
        self.untold.discard(key)
        return True

    # What goes wrong.

    def agent_dies(self) -> None:
        """Another one finds the processes that are there, and knows of no others."""
        self.children = {key: process for key, process in self.children.items() if process.alive}
        self.over, self.seen, self.untold = {}, {}, set()
        self.last, self.deletions, self.said = {}, Deletions(), ""

    def executor_dies(self) -> None:
        """Its processes end with it, which the agent hears."""
        for key, process in list(self.children.items()):
            process.die(137)
            self._end_of(key, "executor")

    def stop(self) -> None:
        """SIGTERM: its processes are ended, and it may still say so."""
        self.stopping = True
        for process in self.children.values():
            process.die(143)

    def die(self) -> None:
        """All of it ends at once."""
        self.alive = False
        for process in self.children.values():
            process.die(137)

    def restarts(self) -> None:
        """Its containers begin again in the same pod, on a node that was away and has come back."""
        self.alive, self.stopping, self.there, self.contact = True, False, False, self.world.clock()
        self.children = {}
        self.agent_dies()

    def loses_the_network(self) -> None:
        """Nothing gets through. Where nobody else may go on, its processes do until they are heard of again."""
        self.cut = True
        for process in self.children.values():
            process.silent = not self.retries

    def has_network(self) -> None:
        """Everything gets through again."""
        self.cut = False
        self.tick()

    # The Lease.

    def tick(self) -> None:
        """What both clocks of it bring about, after each passing of time."""
        if not self.alive:
            return
        self._kill_after_grace()
        self._hear_of_deletions()
        silent = (self.world.clock() - self.contact).total_seconds()
        if self.cut:
            if self.retries and silent > OUT_OF_CONTACT:
                for process in self.children.values():
                    process.die(143)
            return
        if not self.there or silent < RENEW_SECONDS:
            return
        found = self.world.find(LEASES, self._lease.lease)
        if found is None or lease.holder(found) != self.uid or (self.retries and silent > OUT_OF_CONTACT):
            self._become_another()
            return
        at_once(self.world.cluster.patch(LEASES, NAMESPACE, self._lease.lease, lease.renewed(self._lease, self._now())))
        self.contact = self.world.clock()

    def _kill_after_grace(self) -> None:
        """The executor does so, whatever has become of the agent."""
        for process in self.children.values():
            if process.ending and self.world.clock() - process.ending >= timedelta(seconds=GRACE_SECONDS):
                process.die(137)

    def _hear_of_deletions(self) -> None:
        """A worker in contact has heard of each within some seconds, and its process has had its grace."""
        for process in self.children.values() if self.reaches else ():
            at = self.world.deleted.get(process.assignment.uid)
            if at is not None and self.world.clock() - at > PATIENCE - timedelta(seconds=5):
                process.die(137)

    def _become_another(self) -> None:
        self.there = False
        if not self.inside:
            for process in self.children.values():
                process.die(143)
            self.children, self.over, self.untold = {}, {}, set()
            self.last, self.deletions = {}, Deletions()
            self.uid = str(uuid.UUID(int=uuid.UUID(self.uid).int + 1000))
        self._begin()

    def _begin(self) -> bool:
        """Take the Lease, once whoever had its name is silent for its whole time."""
        found = self.world.find(LEASES, self._lease.lease)
        if found is None:
            at_once(self.world.cluster.create(LEASES, NAMESPACE, {"kind": "Lease", **self._created()}))
        elif self.inside or lease.holder(found) == self.uid or self._expired(found):
            self.world.cluster.remove(LEASES, NAMESPACE, self._lease.lease)
            at_once(self.world.cluster.create(LEASES, NAMESPACE, {"kind": "Lease", **self._created()}))
        else:
            return False
        self.there, self.contact, self.said = True, self.world.clock(), ""
        return True

    def _expired(self, found: Json) -> bool:
        renewed = parse_time(found["spec"]["renewTime"])
        return renewed is None or self.world.clock() > renewed + timedelta(seconds=LEASE_SECONDS)

    def _created(self) -> Json:
        body = lease.created(self._lease, self._now())
        return {"metadata": body["metadata"], "spec": body["spec"]}

    def _now(self) -> str:
        return format_time(self.world.clock())

    @property
    def _lease(self) -> lease.Worker:
        pod = WorkerPod(name=self.name, uid=self.uid) if self.inside else None
        return lease.Worker(self.name, NAMESPACE, POOL, WorkerFacts(uid=self.uid, slots=self.slots, pod=pod))
