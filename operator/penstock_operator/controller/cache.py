"""What the operator knows of runs, pods, Jobs, deployments and lost nodes: the informers' view with its own writes
upon it.

Implements `reconcile.sources.Cache`. A write's answer is newer than the watch until its echo arrives, which is told
by resourceVersion: comparable integers for objects of one kind (KEP-5504).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from penstock.api import labels
from penstock.api.states import TERMINAL

from ..core import claimants, nodes, parameters_left_out, pod_events, schedules
from ..core.claimants import Claimant
from ..core.diagnosis import Diagnosis
from ..core.nodes import Silence
from ..core.views import PodView, RunView
from ..reconcile.sources import Key
from .bodies import Bodies
from .orphans import Orphans

Body = dict[str, Any]
Ref = tuple[str, str]

LAUNCHED = ("Pod", "Job")  # kinds of what runs are launched as, which carries their name
REMEMBERED_TOLD = 5000  # objects of which Events tell why they do not start
REMEMBERED_GONE = 1000  # for each kind; late answers are late by seconds


def newer(body: Body, known: Body | None) -> bool:
    """Whether `body` is at least as new as what is known under its name, be it of the same object or of a namesake."""
    return known is None or int(body["metadata"]["resourceVersion"]) >= int(known["metadata"]["resourceVersion"])


def slim(body: Body) -> Body:
    """The object without what nobody here reads, so that many of them fit in memory."""
    body["metadata"].pop("managedFields", None)
    body.get("metadata", {}).get("annotations", {}).pop("kubectl.kubernetes.io/last-applied-configuration", None)
    return body


def _parent(kind: str, body: Body) -> str | None:
    """Name of the run that made this one."""
    if kind != "FlowRun":
        return None
    name: str | None = ((body.get("spec") or {}).get("parent") or {}).get("name")
    return name


def _worker(kind: str, body: Body) -> str | None:
    """uid of the worker that has the run."""
    status = (body.get("status") or {}) if kind == "FlowRun" else {}
    at = status.get("worker")
    if not at or (status.get("state") or {}).get("type") in TERMINAL:
        return None
    exited = (at.get("exited") or {}).get("attempt") == status.get("attempt")
    return None if exited else str(at["uid"])


class ObjectCache:
    """Bodies by kind, namespace and name; pods and Jobs also by their run, runs by their parent and by their worker."""

    def __init__(self, claims_changed: Callable[[str], None] = lambda _: None, orphans: Orphans | None = None) -> None:
        """`claims_changed` is called with a namespace where something changed of what slots are granted by."""
        self._claims_changed = claims_changed
        self.orphans = orphans or Orphans()
        self._claimants: dict[str, dict[str, Claimant]] = defaultdict(dict)  # by namespace and name
        self._ghosts: dict[str, dict[str, Claimant]] = defaultdict(dict)  # of runs that are deleted, by uid
        self._objects: dict[str, Bodies] = defaultdict(Bodies)
        self._of_run: dict[str, dict[Ref, set[Ref]]] = {kind: defaultdict(set) for kind in LAUNCHED}
        self._children_of: dict[Ref, set[Ref]] = defaultdict(set)
        self._runs_in: dict[str, set[Ref]] = defaultdict(set)
        self._worker_of: dict[Ref, str] = {}
        self._lost_nodes: set[str] = set()
        self._silent_nodes: dict[str, Silence] = {}
        self._departed: dict[str, Body] = {}  # pods that are deleted, by uid, the oldest first
        self._told: dict[str, Diagnosis] = {}  # by uid of the object, the oldest first
        self._gone: dict[str, dict[Ref, int]] = defaultdict(dict)  # versions at which objects were lately found gone

    def refs(self, kind: str, namespace: str | None) -> Iterable[Ref]:
        """What is known of a kind in one namespace, or in all."""
        return [ref for ref in self._objects[kind] if namespace is None or ref[0] == namespace]

    def count(self, kind: str) -> int:
        """How many objects of a kind are known."""
        return len(self._objects[kind])

    def get(self, kind: str, key: Key) -> Body | None:
        """One object."""
        return self._objects[kind].get((key.namespace, key.name))

    def objects(self, kind: str) -> Iterable[Body]:
        """All known objects of a kind."""
        return self._objects[kind].values()

    def put(self, kind: str, body: Body) -> bool:
        """Take over what a watch, a read or a write told; False when something newer is known."""
        ref = (body["metadata"].get("namespace") or "", body["metadata"]["name"])
        version, known = int(body["metadata"]["resourceVersion"]), self._objects[kind].version(ref)
        if version < known:
            return False
        if version == known:
            return True  # the echo of a write
        if version <= self._gone[kind].get(ref, 0):
            return False  # an answer that comes after the news that the object is gone
        before = self.drop(kind, ref)
        if kind == "FlowRun" and before and before["metadata"]["uid"] != body["metadata"]["uid"]:
            self._bury_run(ref, before)  # its deletion was not heard of
        if kind == "Node":
            body = nodes.projection(body)
            self._note(body)
        elif kind == "FlowDeployment":
            body = schedules.projection(body)
        elif kind == "FlowRun":
            body = parameters_left_out.projection(body)
        self._objects[kind][ref] = slim(body)
        run = (body["metadata"].get("labels") or {}).get(labels.RUN)
        if kind in LAUNCHED and run:
            self._of_run[kind][(ref[0], run)].add(ref)
        parent = _parent(kind, body)
        if parent:
            self._children_of[(ref[0], parent)].add(ref)
        worker = _worker(kind, body)
        if worker:
            self._runs_in[worker].add(ref)
            self._worker_of[ref] = worker
        if kind == "FlowRun":
            self._note_claims(ref, claimants.claimant(body))
        self._objects[kind].taken_in(ref, version)
        return True

    def drop(self, kind: str, ref: Ref, version: str | None = None, *, departed: bool = False) -> Body | None:
        """Forget an object that is gone, at `version` if not now; what was known of it, None when it is not dropped.

        Of a pod that has departed its last words are kept for a while: they say why.
        """
        if version:
            if self._objects[kind].version(ref) > int(version):
                return None
            gone = self._gone[kind]
            gone.pop(ref, None)  # so that the oldest comes first
            gone[ref] = int(version)
            if len(gone) > REMEMBERED_GONE:
                gone.pop(next(iter(gone)))
        body = self._objects[kind].take(ref)
        if kind == "FlowRun" and version:
            self._bury_run(ref, body)
        if kind == "Pod" and body and (version or departed):
            self._bury(body)
        run = ((body or {}).get("metadata", {}).get("labels") or {}).get(labels.RUN)
        if kind in LAUNCHED and run:
            launched = self._of_run[kind].get((ref[0], run), set())
            launched.discard(ref)
            if not launched:
                self._of_run[kind].pop((ref[0], run), None)
        parent = _parent(kind, body or {})
        if parent:
            children = self._children_of.get((ref[0], parent), set())
            children.discard(ref)
            if not children:
                self._children_of.pop((ref[0], parent), None)
        worker = self._worker_of.pop(ref, None) if kind == "FlowRun" else None
        if worker:
            self._runs_in[worker].discard(ref)
            if not self._runs_in[worker]:
                del self._runs_in[worker]
        return body

    def runs_in(self, worker: str) -> frozenset[Ref]:
        """Runs that the worker with that uid has, and that have not ended."""
        return frozenset(self._runs_in.get(worker, ()))

    def _note_claims(self, ref: Ref, claimant: Claimant | None) -> None:
        namespace, name = ref
        before = self._claimants[namespace].pop(name, None)
        if claimant is not None:
            self._claimants[namespace][name] = claimant
        if before != claimant:
            self._claims_changed(namespace)

    def _bury_run(self, ref: Ref, body: Body | None) -> None:
        """Of a run that is deleted the slots are held until its pod is gone, or its process in a worker."""
        if body is not None and _worker("FlowRun", body):
            self.orphans.left(RunView(body))
        claimant = self._claimants[ref[0]].get(ref[1])
        if claimant is not None:
            self._ghosts[ref[0]][claimant.uid] = claimant.ended()
            self._note_claims(ref, None)

    def claimants(self, namespace: str) -> Sequence[Claimant]:
        """Attempts whose processes hold slots or wait for some; those of deleted runs as long as their pods live, or
        they themselves in a worker."""
        ghosts = self._ghosts[namespace]
        for uid, ghost in list(ghosts.items()):
            pods = (PodView(pod) for pod in self.pods(Key(namespace, ghost.name)))
            live = any(pod.uid == ghost.pod_uid and not pod.gone for pod in pods)
            if not live and self.orphans.get(uid) is None:
                del ghosts[uid]
        return [*self._claimants[namespace].values(), *ghosts.values()]

    def haunted(self, namespace: str) -> bool:
        """Whether the end of a pod there may free slots of a run that is deleted."""
        return bool(self._ghosts.get(namespace))

    def limits(self, namespace: str) -> Iterable[Body]:
        """ConcurrencyLimits of which code takes slots; those of a tag are admission's."""
        limits = self._objects["ConcurrencyLimit"]
        found = (limits.get(ref) for ref in self.refs("ConcurrencyLimit", namespace))
        return [body for body in found if body is not None and "tag" not in body["spec"]]

    def limited(self) -> set[str]:
        """Namespaces in which there is something to grant, or to say of limits."""
        claimed = {namespace for namespace, runs in self._claimants.items() if runs}
        return claimed | {namespace for namespace, _ in self.refs("ConcurrencyLimit", None)}

    def parents(self, namespace: str) -> Iterable[str]:
        """Names of the runs that made those of the namespace that are under way."""
        return [name for where, name in self._children_of if where == namespace]

    def _note(self, node: Body) -> None:
        name, quiet = node["metadata"]["name"], nodes.silence(node)
        (self._lost_nodes.add if nodes.out_of_service(node) else self._lost_nodes.discard)(name)
        self._silent_nodes.pop(name, None)
        if quiet:
            self._silent_nodes[name] = quiet

    def tell(self, event: Body) -> bool:
        """Note an Event; whether it tells why a pod does not start."""
        cause, uid = pod_events.cause(event), event["regarding"].get("uid")
        if cause is None or not uid:
            return False
        self._told.pop(uid, None)
        self._told[uid] = cause
        if len(self._told) > REMEMBERED_TOLD:
            self._told.pop(next(iter(self._told)))
        return True

    def _bury(self, pod: Body) -> None:
        self._departed[pod["metadata"]["uid"]] = pod
        if len(self._departed) > REMEMBERED_GONE:
            self._departed.pop(next(iter(self._departed)))

    def of_node(self, name: str) -> tuple[bool, Silence | None]:
        """Whether a node is gone, and since when it is silent."""
        return name in self._lost_nodes, self._silent_nodes.get(name)

    # reconcile.sources.Cache

    def run(self, key: Key) -> Body | None:
        return self.get("FlowRun", key)

    def deployment(self, key: Key) -> Body | None:
        return self.get("FlowDeployment", key)

    def pods(self, key: Key) -> Sequence[Body]:
        return self._launched("Pod", key)

    def jobs(self, key: Key) -> Sequence[Body]:
        return self._launched("Job", key)

    def _launched(self, kind: str, key: Key) -> Sequence[Body]:
        found = self._of_run[kind].get((key.namespace, key.name), ())
        return [self._objects[kind][ref] for ref in found if ref in self._objects[kind]]

    def children(self, key: Key) -> Sequence[Body]:
        children = self._children_of.get((key.namespace, key.name), ())
        return [self._objects["FlowRun"][ref] for ref in children if ref in self._objects["FlowRun"]]

    def job(self, key: Key, name: str) -> Body | None:
        return self._objects["Job"].get((key.namespace, name))

    def lost_nodes(self) -> frozenset[str]:
        return frozenset(self._lost_nodes)

    def silent_nodes(self) -> Mapping[str, Silence]:
        return self._silent_nodes

    def told(self, uid: str) -> Diagnosis | None:
        return self._told.get(uid)

    def remember(self, body: Body) -> None:
        kind = body["kind"]
        if kind == "FlowRun" and (body.get("status") or {}).get("settled"):
            meta = body["metadata"]
            self.drop(kind, (meta["namespace"], meta["name"]), meta["resourceVersion"])
            return
        self.put(kind, body)

    def departed(self, uid: str) -> Body | None:
        return self._departed.get(uid)

    def forget_pod(self, key: Key, name: str) -> None:
        self.drop("Pod", (key.namespace, name), departed=True)

    def forget_job(self, key: Key, name: str) -> None:
        self.drop("Job", (key.namespace, name))

    def forget_node(self, name: str) -> None:
        self.drop("Node", ("", name))
        if len(self._lost_nodes) >= REMEMBERED_GONE:
            self._lost_nodes &= {pod.get("spec", {}).get("nodeName") for pod in self.objects("Pod")}
        self._lost_nodes.add(name)
        self._silent_nodes.pop(name, None)
