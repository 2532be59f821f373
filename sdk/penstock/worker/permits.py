"""What a run in a warm worker may ask of the API server: a table of rules, each for one verb and one kind. Pure.

Called by the proxy for every request of a run's process. The rules say in the agent what the chart's roles and
admission policies say of pods, for the agent's own rights are those of all runs: a run reads its namespace's Penstock
objects, and writes what is its own. What is not allowed here is refused, whatever the API server would say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from ..api import labels, names

Body = dict[str, Any]
Ops = list[dict[str, Any]]
JSON_PATCH, MERGE_PATCH = "application/json-patch+json", "application/merge-patch+json"

_PATH = re.compile(
    r"/apis/(?P<group>[a-z0-9.-]+/[a-z0-9]+)/namespaces/(?P<namespace>[a-z0-9-]+)/(?P<plural>[a-z]+)"
    r"(?:/(?P<name>[a-z0-9][a-z0-9.-]*)(?:/(?P<subresource>status))?)?"
)
_GROUPS = {"events": "events.k8s.io/v1", "leases": "coordination.k8s.io/v1"}
_QUERY = frozenset(
    ("labelSelector", "fieldSelector", "resourceVersion", "watch", "timeoutSeconds", "limit", "continue")
)
LOCKS = "penstock-lock-"
# Fields of a run's status that are its runner's; all others are the operator's, and the agent's.
STATUS = frozenset(
    (
        "state",
        "history",
        "pod",
        "runCount",
        "startTime",
        "endTime",
        "duration",
        "pause",
        "answers",
        "claims",
        "tasks",
        "result",
        "conditions",
        "code",
    )
)
PAGE = frozenset(("records", "sealed", "summary", "failures", "encoding", "data"))


class Denied(Exception):
    """The run may not ask this; the message says why."""


class Unseen(Exception):
    """What is asked depends on an object of the run's namespace: look at it, and ask again."""

    def __init__(self, plural: str, name: str) -> None:
        super().__init__(f"{plural}/{name}")
        self.plural, self.name = plural, name


@dataclass(frozen=True, slots=True)
class Holder:
    """The attempt that a socket is for, and the worker it is in."""

    namespace: str
    run: str
    uid: str
    attempt: int
    worker_uid: str
    pod: str

    @property
    def identity(self) -> Body:
        """The run, as others name it."""
        return {"name": self.run, "uid": self.uid}

    @property
    def claim(self) -> Body:
        """`status.pod` of its runs."""
        return {"name": self.pod, "uid": self.worker_uid}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: the path as it was sent, and its body as JSON."""

    method: str
    target: str
    content_type: str = "application/json"
    body: Any = None


@dataclass(frozen=True, slots=True)
class _Request:
    holder: Holder
    verb: str
    name: str
    body: Any
    seen: Mapping[tuple[str, str], Body]

    def look(self, plural: str, name: str) -> Body:
        """The object, as it was seen. Raises Unseen."""
        if (plural, name) not in self.seen:
            raise Unseen(plural, name)
        return self.seen[plural, name]


def permitted(asked: Asked, holder: Holder, seen: Mapping[tuple[str, str], Body]) -> Any:
    """The body to send on, which is the one that was given with tests that fence it. Raises Denied and Unseen.

    `seen` has the objects that were looked at.
    """
    path, _, query = asked.target.partition("?")
    found = _PATH.fullmatch(path)
    if found is None or found["namespace"] != holder.namespace:
        raise Denied(f"{path[:200]}: a run asks of its own namespace, for Penstock's kinds, Events and locks")
    plural, name, subresource = found["plural"], found["name"] or "", found["subresource"] or ""
    if found["group"] != _GROUPS.get(plural, labels.API_VERSION):
        raise Denied(f"{plural} of {found['group']}: runs have no business with them")
    given = {key for key, _ in parse_qsl(query, keep_blank_values=True)}
    if not given <= (_QUERY if asked.method == "GET" else frozenset()):
        raise Denied(f"{asked.method} {plural}: no run asks with {', '.join(sorted(given - _QUERY)) or 'a query'}")
    verb = _verb(asked, name)
    rule = RULES.get((verb, f"{plural}/{subresource}" if subresource else plural))
    if rule is None:
        raise Denied(f"{verb} {plural}{subresource and '/'}{subresource}: a run in a worker may not")
    return rule(_Request(holder, verb, name, asked.body, seen))


def _verb(asked: Asked, name: str) -> str:
    """The request's verb, in the API server's words."""
    if asked.method == "GET":
        return "get" if name else "list"
    if asked.method == "PATCH" and name:
        kind = asked.content_type.partition(";")[0].strip()
        if kind not in (JSON_PATCH, MERGE_PATCH):
            raise Denied(f"PATCH with {kind[:80]}: JSON patches and merge patches are taken")
        return "merge" if kind == MERGE_PATCH else "patch"
    verb = {("POST", False): "create", ("PUT", True): "update", ("DELETE", True): "delete"}.get(
        (asked.method, bool(name))
    )
    if verb is None:
        raise Denied(f"{asked.method[:20]}: no run asks so")
    return verb


def _read(_: _Request) -> Any:
    return None


def _status(request: _Request) -> Any:
    """The status of the run itself, or of a subflow in its process; always fenced by uid and attempt."""
    holder = request.holder
    if request.name == holder.run:
        tests: Ops = [
            _test("/metadata/uid", holder.uid),
            _test("/status/attempt", holder.attempt),
            _test("/status/worker/uid", holder.worker_uid),
        ]
        return [*tests, *_checked_ops(request.body, lambda op: _check_status(op, holder))]
    child = request.look("flowruns", request.name)
    if not _is_subflow(child, holder):
        raise Denied(f"run {holder.run} cannot write the status of run {request.name}: it is no subflow of it")

    def check(op: dict[str, Any]) -> None:
        if op["path"] != "/status":
            _check_status(op, holder)
            return
        value = op.get("value")
        if op["op"] != "add" or not isinstance(value, dict) or not set(value) <= STATUS | {"attempt"}:
            raise Denied("status: a subflow's first write has what its runner knows")
        if value.get("pod") != holder.claim or value.get("attempt") != holder.attempt:
            raise Denied("status: a subflow has the pod and the attempt of its parent")

    return [_test("/metadata/uid", child["metadata"]["uid"]), *_checked_ops(request.body, check)]


def _is_subflow(body: Body, holder: Holder) -> bool:
    spec = body.get("spec") or {}
    return spec.get("infrastructure") == "Parent" and (spec.get("parent") or {}).get("uid") == holder.uid


def _check_status(op: dict[str, Any], holder: Holder) -> None:
    part, _, rest = op["path"].removeprefix("/status/").partition("/")
    if not op["path"].startswith("/status/") or part not in STATUS:
        raise Denied(f"{op['path'][:80]}: not a runner's to write")
    if part == "pod" and (op["op"] == "remove" or rest or op.get("value") != holder.claim):
        raise Denied("status.pod: a run is claimed for the worker it was given to")


def _test(path: str, value: Any) -> dict[str, Any]:
    return {"op": "test", "path": path, "value": value}


def _checked_ops(body: Any, check: Callable[[dict[str, Any]], None]) -> Ops:
    """A JSON patch that adds, replaces, removes and tests, where `check` refuses no operation."""
    if not isinstance(body, list):
        raise Denied("a JSON patch is a list of operations")
    for op in body:
        if not isinstance(op, dict) or not isinstance(op.get("path"), str):
            raise Denied("a JSON patch is a list of operations with a path")
        if op.get("op") not in ("test", "add", "replace", "remove"):
            raise Denied(f"a run's patches test, add, replace and remove, and do not {str(op.get('op'))[:20]}")
        if op["op"] != "test":
            check(op)
    return body


def _new(request: _Request, kind: str, *fields: str) -> tuple[Body, Body]:
    """A body to be created, and its metadata: of this kind, in this namespace, with these fields at most."""
    body = request.body
    if not isinstance(body, dict) or body.get("kind") != kind or not isinstance(body.get("metadata"), dict):
        raise Denied(f"a {kind} is created with kind and metadata")
    if fields and not set(body) <= {"apiVersion", "kind", "metadata", *fields}:
        raise Denied(f"a run creates a {kind} with {', '.join(fields)}")
    meta = body["metadata"]
    if not set(meta) <= {"name", "namespace", "labels", "annotations", "ownerReferences"} or not meta.get("name"):
        raise Denied("metadata: a run sets name, labels, annotations and ownerReferences")
    if meta.get("namespace") not in (None, request.holder.namespace):
        raise Denied("metadata.namespace: a run creates in its own")
    # By which the admission policies know whose it is.
    meta = {**meta, "annotations": {**(meta.get("annotations") or {}), labels.WORKER_UID: request.holder.worker_uid}}
    return {**body, "metadata": meta}, meta


def _check_owners(meta: Body, holder: Holder, *, needed: bool) -> None:
    owners = meta.get("ownerReferences") or []
    mine = all(
        owner.get("kind") == "FlowRun"
        and str(owner.get("apiVersion")).startswith(f"{labels.GROUP}/")
        and owner.get("uid") == holder.uid
        and owner.get("name") == holder.run
        for owner in owners
    )
    if not mine or (needed and len(owners) != 1):
        raise Denied("metadata.ownerReferences: what a run makes is owned by it" + ("" if needed else ", or by nobody"))


def _is_mine(reference: Any, holder: Holder) -> bool:
    return isinstance(reference, dict) and (reference.get("name"), reference.get("uid")) == (holder.run, holder.uid)


def _create_run(request: _Request) -> Any:
    """A child, within the rights of its parent: as the policy `runs-make-their-children` has it."""
    body, meta = _new(request, "FlowRun", "spec")
    spec, pod = body.get("spec") or {}, (body.get("spec") or {}).get("pod") or {}
    _check_owners(meta, request.holder, needed=False)
    if not _is_mine(spec.get("parent"), request.holder):
        raise Denied("spec.parent: a run makes children of its own")
    if not ("deploymentRef" in spec or "task" in spec or spec.get("infrastructure") == "Parent"):
        raise Denied(
            "spec: a run makes runs of deployments, its own subflows (infrastructure: Parent) and its own tasks"
        )
    for field in ("deploymentRef", "scheduledTime"):
        if "task" in spec and field in spec:
            raise Denied(f"spec.{field}: a run's own task has the code of the run, and starts at once")
    for field in ("workPool", "retryOf"):
        if field in spec:
            raise Denied(f"spec.{field}: not for runs to choose; a deployment or a person does")
    if any("valueFrom" in item for item in pod.get("env") or ()):
        raise Denied("spec.pod.env: a run gives its children values, and no references to Secrets")
    if "image" in pod and "task" not in spec:
        raise Denied("spec.pod.image: a run chooses the image of its own tasks only")
    return body


def _create_page(request: _Request) -> Any:
    holder = request.holder
    body, meta = _new(request, "TaskRunPage")
    _check_owners(meta, holder, needed=True)
    _check_page_name(meta["name"], holder)
    if not _is_mine(body.get("run"), holder) or body.get("attempt") != holder.attempt:
        raise Denied("a page is of its writer's run and attempt")
    return body


def _merge_page(request: _Request) -> Any:
    _check_page_name(request.name, request.holder)
    if not isinstance(request.body, dict) or not set(request.body) <= PAGE:
        raise Denied(f"of a page, {', '.join(sorted(PAGE))} are written again")
    return request.body


def _check_page_name(name: str, holder: Holder) -> None:
    base = names.task_page(holder.run, holder.uid, holder.attempt, 0).removesuffix("0")
    if not (name.startswith(base) and name.removeprefix(base).isdecimal()):
        raise Denied(f"page {name[:80]}: the pages of this attempt are called {base}…")


def _create_event(request: _Request) -> Any:
    holder = request.holder
    body, meta = _new(request, "Event")
    regarding = body.get("regarding") or {}
    if not _is_mine(regarding, holder) or regarding.get("kind") != "FlowRun":
        raise Denied("regarding: a run emits Events about itself")
    if regarding.get("namespace") != holder.namespace or not meta["name"].startswith(f"{holder.run}.e"):
        raise Denied(f"metadata.name: Events of this run are called {holder.run}.e…")
    if body.get("reportingController") != f"{labels.GROUP}/run":
        raise Denied(f"reportingController: that of runs is {labels.GROUP}/run")
    return body


def _create_artifact(request: _Request) -> Any:
    holder = request.holder
    body, meta = _new(request, "Artifact", "spec")
    spec = body.get("spec") or {}
    if not _is_mine(spec.get("run"), holder):
        raise Denied("spec.run: an artifact names the run that makes it")
    _check_owners(meta, holder, needed="key" not in spec)
    if "key" in spec and (meta["name"] != spec["key"] or meta.get("ownerReferences")):
        raise Denied("metadata: an artifact with a key is named by it, and owned by nobody")
    return body


def _patch_artifact(request: _Request) -> Any:
    """An artifact of this run, or one with a key, which is this run's then."""
    holder = request.holder
    there = (request.look("artifacts", request.name).get("spec")) or {}
    attempt = f"/metadata/labels/{labels.ATTEMPT.replace('/', '~1')}"
    signed = False

    def check(op: dict[str, Any]) -> None:
        nonlocal signed
        if op["op"] != "add" or op["path"] not in ("/spec/data", "/spec/description", "/spec/run", attempt):
            raise Denied(f"{op['path'][:80]}: an artifact keeps it")
        if op["path"] == "/spec/run":
            if not _is_mine(op.get("value"), holder):
                raise Denied("spec.run: an artifact names the run that writes it")
            signed = True

    ops = _checked_ops(request.body, check)
    if not _is_mine(there.get("run"), holder) and not (signed and "key" in there):
        raise Denied(f"artifact {request.name} is another run's")
    keeps = _test("/spec/key", there["key"]) if "key" in there else _test("/spec/run/uid", holder.uid)
    return [keeps, *ops]


def _create_variable(request: _Request) -> Any:
    body, _ = _new(request, "Variable", "spec")
    return body


def _patch_variable(request: _Request) -> Any:
    def check(op: dict[str, Any]) -> None:
        if not op["path"].startswith("/spec/"):
            raise Denied(f"{op['path'][:80]}: of a variable, the value and the tags are written")

    return _checked_ops(request.body, check)


def _create_lock(request: _Request) -> Any:
    body, meta = _new(request, "Lease", "spec")
    _check_lock(meta["name"])
    return body


def _lock(request: _Request) -> Any:
    _check_lock(request.name)
    if request.verb in ("merge", "delete") and not isinstance(request.body, dict | None):
        raise Denied("a lock is changed by a merge patch")
    return request.body


def _check_lock(name: str) -> None:
    if not name.startswith(LOCKS):
        raise Denied(f"lease {name[:80]}: a run holds locks only, which are called {LOCKS}…")


def _delete_variable(request: _Request) -> Any:
    return request.body


RULES: Mapping[tuple[str, str], Callable[[_Request], Any]] = {
    ("get", "flowruns"): _read,
    ("list", "flowruns"): _read,
    ("create", "flowruns"): _create_run,
    ("patch", "flowruns/status"): _status,
    ("get", "flowdeployments"): _read,
    ("list", "concurrencylimits"): _read,
    ("get", "taskrunpages"): _read,
    ("create", "taskrunpages"): _create_page,
    ("merge", "taskrunpages"): _merge_page,
    ("create", "events"): _create_event,
    ("get", "leases"): _lock,
    ("create", "leases"): _create_lock,
    ("merge", "leases"): _lock,
    ("delete", "leases"): _lock,
    ("get", "artifacts"): _read,
    ("list", "artifacts"): _read,
    ("create", "artifacts"): _create_artifact,
    ("patch", "artifacts"): _patch_artifact,
    ("get", "variables"): _read,
    ("list", "variables"): _read,
    ("create", "variables"): _create_variable,
    ("patch", "variables"): _patch_variable,
    ("delete", "variables"): _delete_variable,
}
