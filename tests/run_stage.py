"""A stage for the reconciler of runs: a cluster in memory, an operator that can be killed, and everyone else played.

A test is the user, the kubelet, the Job controller and the runner in turn; in between it has the operator reconcile.
Only what the operator writes is counted and can be made to fail.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from crash_points import acting
from memory_cluster import MemoryCluster, Write
from penstock.api import labels, names
from penstock_operator import cluster
from penstock_operator.cluster import FLOW_RUNS, JOBS, PODS
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.rules import KINDS as SLOT_KINDS
from penstock_operator.controller.slots import Slots
from penstock_operator.core.views import format_time
from penstock_operator.launch.pods import Defaults
from penstock_operator.reconcile.flowruns import FlowRuns
from penstock_operator.reconcile.revisions import Revisions
from penstock_operator.reconcile.sources import Key, Requeue

Json = dict[str, Any]
T = TypeVar("T")

NAMESPACE = "team"
SOURCE = "from penstock import flow\n\n@flow\ndef etl(n: int): ...\n"
PARAMETERS = {"type": "object", "properties": {"n": {"type": "integer"}, "m": {"type": "integer"}}, "required": ["n"]}
KINDS = {found.kind: found for found in vars(cluster).values() if isinstance(found, cluster.ResourceType)}


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """What a coroutine that waits for nothing returns; also where an event loop runs already, as in a fault."""
    while True:
        try:
            coroutine.send(None)
        except StopIteration as done:
            value: T = done.value
            return value


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, 6, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class PostedEvents:
    """`reconcile.sources.Events` that keeps what it is given, by run and seq."""

    def __init__(self) -> None:
        self.posted: dict[tuple[str, int], Json] = {}
        self.flushed: list[str] = []

    def clear(self) -> None:
        """A term begins: what was posted was posted."""

    async def run(self) -> None:
        """Nothing is to be sent."""

    def tell(self, run: Json) -> None:
        for entry in run.get("status", {}).get("history") or ():
            if entry["seq"] > run["status"].get("observedSeq", 0):
                self.posted[(run["metadata"]["uid"], entry["seq"])] = entry

    async def flush(self, run_uid: str) -> None:
        self.flushed.append(run_uid)


class Stage:
    """One namespace with a Flow, a deployment and a pool, and an operator."""

    def __init__(self, *, pool_type: str = "Pod", deployment: Json | None = None, pool: Json | None = None) -> None:
        self.clock = Clock()
        self.cluster = MemoryCluster(self.clock)
        self.events = PostedEvents()
        self.writes: list[Write] = []
        self.lost_nodes: set[str] = set()
        self.before: Callable[[Write], None] = lambda _: None
        self.after: Callable[[Write], None] = lambda _: None
        flow = {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:etl", "parameters": PARAMETERS}
        self.apply("Flow", "etl", flow)
        self.apply("WorkPool", "default", {"type": pool_type, **(pool or {})})
        self.apply("FlowDeployment", "etl", {"flowRef": {"name": "etl"}, "parameters": {"n": 1}, **(deployment or {})})
        self.restart()

    # The operator.

    def restart(self) -> None:
        """A new process: nothing of the old one's memory is left."""
        self.cache = ObjectCache()
        self.revisions = Revisions(self.cluster)
        defaults = Defaults("registry.example/penstock:1")
        self.named: list[Key] = []
        self.slots = Slots(self.clock, self.named.append)
        self.slots.open()
        self.runs = FlowRuns(self.cluster, self.cache, self.revisions, self.events, defaults, self.slots, self.clock)

    def hear(self) -> None:
        """The informers catch up."""
        for kind in ("FlowRun", "Pod", "Job"):
            now = {
                (body["metadata"]["namespace"], body["metadata"]["name"]): body
                for body in self.cluster.kinds(kind)
                if not (kind == "FlowRun" and body.get("status", {}).get("settled"))
            }
            for ref in set(self.cache.refs(kind, None)) - now.keys():
                self.cache.drop(kind, ref)
            for body in now.values():
                self.cache.put(kind, body)
        for node in self.lost_nodes:
            self.cache.forget_node(node)
        for kind in SLOT_KINDS:
            rules = {
                (body["metadata"]["namespace"], body["metadata"]["name"]): body for body in self.cluster.kinds(kind)
            }
            for ref in set(self.slots.rules.refs(kind, None)) - rules.keys():
                self.slots.rules.drop(kind, ref, str(10**9))
            for body in rules.values():
                self.slots.rules.put(kind, body)

    def reconcile(self, name: str = "run", *, hears: bool = True) -> Requeue | None:
        """The operator looks at a run; `hears=False`: with a cache that lags behind."""
        if hears:
            self.hear()
        with acting(self, self.cluster):
            return asyncio.run(self.runs.reconcile(Key(NAMESPACE, name)))

    def taken(self) -> list[str]:
        """The operator's writes since this was asked last."""
        found = [" ".join(filter(None, (w.verb, w.kind, w.name, w.subresource))) for w in self.writes]
        self.writes.clear()
        return found

    # The user.

    def apply(self, kind: str, name: str, spec: Json, status: Json | None = None) -> Json:
        """Create an object."""
        body = {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec}
        return self.create(body, status)

    def create(self, body: Json, status: Json | None = None) -> Json:
        """Create any object, as anyone but the operator."""
        resource = KINDS[body["kind"]]
        made = at_once(self.cluster.create(resource, NAMESPACE, body))
        if status:
            made = self.cluster.set_status(resource, NAMESPACE, body["metadata"]["name"], **status)
        return made

    def submit(self, name: str = "run", **spec: Any) -> Json:
        """Create a run of the deployment."""
        return self.apply("FlowRun", name, {"deploymentRef": {"name": "etl"}, **spec})

    def edit(self, kind: str, name: str, **spec: Any) -> Json:
        """Set fields of a spec."""
        ops = [{"op": "add", "path": f"/spec/{field}", "value": value} for field, value in spec.items()]
        return at_once(self.cluster.patch(KINDS[kind], NAMESPACE, name, ops))

    def remove(self, kind: str, name: str) -> None:
        """Take an object away."""
        self.cluster.remove(KINDS[kind], NAMESPACE, name)

    # What is there.

    def get(self, kind: str, name: str) -> Json | None:
        return copy.deepcopy(self.cluster.objects.get((KINDS[kind].plural, NAMESPACE, name)))

    def names(self, kind: str) -> list[str]:
        return [body["metadata"]["name"] for body in self.cluster.kinds(kind)]

    def run(self, name: str = "run") -> Json:
        """Status of a run."""
        body = self.get("FlowRun", name)
        assert body is not None
        status: Json = body.get("status") or {}
        return status

    def state(self, name: str = "run") -> tuple[str, str] | None:
        """Type and reason of a run's state."""
        state = self.run(name).get("state")
        return (state["type"], state["reason"]) if state else None

    def condition(self, type_: str, name: str = "run") -> tuple[str, str] | None:
        """Status and reason of a condition."""
        found = next((c for c in self.run(name).get("conditions") or [] if c["type"] == type_), None)
        return (found["status"], found["reason"]) if found else None

    def pod(self) -> Json | None:
        """The pod that was made last."""
        return next(iter(reversed(self.cluster.kinds("Pod"))), None)

    # The scheduler, the kubelet and the Job controller.

    def start_pod(self, name: str = "run-1") -> None:
        """A node takes the pod, and its container runs."""
        self.cluster.set_node(NAMESPACE, name, "node-1")
        self.cluster.set_status(PODS, NAMESPACE, name, phase="Running", containerStatuses=[_container(running={})])

    def hold_pod(self, name: str = "run-1", reason: str = "ImagePullBackOff") -> None:
        """The pod's container waits."""
        waiting = [_container(waiting={"reason": reason, "message": "No such image."})]
        self.cluster.set_status(PODS, NAMESPACE, name, phase="Pending", containerStatuses=waiting)

    def end_pod(self, name: str = "run-1", code: int = 0, reason: str = "") -> None:
        """The pod's container ends."""
        ended = [_container(terminated={"exitCode": code, "reason": reason or ("Error" if code else "Completed")})]
        phase = "Failed" if code else "Succeeded"
        self.cluster.set_status(PODS, NAMESPACE, name, phase=phase, containerStatuses=ended)

    def end_flow(self, name: str = "run-1", code: int = 0, reason: str = "") -> None:
        """The pod's container of user code ends, and another one goes on."""
        ended = _container(terminated={"exitCode": code, "reason": reason or ("Error" if code else "Completed")})
        other = {"name": "proxy", "image": "registry.example/proxy:1", "state": {"running": {}}}
        self.cluster.set_status(PODS, NAMESPACE, name, phase="Running", containerStatuses=[ended, other])

    def make_pod_of_job(self, name: str = "run-1", suffix: str = "abcde") -> str:
        """The Job controller makes the Job's pod."""
        job = self.get("Job", name)
        assert job is not None
        template = copy.deepcopy(job["spec"]["template"])
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        meta = {**template["metadata"], "name": f"{name}-{suffix}", "ownerReferences": [owner]}
        self.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]})
        return f"{name}-{suffix}"

    def end_job(self, name: str = "run-1", condition: str = "Complete", **more: str) -> None:
        """The Job controller says that the Job has ended."""
        self.cluster.set_status(JOBS, NAMESPACE, name, conditions=[{"type": condition, "status": "True", **more}])

    # The runner.

    def enter(self, state: str, reason: str, run: str = "run", **fields: Any) -> None:
        """The runner writes a state."""
        status = self.run(run)
        seq = status["state"]["seq"] + 1
        entry = {"type": state, "name": state, "reason": reason, "message": "", "time": self.now(), "seq": seq}
        remembered = {**entry, "attempt": status["attempt"], "writer": "runner"}
        history = [*status["history"], remembered]
        self.cluster.set_status(FLOW_RUNS, NAMESPACE, run, state=entry, history=history, **fields)

    def claim(self, pod: str = "run-1", run: str = "run") -> None:
        """The runner in a pod claims the run."""
        body = self.get("Pod", pod)
        assert body is not None
        claimed = {"name": pod, "uid": body["metadata"]["uid"]}
        self.enter("Running", "Started", run, pod=claimed, startTime=self.now())

    def now(self) -> str:
        """The time as it stands in a status."""
        return format_time(self.clock())


def _container(**state: Json) -> Json:
    return {"name": labels.CONTAINER, "image": "registry.example/penstock:1", "state": state}


def uid_of(stage: Stage, run: str = "run") -> str:
    """The uid of a run."""
    body = stage.get("FlowRun", run)
    assert body is not None
    return str(body["metadata"]["uid"])


def revision(stage: Stage, kind: str, name: str) -> str:
    """Name of the revision of an object as it is now."""
    body = stage.get(kind, name)
    assert body is not None
    return names.revision(kind, name, body["metadata"]["uid"], body["metadata"]["generation"])


def launched(**options: Any) -> Stage:
    """A stage whose run has just been launched."""
    stage = Stage(**options)
    stage.submit()
    stage.reconcile()
    stage.taken()
    return stage


def running(**options: Any) -> Stage:
    """A stage whose run is claimed by its pod."""
    stage = launched(**options)
    stage.start_pod()
    stage.claim()
    stage.reconcile()
    assert stage.taken() == []
    return stage


def lost(stage: Stage) -> None:
    """The first attempt's pod dies, and the run awaits its second."""
    stage.end_pod(code=137, reason="OOMKilled")
    stage.reconcile()
    assert stage.state() == ("Scheduled", "OOMKilled")


def refuse(kind: str, error: Exception) -> Callable[[Write], None]:
    """A fault: objects of a kind cannot be created."""

    def before(write: Write) -> None:
        if (write.verb, write.kind) == ("create", kind):
            raise error

    return before


def once(action: Callable[[], object], verb: str = "patch", kind: str = "FlowRun") -> Callable[[Write], None]:
    """Somebody else acts while the first such write of the operator is on its way."""
    done: list[Write] = []

    def before(write: Write) -> None:
        if not done and (write.verb, write.kind) == (verb, kind):
            done.append(write)
            action()

    return before
