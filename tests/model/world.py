"""A world for runs: an API server, nodes with their kubelets, the Job controller, the garbage collector, and users.

What a process really does (`Process`) and what the API says of it (the Pod) are two things here, as they are on a node:
a kubelet reports late, a node falls silent while its processes go on, and a node that was given up comes back.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from memory_cluster import MemoryCluster, Write
from penstock.api import labels
from penstock.api.states import StateType
from penstock.runner.assignment import Assignment
from penstock_operator.cluster import FLOW_DEPLOYMENTS, FLOW_RUNS, FLOWS, JOBS, NODES, PODS, WORK_POOLS, ResourceType
from penstock_operator.core.views import RunView
from run_stage import NAMESPACE, PARAMETERS, SOURCE, Clock, at_once

from .warm import WarmWorker

Json = dict[str, Any]
Changed = Callable[[ResourceType, Json | None, Json | None], None]

UP, SILENT, LOST = "up", "silent", "lost"
UNDER_WAY = (StateType.PENDING, StateType.RUNNING, StateType.PAUSED, StateType.CANCELLING)
EXITS = {0: "Completed", 1: "Error", 137: "OOMKilled", 143: "Error"}


class ModelCluster(MemoryCluster):
    """Tells of every change at the moment it is made; Jobs are deleted as the garbage collector deletes them."""

    changed: Changed = staticmethod(lambda *_: None)

    def _store(self, resource: ResourceType, body: Json) -> Json:
        before = self.objects.get((resource.plural, body["metadata"].get("namespace") or "", body["metadata"]["name"]))
        stored = super()._store(resource, body)
        self.changed(resource, before, stored)
        return stored

    def _drop(self, resource: ResourceType, namespace: str, name: str) -> None:
        before = self.objects[(resource.plural, namespace, name)]
        super()._drop(resource, namespace, name)
        self.changed(resource, before, None)

    async def delete(self, resource: ResourceType, namespace: str | None, name: str, **how: Any) -> None:
        known = self.objects.get((resource.plural, namespace or "", name))
        if resource.kind != "Job" or known is None or how.get("propagation") != "Foreground":
            return await super().delete(resource, namespace, name, **how)
        uid = how.get("uid")
        write = Write("delete", "Job", name)
        self._announce(write)
        if uid in (None, known["metadata"]["uid"]):
            body = copy.deepcopy(known)
            body["metadata"].setdefault("deletionTimestamp", self.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))
            self._store(resource, body)
        self.after(write)
        return None


@dataclass(eq=False)
class Process:
    """The process in a pod. `executing`: its claim was granted and it is in user code.

    `given_up`: its node was declared dead, its pod deleted by force, or its run deleted before who leads next heard
    of it: the documented cases in which it may overlap.
    """

    uid: str
    pod: str
    node: str
    assignment: Assignment
    alive: bool = True
    executing: bool = False
    done: bool = False  # its end is written, or the run was not its to take
    given_up: bool = False
    silent: bool = False  # its worker has lost the network, and nothing is done elsewhere before somebody looks
    over: bool = False  # its run has the end that it wrote: a worker's place is free then
    ending: datetime | None = None  # when its worker sent it SIGTERM
    worker: WarmWorker | None = None
    code: int = 0
    subflows: int = 0
    extra: Json = field(default_factory=dict)

    @property
    def claims(self) -> tuple[str, int]:
        """What its run says of who has claimed it, once it has."""
        return self.assignment.pod_uid, self.assignment.attempt

    def die(self, code: int) -> None:
        """End, whatever it was doing."""
        if self.alive:
            self.alive, self.executing, self.code = False, False, code


class World:
    """Everything but the operators and what runs in the processes."""

    def __init__(
        self, pool_type: str, deployment: Json, *, shared: bool, slots: int = 1, outside: int = 0, lost: str = "Crash"
    ) -> None:
        """A pool of type Process has up to two workers in pods, or so many `outside` of the cluster."""
        self.clock = Clock()
        self.cluster = ModelCluster(self.clock)
        self.processes: dict[str, Process] = {}
        self.nodes: dict[str, str] = {}
        self.given_up: set[str] = set()  # pods of nodes that were declared dead, though their process may begin later
        self.workers: dict[str, WarmWorker] = {}  # by the uid of their pod, or by their name
        self.slots = slots
        self.answers: dict[str, list[Json]] = {}  # all that were ever given, by uid of the run
        self.crowded: list[str] = []  # of workers that were given more than they have places for
        self.deleted: dict[str, datetime] = {}  # when runs were, by uid
        flow = {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:etl", "parameters": PARAMETERS}
        self.apply(FLOWS, "etl", flow)
        results = {"results": {"url": "s3://results", "shared": True}} if shared else {}
        warm = {"max": 0 if outside else 2, "concurrency": slots, "onWorkerLost": lost, "idleSeconds": 60}
        workers = {"worker": warm} if pool_type == "Process" else {}
        self.apply(WORK_POOLS, "default", {"type": pool_type, **results, **workers})
        for number in range(outside):
            self.workers[f"laptop-{number}"] = worker = WarmWorker(self, f"laptop-{number}", slots)
            worker.retries = lost == "Retry"
        self.apply(FLOW_DEPLOYMENTS, "etl", {"flowRef": {"name": "etl"}, "parameters": {"n": 1}, **deployment})
        for name in ("node-1", "node-2"):
            self.node_comes(name)

    def apply(self, resource: ResourceType, name: str, spec: Json, **meta: Any) -> Json:
        """Create an object, as anyone but the operator."""
        body = {"kind": resource.kind, "metadata": {"name": name, **meta}, "spec": spec}
        return at_once(self.cluster.create(resource, NAMESPACE if resource.namespaced else None, body))

    def submit(self, name: str, **spec: Any) -> Json:
        """Create a run of the deployment."""
        return self.apply(FLOW_RUNS, name, {"deploymentRef": {"name": "etl"}, **spec})

    @property
    def limit(self) -> int | None:
        """Most runs at once."""
        found: int | None = self.cluster.objects[("workpools", NAMESPACE, "default")]["spec"].get("concurrencyLimit")
        return found

    def bound(self, limit: int | None) -> None:
        """Set the limit of the pool, or unset it."""
        op = {"op": "add", "path": "/spec/concurrencyLimit", "value": limit}
        at_once(self.cluster.patch(WORK_POOLS, NAMESPACE, "default", [op]))

    # What is there.

    def objects(self, kind: str) -> list[Json]:
        """The objects of a kind; they must not be changed."""
        return [body for body in self.cluster.objects.values() if body["kind"] == kind]

    def find(self, resource: ResourceType, name: str) -> Json | None:
        """An object, which must not be changed."""
        return self.cluster.objects.get((resource.plural, NAMESPACE, name))

    def of_run(self, uid: str) -> Iterator[Process]:
        """The processes of a run."""
        return (process for process in self.processes.values() if process.assignment.uid == uid)

    # Users.

    def cancel(self, run: str) -> None:
        """Ask for a run's end."""
        ops = [{"op": "add", "path": "/spec/cancel", "value": True}]
        at_once(self.cluster.patch(FLOW_RUNS, NAMESPACE, run, ops))

    def suspend(self, run: str, *, wanted: bool) -> None:
        """Ask a run to stop, or let it go on."""
        ops = [{"op": "add", "path": "/spec/suspend", "value": wanted}]
        at_once(self.cluster.patch(FLOW_RUNS, NAMESPACE, run, ops))

    def answer(self, run: str, pause: str, given: Json) -> None:
        """Answer a pause of a run, or one that it is not in."""
        body = self.find(FLOW_RUNS, run)
        assert body is not None
        resume = {"pause": pause, "input": given}
        self.answers.setdefault(body["metadata"]["uid"], []).append(resume)
        at_once(self.cluster.patch(FLOW_RUNS, NAMESPACE, run, [{"op": "add", "path": "/spec/resume", "value": resume}]))

    def holds_pods(self, uid: str) -> bool:
        """Whether a run has a process, or a pod that could have one; but for those that were given up."""
        given_up = self.given_up | {process.uid for process in self.of_run(uid) if process.given_up}
        pods = [body for body in self.objects("Pod") if _given(body).get(labels.ENV_RUN_UID) == uid]
        live = [body for body in pods if body["status"]["phase"] not in ("Succeeded", "Failed")]
        nodes = {body["spec"].get("nodeName") for body in live if body["metadata"]["uid"] not in given_up}
        left = any(self.nodes.get(node) != LOST for node in nodes)
        return left or any(
            process.alive and process.uid not in given_up and not (process.over or process.silent)
            for process in self.of_run(uid)
            if not self.fenced(process)
        )

    def fenced(self, process: Process) -> bool:
        """Whether it is in a worker, has not claimed its run, and never will: that has gone on without it."""
        if process.worker is None or process.executing or process.done:
            return False
        at = process.assignment
        run = next((RunView(body) for body in self.objects("FlowRun") if body["metadata"]["uid"] == at.uid), None)
        return run is not None and (run.attempt != at.attempt or run.type is None or run.type not in UNDER_WAY)

    def delete_pod(self, name: str, *, force: bool = False) -> None:
        """As kubectl deletes a pod; by force, its object goes at once and its process later."""
        if force:
            self._give_up(self.find(PODS, name))
            self.cluster.remove(PODS, NAMESPACE, name)
        else:
            at_once(self.cluster.delete(PODS, NAMESPACE, name))

    def delete_job(self, name: str) -> None:
        """As kubectl deletes a Job that one waits for."""
        at_once(self.cluster.delete(JOBS, NAMESPACE, name, propagation="Foreground"))

    def delete_run(self, name: str) -> None:
        """Its pods are left to the garbage collector, and its process in a worker to that."""
        body = self.find(FLOW_RUNS, name)
        assert body is not None
        self.deleted[body["metadata"]["uid"]] = self.clock()
        self.cluster.remove(FLOW_RUNS, NAMESPACE, name)

    # The scheduler and the kubelet of each node.

    def kubelet(self, name: str) -> bool:
        """The next thing that is to be done about one pod; False when there is none."""
        body = self.find(PODS, name)
        if body is None:
            return False
        node, phase, uid = body["spec"].get("nodeName"), body["status"]["phase"], body["metadata"]["uid"]
        if not node:
            up = [name for name, state in self.nodes.items() if state == UP]
            if up:
                self.cluster.set_node(NAMESPACE, name, up[len(self.processes) % len(up)])
            return bool(up)
        if self.nodes[node] != UP:
            return False
        if _is_worker(body):
            return self._worker_kubelet(body)
        process = self.processes.get(uid)
        if body["metadata"].get("deletionTimestamp"):
            if process is not None and process.alive:
                process.die(143)
            else:
                self.cluster.remove(PODS, NAMESPACE, name)
            return True
        if phase == "Pending" and process is None:
            self._start(body)
            return True
        if process is not None and not process.alive and phase not in ("Succeeded", "Failed"):
            ended = {"terminated": {"exitCode": process.code, "reason": EXITS[process.code]}}
            self._report(name, "Failed" if process.code else "Succeeded", ended)
            return True
        return False

    def _worker_kubelet(self, body: Json) -> bool:
        name, uid, node = body["metadata"]["name"], body["metadata"]["uid"], body["spec"]["nodeName"]
        worker = self.workers.get(uid)
        if body["metadata"].get("deletionTimestamp"):
            if worker is None or not worker.alive:
                self.cluster.remove(PODS, NAMESPACE, name)
            elif worker.stopping:
                worker.die()
            else:
                worker.stop()
            return True
        if body["status"]["phase"] == "Pending" and worker is None:
            self.workers[uid] = WarmWorker(self, name, self.slots, node=node, pod_uid=uid)
            self.workers[uid].given_up = uid in self.given_up
            self._report(name, "Running", {"running": {}})
            return True
        if body["status"]["phase"] == "Running" and worker is not None and not worker.alive:
            worker.restarts()
            return True
        return False

    def start_warm(self, worker: WarmWorker, assignment: Assignment) -> Process:
        """A worker makes a process."""
        uid = f"{worker.uid}/{len(self.processes)}"
        process = Process(uid, worker.name, worker.node, assignment, worker=worker, given_up=worker.given_up)
        self.processes[uid] = process
        return process

    def pass_time(self, seconds: float) -> None:
        """All clocks go on."""
        self.clock.advance(seconds)
        for worker in self.workers.values():
            worker.tick()

    def _start(self, body: Json) -> None:
        given = _given(body)
        name, uid = body["metadata"]["name"], body["metadata"]["uid"]
        assignment = Assignment({**given, labels.ENV_POD_NAME: name, labels.ENV_POD_UID: uid})
        self.processes[uid] = Process(uid, name, body["spec"]["nodeName"], assignment)
        self._report(name, "Running", {"running": {}})

    def hold(self, name: str, reason: str) -> None:
        """The container of a pod that has not started cannot be started."""
        self._report(name, "Pending", {"waiting": {"reason": reason, "message": "No such thing."}})

    def _report(self, name: str, phase: str, state: Json) -> None:
        told = [{"name": labels.CONTAINER, "image": "registry.example/penstock:1", "state": state}]
        self.cluster.set_status(PODS, NAMESPACE, name, phase=phase, containerStatuses=told)

    def orphans(self) -> bool:
        """Kubelets end the processes whose pods are there no more, or have ended by others' word."""
        for worker in self.workers.values():
            pod = self.find(PODS, worker.name)
            there = pod is not None and pod["metadata"]["uid"] == worker.uid
            over = not there or (pod is not None and pod["status"]["phase"] == "Failed")
            if worker.inside and worker.alive and over and self.nodes[worker.node] == UP:
                worker.die()
                return True
        for process in self.processes.values():
            if process.worker is not None:
                continue
            body = self.find(PODS, process.pod)
            mine = body is not None and body["metadata"]["uid"] == process.uid
            over = not mine or (body is not None and body["status"]["phase"] in ("Succeeded", "Failed"))
            if process.alive and over and self.nodes[process.node] == UP:
                process.die(137)
                return True
        return False

    # Nodes.

    def node_falls_silent(self, name: str) -> None:
        """Its processes go on, and nothing is heard of them."""
        self.nodes[name] = SILENT

    def node_goes(self, name: str, *, dead: bool) -> None:
        """Somebody deletes the Node, and says by that that nothing runs there: rightly so, where it is dead."""
        self.nodes[name] = LOST
        self.cluster.remove(NODES, "", name)
        pods = [body for body in self.objects("Pod") if body["spec"].get("nodeName") == name]
        self.given_up |= {body["metadata"]["uid"] for body in pods}
        for worker in self.workers.values():
            if worker.node == name:
                worker.given_up = True
                if dead:
                    worker.die()
        for process in self.processes.values():
            if process.node == name:
                process.given_up = True
                if dead:
                    process.die(137)

    def node_comes(self, name: str) -> None:
        """It is heard of (again)."""
        self.nodes[name] = UP
        if (NODES.plural, "", name) not in self.cluster.objects:
            self.apply(NODES, name, {})

    # Controllers of Kubernetes.

    def pod_gc(self) -> bool:
        """Pods of nodes that are no more are failed, then deleted."""
        for body in self.objects("Pod"):
            node = body["spec"].get("nodeName")
            if node and self.nodes[node] == LOST:
                if body["status"]["phase"] in ("Succeeded", "Failed"):
                    self.cluster.remove(PODS, NAMESPACE, body["metadata"]["name"])
                else:
                    why = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}]
                    self.cluster.set_status(PODS, NAMESPACE, body["metadata"]["name"], phase="Failed", conditions=why)
                return True
        return False

    def garbage(self) -> bool:
        """Subflows, pods and Jobs of runs that are deleted are deleted."""
        uids = {body["metadata"]["uid"] for body in self.cluster.objects.values()}
        for body in self.objects("FlowRun"):
            owners = body["metadata"].get("ownerReferences") or []
            if owners and owners[0]["uid"] not in uids:
                self.delete_run(body["metadata"]["name"])
                return True
        for resource in (JOBS, PODS):
            for body in self.objects(resource.kind):
                meta = body["metadata"]
                if meta["ownerReferences"][0]["uid"] not in uids and "deletionTimestamp" not in meta:
                    at_once(self.cluster.delete(resource, NAMESPACE, meta["name"], propagation="Foreground"))
                    return True
        return False

    def job_controller(self, name: str, *, again: bool = False) -> bool:
        """A Job has one pod, or `again` one more, and ends when it has none that could run."""
        job = self.find(JOBS, name)
        if job is None:
            return False
        uid = job["metadata"]["uid"]
        pods = [body for body in self.objects("Pod") if body["metadata"]["ownerReferences"][0]["uid"] == uid]
        ended = (job.get("status") or {}).get("conditions")
        if job["metadata"].get("deletionTimestamp"):
            for body in pods:
                if "deletionTimestamp" not in body["metadata"]:
                    at_once(self.cluster.delete(PODS, NAMESPACE, body["metadata"]["name"]))
                    return True
            if not pods:
                self.cluster.remove(JOBS, NAMESPACE, name)
            return not pods
        if ended:
            return False
        if again or not (job.get("status") or {}).get("pods"):
            self._make_pod(job)
            return True
        if all(body["status"]["phase"] in ("Succeeded", "Failed") for body in pods):
            good = any(body["status"]["phase"] == "Succeeded" for body in pods)
            end = {"type": "Complete" if good else "Failed", "status": "True", "reason": "BackoffLimitExceeded"}
            self.cluster.set_status(JOBS, NAMESPACE, name, conditions=[end])
            return True
        return False

    def _make_pod(self, job: Json) -> None:
        count = (job.get("status") or {}).get("pods", 0) + 1
        name, template = job["metadata"]["name"], copy.deepcopy(job["spec"]["template"])
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
        meta = {**template["metadata"], "name": f"{name}-aaaa{count}"}
        meta["ownerReferences"] = [{**owner, "controller": True}]
        body = {"kind": "Pod", "metadata": meta, "spec": template["spec"]}
        at_once(self.cluster.create(PODS, NAMESPACE, body))
        self.cluster.set_status(JOBS, NAMESPACE, name, pods=count)

    def _give_up(self, body: Json | None) -> None:
        worker = self.workers.get(body["metadata"]["uid"]) if body else None
        if worker is not None:
            worker.given_up = True
            for each in worker.children.values():
                each.given_up = True
        process = self.processes.get(body["metadata"]["uid"]) if body else None
        if process is not None:
            process.given_up = True


def _is_worker(pod: Json) -> bool:
    return bool(pod["metadata"]["labels"].get(labels.COMPONENT) == labels.WORKER)


def _given(pod: Json) -> dict[str, str]:
    """The environment of the runner in a pod, as far as it is said there."""
    container = next(c for c in pod["spec"]["containers"] if c["name"] == labels.CONTAINER)
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
