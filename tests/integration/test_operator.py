"""The operator against a real API server: its controller and its client as in production, in one namespace.

There is no kubelet, no Job controller and no garbage collector: the tests play them, and the runner, as administrator.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Self, TypeVar

import pytest

from api_client import ApiClient, Refused
from penstock.api import labels, names
from penstock_cluster.control_plane import ControlPlane, tls
from penstock_operator.cluster import ApiCluster, Connection, Expired, ResourceType, WatchEvent
from penstock_operator.controller.controller import Controller, utc_now
from penstock_operator.core.views import format_time
from penstock_operator.launch.pods import Defaults
from penstock_operator.reconcile.blocks import Blocks
from penstock_operator.reconcile.flowdeployments import FlowDeployments
from penstock_operator.reconcile.flows import Flows
from penstock_operator.reconcile.sources import Key
from penstock_operator.reconcile.workpools import WorkPools

Json = dict[str, Any]
T = TypeVar("T")

SOURCE = "from penstock import flow\n\n@flow\ndef etl(n: int): ...\n"
PARAMETERS = {
    "type": "object",
    "properties": {"n": {"type": "integer"}, "options": {"type": "object", "properties": {"deep": {"type": "string"}}}},
    "required": ["n"],
}
DEFAULTS = Defaults("registry.example/penstock:1")
PATIENCE = 60.0


def eventually(read: Callable[[], T], what: str = "it") -> T:
    """What `read` gives once it gives something."""
    deadline = time.monotonic() + PATIENCE
    while True:
        found = read()
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.03)


class GappyCluster(ApiCluster):
    """The real client, whose watches can be made to miss what happens, for so long that they cannot be resumed."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.deaf = threading.Event()
        self.missed: set[str] = set()

    async def watch(  # type: ignore[override]
        self, resource: ResourceType, namespace: str | None = None, **how: Any
    ) -> AsyncIterator[WatchEvent]:
        async with contextlib.aclosing(super().watch(resource, namespace, **how)) as stream:  # type: ignore[type-var]
            async for event in stream:
                if self.deaf.is_set():
                    self.missed.add(resource.plural)
                    break
                yield event
            else:
                return
        while self.deaf.is_set():
            await asyncio.sleep(0.02)
        raise Expired(410, "Expired", "too old resource version")


class Operator:
    """An operator process in a thread of its own; leaving it kills it in the midst of what it does."""

    def __init__(self, plane: ControlPlane, namespace: str, **how: Any) -> None:
        self._plane, self.namespace, self._how = plane, namespace, how
        self._thread = threading.Thread(target=self._main, name="operator")
        self._selector = selectors.DefaultSelector()
        self._synced, self._failure = threading.Event(), None
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[None]
        self.controller: Controller
        self.cluster: GappyCluster

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._synced.wait(PATIENCE), self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._failure is not None:
            raise self._failure

    def _main(self) -> None:
        loop = asyncio.SelectorEventLoop(self._selector)
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(self._run())
        except BaseException as error:  # told by the thread of the test
            self._failure = error
            self._synced.set()

    async def _run(self) -> None:
        connection = Connection(self._plane.url, tls(self._plane.folder / "pki"))
        self._loop = asyncio.get_running_loop()
        async with GappyCluster(connection) as cluster:
            self.cluster = cluster
            self.controller = Controller(cluster, DEFAULTS, namespaces=(self.namespace,), instance="test", **self._how)
            self.controller.register("Flow", Flows(cluster, utc_now, self.controller.revisions).reconcile)
            deployments = FlowDeployments(
                cluster, self.controller.cache, utc_now, self.controller.revisions, self.controller.schedules
            )
            self.controller.register("FlowDeployment", deployments.reconcile)
            self.controller.register("Block", Blocks(cluster, utc_now).reconcile)
            self.controller.register(
                "WorkPool", WorkPools(cluster, DEFAULTS, utc_now, self.controller.worker_pods).reconcile
            )
            self._task = asyncio.create_task(self.controller.run())
            for informer in self.controller.informers:
                await informer.synced.wait()
            self._synced.set()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        while len(self._selector.get_map()) > 1:  # TLS connections close a little after their session
            await asyncio.sleep(0.01)

    def touch(self, kind: str, name: str) -> None:
        """kopf tells of an object."""
        self._loop.call_soon_threadsafe(self.controller.touch, kind, Key(self.namespace, name))

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """What happens meanwhile is never told."""
        self.cluster.deaf.set()
        yield
        self.cluster.deaf.clear()


class Team:
    """A namespace with a flow, and everyone in it but the operator."""

    def __init__(self, admin: ApiClient, plane: ControlPlane, namespace: str) -> None:
        self.admin, self.plane, self.namespace = admin, plane, namespace

    # The user.

    def apply(self, kind: str, name: str, spec: Json) -> Json:
        meta = {"name": name, "namespace": self.namespace}
        return self.admin.create({"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, "spec": spec})

    def install(self, pool_type: str = "Pod", *, deployment: Json | None = None, pool: Json | None = None) -> None:
        """Apply a flow, its pool and its deployment."""
        flow = {"code": {"source": {"text": SOURCE}}, "entrypoint": "flow:etl", "parameters": PARAMETERS}
        self.apply("Flow", "etl", flow)
        self.apply("WorkPool", "default", {"type": pool_type, **(pool or {})})
        self.deploy(**(deployment or {}))

    def deploy(self, **spec: Any) -> None:
        self.apply("FlowDeployment", "etl", {"flowRef": {"name": "etl"}, "parameters": {"n": 1}, **spec})

    def submit(self, name: str = "run", **spec: Any) -> Json:
        return self.apply("FlowRun", name, {"deploymentRef": {"name": "etl"}, **spec})

    def cancel(self, name: str = "run") -> None:
        self.admin.merge("FlowRun", self.namespace, name, {"spec": {"cancel": True}})

    # What is there.

    def get(self, kind: str, name: str) -> Json | None:
        try:
            return self.admin.get(kind, self.namespace, name)
        except Refused as refused:
            if refused.code != 404:
                raise
            return None

    def status(self, name: str = "run") -> Json:
        found: Json = (self.get("FlowRun", name) or {}).get("status") or {}
        return found

    def state(self, name: str = "run") -> tuple[str, str]:
        state = self.status(name).get("state") or {"type": "", "reason": ""}
        return state["type"], state["reason"]

    def reaches(self, state: str, reason: str, name: str = "run") -> Json:
        """Status of a run once it is in that state."""
        what = f"{name} {state} {reason}"
        return eventually(lambda: self.state(name) == (state, reason) and self.status(name), what) or {}

    def settles(self, name: str = "run") -> Json:
        """Status of a run once it is settled."""
        return eventually(lambda: self.status(name).get("settled") and self.status(name), f"the end of {name}") or {}

    def condition(self, kind: str, name: str, type_: str) -> tuple[str, str, str] | None:
        conditions = ((self.get(kind, name) or {}).get("status") or {}).get("conditions") or []
        return next((((c["status"], c["reason"], c["message"])) for c in conditions if c["type"] == type_), None)

    def list(self, kind: str) -> list[Json]:
        items: list[Json] = self.admin.list(kind, self.namespace)["items"]
        return items

    def events(self, name: str = "run") -> dict[str, str]:
        """Reasons of a run's Events, by name of the Event."""
        found = [event for event in self.list("Event") if event["regarding"]["name"] == name]
        return {event["metadata"]["name"]: event["reason"] for event in found}

    def operator_writes(self) -> list[tuple[str, str]]:
        """Verb and resource of the operator's writes in this namespace, in order, Events aside."""
        found = []
        for entry in self.plane.audited():
            target = entry.get("objectRef") or {}
            dry = "dryRun=All" in entry.get("requestURI", "")
            if target.get("namespace") == self.namespace and "aiohttp" in entry.get("userAgent", "") and not dry:
                resource = "/".join(filter(None, (target["resource"], target.get("subresource"))))
                found.append((entry["verb"], resource))
        return [write for write in found if write[1] != "events"]

    def writes_of_runs(self) -> list[tuple[str, str]]:
        """Those of them that runs need; conditions of flows, deployments and pools come whenever these are swept."""
        conditions = [("patch", f"{plural}/status") for plural in ("flows", "flowdeployments", "workpools")]
        return [write for write in self.operator_writes() if write not in conditions]

    # The scheduler, the kubelet, the Job controller, the garbage collector.

    def pod(self, name: str = "run-1") -> Json:
        """A pod once the operator has made it."""
        return eventually(lambda: self.get("Pod", name), f"pod {name}") or {}

    def start_pod(self, name: str = "run-1", node: str = "node-1") -> None:
        self.pod(name)
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
        binding["target"] = {"kind": "Node", "name": node}
        self.admin.request("POST", f"/api/v1/namespaces/{self.namespace}/pods/{name}/binding", json=binding)
        self.pod_status(name, phase="Running", containerStatuses=[_container(running={"startedAt": _now()})])

    def end_pod(self, name: str = "run-1", code: int = 0, reason: str = "") -> None:
        terminated = {"exitCode": code, "reason": reason or ("Error" if code else "Completed"), "finishedAt": _now()}
        phase = "Failed" if code else "Succeeded"
        self.pod_status(name, phase=phase, containerStatuses=[_container(terminated=terminated)])

    def pod_status(self, name: str, **fields: Any) -> None:
        self.admin.merge("Pod", self.namespace, name, {"status": fields}, "status")

    def remove(self, kind: str, name: str) -> None:
        self.admin.delete(kind, self.namespace, name)

    def make_pod_of_job(self, job: Json) -> str:
        name, meta = f"{job['metadata']['name']}-abcde", job["spec"]["template"]["metadata"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "controller": True}
        owners = [{**owner, "uid": job["metadata"]["uid"]}]
        meta = {**meta, "name": name, "namespace": self.namespace, "ownerReferences": owners}
        self.admin.create(
            {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": job["spec"]["template"]["spec"]}
        )
        return name

    def end_job(self, name: str = "run-1") -> None:
        met = {"status": "True", "lastTransitionTime": _now(), "lastProbeTime": _now(), "reason": "", "message": ""}
        status = {
            "conditions": [{"type": "SuccessCriteriaMet", **met}, {"type": "Complete", **met}],
            "startTime": _now(),
            "completionTime": _now(),
            "succeeded": 1,
        }
        self.admin.merge("Job", self.namespace, name, {"status": status}, "status")

    # The runner.

    def enter(self, state: str, reason: str, name: str = "run", *more: Json) -> None:
        """The runner writes a state, as it does: by one patch that tests what it knows."""
        status, uid = self.status(name), (self.get("FlowRun", name) or {})["metadata"]["uid"]
        seq = status["state"]["seq"]
        time = format_time(utc_now())
        entry = {"type": state, "name": state, "reason": reason, "message": "", "time": time, "seq": seq + 1}
        remembered = {**entry, "attempt": status["attempt"], "writer": "runner"}
        operations = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "test", "path": "/status/attempt", "value": status["attempt"]},
            {"op": "test", "path": "/status/state/seq", "value": seq},
            {"op": "replace", "path": "/status/state", "value": entry},
            {"op": "add", "path": "/status/history/-", "value": remembered},
            *more,
        ]
        self.admin.patch("FlowRun", self.namespace, name, operations, "status")

    def claim(self, pod: str = "run-1", name: str = "run") -> None:
        claimed = {"name": pod, "uid": self.pod(pod)["metadata"]["uid"]}
        start = {"op": "add", "path": "/status/startTime", "value": format_time(utc_now())}
        more = [] if "startTime" in self.status(name) else [start]
        self.enter("Running", "Started", name, {"op": "add", "path": "/status/pod", "value": claimed}, *more)

    def complete(self, pod: str = "run-1", name: str = "run") -> None:
        self.enter("Completed", "Completed", name, {"op": "add", "path": "/status/result", "value": {"inline": 3}})
        self.end_pod(pod)


def _now() -> str:
    """A time as the kubelet writes it."""
    return format_time(utc_now())[:19] + "Z"


def _container(**state: Json) -> Json:
    image = {"image": "registry.example/penstock:1", "imageID": "", "ready": False, "restartCount": 0}
    return {"name": labels.CONTAINER, "state": state, **image}


@pytest.fixture
def team(admin: ApiClient, control_plane: ControlPlane, namespace: str) -> Team:
    return Team(admin, control_plane, namespace)


@pytest.fixture
def operator(control_plane: ControlPlane, namespace: str) -> Iterator[Operator]:
    with Operator(control_plane, namespace) as running:
        yield running


@pytest.fixture
def running(team: Team, operator: Operator) -> Team:
    """A run that its pod has claimed."""
    team.install()
    team.submit()
    team.start_pod()
    team.claim()
    return team


def test_a_run_lives_in_a_pod(team: Team, operator: Operator) -> None:
    """What is written is valid, and it is three writes beside the Events, once code and revisions are kept."""
    team.install()
    for name in ("first", "second"):
        team.submit(name)
        team.start_pod(f"{name}-1")
        status = team.reaches("Pending", "Launched", name)
        assert status["parameters"] == {"n": 1}
        team.claim(f"{name}-1", name)
        team.complete(f"{name}-1", name)
        status = team.settles(name)
        assert (status["attempt"], status["observedSeq"], status["result"]) == (1, 4, {"inline": 3})
    code = team.get("ConfigMap", status["resolved"]["code"]["configMap"])
    assert code is not None
    assert (code["data"], code["immutable"]) == ({labels.CODE_FILE: SOURCE}, True)
    life = [("patch", "flowruns/status"), ("create", "pods"), ("patch", "flowruns/status")]
    kept = {("create", "configmaps"): 1, ("create", "controllerrevisions"): 3}  # of flow, deployment and pool, once
    assert eventually(lambda: len(team.writes_of_runs()) >= 10)
    writes = team.writes_of_runs()
    assert [write for write in writes if write not in kept] == [*life, *life]
    assert Counter(write for write in writes if write in kept) == kept


def test_a_run_lives_in_a_job(team: Team, operator: Operator) -> None:
    team.install("Job")
    team.submit()
    job = eventually(lambda: team.get("Job", "run-1"), "the Job") or {}
    assert (job["spec"]["backoffLimit"], job["spec"]["podReplacementPolicy"]) == (0, "Failed")
    pod = team.make_pod_of_job(job)
    team.start_pod(pod)
    team.claim(pod)
    team.complete(pod)
    assert not team.status().get("settled")
    team.end_job()
    assert team.settles()["state"]["type"] == "Completed"


def test_pods_are_admitted_where_only_restricted_ones_are(team: Team, operator: Operator) -> None:
    enforced = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    team.admin.merge("Namespace", None, team.namespace, enforced)
    team.install()
    team.submit()
    team.pod()
    team.apply("WorkPool", "host", {"type": "Pod", "template": {"spec": {"hostNetwork": True}}})
    operator.touch("WorkPool", "host")
    told = eventually(lambda: team.condition("WorkPool", "host", "Ready"), "the pool's condition")
    assert told is not None
    assert told[:2] == ("False", "PodCreateForbidden")
    assert "violates PodSecurity" in told[2]
    team.submit("refused", workPool="host")
    told = eventually(lambda: team.condition("FlowRun", "refused", "PodReady"), "the run's condition")
    assert told is not None
    assert told[:2] == ("False", "PodCreateForbidden")
    assert team.state("refused") == ("Pending", "Launched")


def test_parameters_that_do_not_fit_are_told_by_path(team: Team, operator: Operator) -> None:
    team.install()
    team.submit(parameters={"options": {"deep": 7}})
    status = team.settles()
    assert (status["state"]["type"], status["state"]["reason"]) == ("Failed", "InvalidParameters")
    assert "options.deep: 7 is not of type 'string'" in status["state"]["message"]
    assert team.list("Pod") == []


def test_a_template_that_the_api_server_does_not_take_crashes_its_runs_and_is_told_on_the_pool(
    team: Team, operator: Operator
) -> None:
    template = {"spec": {"containers": [{"name": "flow", "resources": {"requests": {"memory": "plenty"}}}]}}
    team.install(pool={"template": template})
    operator.touch("WorkPool", "default")
    told = eventually(lambda: team.condition("WorkPool", "default", "Ready"), "the pool's condition")
    assert told is not None
    assert told[:2] == ("False", "PodInvalid")
    team.submit()
    status = team.settles()
    assert (status["state"]["type"], status["state"]["reason"]) == ("Crashed", "PodInvalid")
    assert "quantit" in status["state"]["message"]


def test_a_block_says_whether_flows_can_use_it(team: Team, operator: Operator) -> None:
    """Its Secret is neither there nor looked for."""
    spec = {"type": "secret", "secrets": {"value": {"name": "no-such-secret", "key": "value"}}}
    team.apply("Block", "api-key", spec)
    operator.touch("Block", "api-key")
    told = eventually(lambda: team.condition("Block", "api-key", "Ready"), "the block's condition")
    assert told == ("True", "Ready", "")
    team.admin.merge("Block", team.namespace, "api-key", {"spec": {"data": {"encoding": "hex"}}})
    operator.touch("Block", "api-key")
    wanted = ("False", "InvalidSpec", "spec.data.encoding: must be text or json")
    eventually(lambda: team.condition("Block", "api-key", "Ready") == wanted, "the block's new condition")


def test_a_run_whose_deployment_comes_later_proceeds(team: Team, operator: Operator) -> None:
    team.install()
    team.remove("FlowDeployment", "etl")
    team.submit()
    team.reaches("Scheduled", "DeploymentNotFound")
    told = team.condition("FlowRun", "run", "Resolved")
    assert told is not None
    assert told[0] == "False"
    team.deploy()
    operator.touch("FlowDeployment", "etl")
    team.reaches("Pending", "Launched")
    assert team.condition("FlowRun", "run", "Resolved") == ("True", "Accepted", "deployment, flow and pool were found")
    assert team.condition("FlowDeployment", "etl", "Ready") == ("True", "Ready", "")


def test_a_pod_that_is_killed_for_its_memory_crashes_its_run(running: Team) -> None:
    running.end_pod(code=137, reason="OOMKilled")
    status = running.settles()
    assert (status["state"]["type"], status["state"]["reason"]) == ("Crashed", "OOMKilled")


def test_a_pod_that_is_deleted_crashes_its_run(running: Team) -> None:
    running.remove("Pod", "run-1")
    status = running.settles()
    assert (status["state"]["type"], status["state"]["reason"]) == ("Crashed", "PodDeleted")


@pytest.mark.parametrize(
    ("pool_type", "reason", "told"),
    [("Pod", "FailedMount", "MountFailed"), ("Job", "FailedCreate", "PodCreateForbidden")],
)
def test_what_kubernetes_says_in_events_only_is_told_on_the_run(
    pool_type: str, reason: str, told: str, team: Team, operator: Operator
) -> None:
    """Before or after the Event of another kind, and of a pod or Job as it is on its node."""
    team.install(pool_type)
    team.submit()
    about = eventually(lambda: team.get(pool_type, "run-1"), "the Pod or Job") or {}
    if pool_type == "Pod":
        team.start_pod()
        team.pod_status("run-1", phase="Pending", containerStatuses=None)
    for number, said in enumerate(("Killing", reason)):
        regarding = {"kind": pool_type, "namespace": team.namespace, "name": "run-1", "uid": about["metadata"]["uid"]}
        team.admin.create(
            {
                "apiVersion": "events.k8s.io/v1",
                "kind": "Event",
                "metadata": {"name": f"run-1.{number}", "namespace": team.namespace},
                "eventTime": format_time(utc_now()),
                "type": "Warning",
                "reason": said,
                "action": "Trying",
                "note": 'secret "db" not found',
                "reportingController": "kubelet",
                "reportingInstance": "node-1",
                "regarding": regarding,
            }
        )
    found = eventually(lambda: team.condition("FlowRun", "run", "PodReady"), "the condition")
    assert found is not None
    assert found[:2] == ("False", told)
    assert 'secret "db" not found' in found[2]


@pytest.fixture
def node(admin: ApiClient, namespace: str) -> Iterator[Callable[..., None]]:
    """A Node of the test's own, which it says something of, as the kubelet and the node controller do."""
    name = f"node-{namespace}"
    admin.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})

    def says(ready: str, taint: str | None = None) -> None:
        told = {"type": "Ready", "status": ready, "reason": "NodeStatusUnknown", "message": "Kubelet is silent."}
        since = {"lastTransitionTime": _now(), "lastHeartbeatTime": _now()}
        admin.merge("Node", None, name, {"status": {"conditions": [{**told, **since}]}}, "status")
        taints = [{"key": taint, "effect": "NoExecute"}] if taint else None
        admin.merge("Node", None, name, {"spec": {"taints": taints}})

    says("True")
    yield says
    with contextlib.suppress(Refused):
        admin.delete("Node", None, name)


@pytest.fixture
def on_node(
    team: Team, control_plane: ControlPlane, namespace: str, node: Callable[..., None]
) -> Callable[..., contextlib.AbstractContextManager[Operator]]:
    """Starts an operator that may read Nodes; the first time with a claimed run on the test's node."""

    @contextlib.contextmanager
    def operated(pool_type: str = "Pod", **pool: Any) -> Iterator[Operator]:
        with Operator(control_plane, namespace, watch_nodes=True) as operator:
            if not team.get("FlowRun", "run"):
                team.install(pool_type, deployment={"infraRetries": {"limit": 1, "reasons": ["NodeLost"]}}, pool=pool)
                team.submit()
                team.start_pod(node=f"node-{namespace}")
                team.claim()
            yield operator

    return operated


def test_a_silent_node_is_told_on_its_runs_and_taken_back(
    team: Team, on_node: Callable[..., Any], node: Callable[..., None]
) -> None:
    with on_node():
        for ready, told in (("Unknown", "True"), ("True", "False"), ("False", "True")):
            node(ready)
            eventually(lambda told=told: (team.condition("FlowRun", "run", "NodeLost") or "")[:1] == (told,), ready)  # type: ignore[misc]
        assert "is not ready since" in (team.condition("FlowRun", "run", "NodeLost") or ("", "", ""))[2]
        assert team.state() == ("Running", "Started")
        team.complete()
        assert team.settles()["state"]["type"] == "Completed"
    assert (team.condition("FlowRun", "run", "NodeLost") or "")[:2] == ("False", "NodeReady")


def test_a_pod_on_a_silent_node_is_given_up_by_force_where_the_pool_says_so(
    team: Team, on_node: Callable[..., Any], node: Callable[..., None]
) -> None:
    """Its kubelet would never let it go; the run goes on elsewhere, and what the old pod still does is fenced."""
    with on_node(onNodeLost={"policy": "ForceDelete", "afterSeconds": 1}):
        first = team.pod("run-1")["metadata"]["uid"]
        node("Unknown")
        team.pod("run-2")
        assert team.get("Pod", "run-1") is None
        status = team.status()
        lost = next(entry for entry in status["history"] if entry["name"] == "AwaitingRetry")
        assert (lost["reason"], status["infraRetries"], status["attempt"]) == ("NodeLost", 1, 2)
        assert status.get("pod", {}).get("uid") != first


@pytest.mark.parametrize("how", ["is deleted", "is taken out of service"])
def test_a_node_that_goes_takes_its_runs_with_it(
    how: str, team: Team, on_node: Callable[..., Any], node: Callable[..., None]
) -> None:
    with on_node():
        if how == "is deleted":
            team.admin.delete("Node", None, f"node-{team.namespace}")
        else:
            node("Unknown", "node.kubernetes.io/out-of-service")
        team.pod("run-2")
        lost = next(entry for entry in team.status()["history"] if entry["name"] == "AwaitingRetry")
        assert lost["reason"] == "NodeLost"


@pytest.mark.parametrize("how", ["is deleted", "is taken out of service"])
def test_a_node_that_goes_while_no_operator_runs_takes_its_runs_with_it(
    how: str, team: Team, on_node: Callable[..., Any], node: Callable[..., None]
) -> None:
    with on_node():
        pass
    if how == "is deleted":
        team.admin.delete("Node", None, f"node-{team.namespace}")
    else:
        node("Unknown", "node.kubernetes.io/out-of-service")
    with on_node():
        team.pod("run-2")
        lost = next(entry for entry in team.status()["history"] if entry["name"] == "AwaitingRetry")
        assert lost["reason"] == "NodeLost"


def test_a_run_that_is_cancelled_on_a_silent_node_waits_for_it(
    team: Team, on_node: Callable[..., Any], node: Callable[..., None]
) -> None:
    with on_node():
        node("Unknown")
        team.cancel()
        team.reaches("Cancelling", "CancelRequested")
        eventually(lambda: (team.condition("FlowRun", "run", "NodeLost") or "")[:1] == ("True",))
        eventually(lambda: team.pod()["metadata"].get("deletionTimestamp"), "the deletion of the pod")
        assert team.state() == ("Cancelling", "CancelRequested")
        node("Unknown", "node.kubernetes.io/out-of-service")
        assert team.settles()["state"]["type"] == "Cancelled"


def test_a_retried_attempt_is_launched_as_the_first_was(team: Team, operator: Operator) -> None:
    team.install(deployment={"infraRetries": {"limit": 1}}, pool={"image": "flows:1"})
    team.submit()
    team.start_pod()
    team.claim()
    team.admin.merge("WorkPool", team.namespace, "default", {"spec": {"image": "flows:2"}})
    team.admin.merge("FlowDeployment", team.namespace, "etl", {"spec": {"infraRetries": {"limit": 0}}})
    team.end_pod(code=137, reason="OOMKilled")
    assert team.pod("run-2")["spec"]["containers"][0]["image"] == "flows:1"
    team.start_pod("run-2")
    team.claim("run-2")
    team.complete("run-2")
    status = team.settles()
    assert [entry["type"] for entry in status["history"]] == [
        *("Scheduled", "Pending", "Running"),
        *("Scheduled", "Pending", "Running", "Completed"),
    ]
    assert (status["attempt"], status["infraRetries"], status["pod"]["name"]) == (2, 1, "run-2")


def test_a_pod_of_an_earlier_attempt_that_comes_late_claims_nothing_and_is_deleted(
    team: Team, operator: Operator
) -> None:
    """As when a create whose answer was lost is carried out long afterwards; without a node it would never end."""
    team.install(deployment={"infraRetries": {"limit": 1}})
    team.submit()
    asked = team.pod()
    team.start_pod()
    team.claim()
    team.remove("Pod", "run-1")
    team.pod("run-2")
    kept = ("name", "namespace", "labels", "annotations", "ownerReferences")
    meta = {name: value for name, value in asked["metadata"].items() if name in kept}
    late = team.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": asked["spec"]})
    claim = [
        {"op": "test", "path": "/status/attempt", "value": 1},
        {"op": "add", "path": "/status/pod", "value": {"name": "run-1", "uid": late["metadata"]["uid"]}},
    ]
    with pytest.raises(Refused):
        team.admin.patch("FlowRun", team.namespace, "run", claim, "status")
    eventually(lambda: team.get("Pod", "run-1") is None, "the deletion of the late pod")
    team.start_pod("run-2")
    team.claim("run-2")
    team.complete("run-2")
    assert team.settles()["attempt"] == 2
    late = team.admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": asked["spec"]})
    eventually(lambda: team.get("Pod", "run-1") is None, "its deletion once the run is settled")


def test_a_run_is_cancelled_before_it_starts(team: Team, operator: Operator) -> None:
    team.install()
    team.submit(scheduledTime="2999-01-01T00:00:00Z")
    team.reaches("Scheduled", "NotDue")
    team.cancel()
    status = team.settles()
    assert (status["state"]["type"], status["state"]["reason"]) == ("Cancelled", "CancelRequested")
    assert team.list("Pod") == []


def test_a_run_is_cancelled_while_its_pod_waits_for_a_node(team: Team, operator: Operator) -> None:
    """Nothing holds the pod, so it is gone with its deletion."""
    team.install()
    team.submit()
    team.pod()
    team.cancel()
    assert team.settles()["state"]["type"] == "Cancelled"
    assert team.list("Pod") == []


def test_a_run_is_cancelled_while_it_runs_once_its_pod_is_gone(running: Team) -> None:
    running.cancel()
    running.reaches("Cancelling", "CancelRequested")
    eventually(lambda: running.pod()["metadata"].get("deletionTimestamp"), "the deletion of the pod")
    assert running.state() == ("Cancelling", "CancelRequested")
    with pytest.raises(Refused, match="being cancelled"):
        running.enter("Completed", "Completed")
    running.end_pod(code=143)
    running.reaches("Cancelled", "CancelRequested")
    running.remove("Pod", "run-1")
    assert [entry["type"] for entry in running.settles()["history"]][-2:] == ["Cancelling", "Cancelled"]


def test_a_job_is_cancelled_with_its_pod(team: Team, operator: Operator) -> None:
    team.install("Job")
    team.submit()
    job = eventually(lambda: team.get("Job", "run-1"), "the Job") or {}
    pod = team.make_pod_of_job(job)
    team.start_pod(pod)
    team.claim(pod)
    team.cancel()
    job = eventually(lambda: (found := team.get("Job", "run-1") or {})["metadata"].get("deletionTimestamp") and found)
    assert "foregroundDeletion" in job["metadata"]["finalizers"]
    team.remove("Pod", pod)
    assert team.state() == ("Cancelling", "CancelRequested")
    team.admin.merge("Job", team.namespace, "run-1", {"metadata": {"finalizers": None}})
    assert team.settles()["state"]["type"] == "Cancelled"


def test_events_have_names_of_their_cause_and_a_restart_makes_no_second(
    team: Team, control_plane: ControlPlane, namespace: str
) -> None:
    """The first operator dies before the run ends; the next reads all of the history anew."""
    with Operator(control_plane, namespace):
        team.install()
        team.submit()
        team.start_pod()
        team.claim()
        running = names.event("run", team.get("FlowRun", "run")["metadata"]["uid"], 3)
        eventually(lambda: team.events().get(running) == "FlowRunRunning", "the Event of the claim, which lasts")
    before = {event["metadata"]["name"]: event["metadata"]["uid"] for event in team.list("Event")}
    team.complete()
    with Operator(control_plane, namespace):
        team.settles()
    uid = (team.get("FlowRun", "run") or {})["metadata"]["uid"]
    told = {names.event("run", uid, 3): "FlowRunRunning", names.event("run", uid, 4): "FlowRunCompleted"}
    pending = {names.event("run", uid, 2): "FlowRunPending"}  # where this machine was slow to have a pod
    assert team.events() in (told, told | pending)
    after = {event["metadata"]["name"]: event["metadata"]["uid"] for event in team.list("Event")}
    assert before.items() < after.items()


def test_a_restarted_operator_writes_nothing_that_is_written(
    team: Team, control_plane: ControlPlane, namespace: str
) -> None:
    team.install()
    with Operator(control_plane, namespace):
        team.submit("settled", parameters={"n": "x"})
        team.settles("settled")
        team.submit("running")
        team.start_pod("running-1")
        team.claim("running-1", "running")
        eventually(lambda: "FlowRunRunning" in team.events("running").values(), "the Event of the claim")
        for kind, name in (("Flow", "etl"), ("FlowDeployment", "etl"), ("WorkPool", "default")):  # runs wait for none
            eventually(lambda kind=kind, name=name: team.get(kind, name).get("status"), f"the condition of the {kind}")
    written = team.writes_of_runs()
    with Operator(control_plane, namespace):
        team.submit("new")
        team.pod("new-1")
    life = [("patch", "flowruns/status"), ("create", "pods")]

    def later() -> list[tuple[str, str]]:
        """What the second operator wrote."""
        return team.writes_of_runs()[len(written) :]

    eventually(lambda: later()[-len(life) :] == life and len(later()) > 2)
    # It has read the revisions for the run under way; of the code it knows only once it is told that it is there.
    assert later() == [("create", "configmaps"), *life]
    kinds = Counter(each["metadata"]["name"].split("-")[0] for each in team.list("ControllerRevision"))
    assert kinds == {"flow": 1, "flowdeployment": 1, "workpool": 1}


def test_what_happens_while_no_operator_runs_is_seen_by_the_next(
    team: Team, control_plane: ControlPlane, namespace: str
) -> None:
    with Operator(control_plane, namespace):
        team.install()
        for name in ("crashes", "cancels", "completes"):
            team.submit(name)
            team.start_pod(f"{name}-1")
            team.claim(f"{name}-1", name)
    team.remove("Pod", "crashes-1")
    team.cancel("cancels")
    team.complete("completes-1", "completes")
    with Operator(control_plane, namespace):
        eventually(lambda: team.pod("cancels-1")["metadata"].get("deletionTimestamp"), "the deletion of the pod")
        team.remove("Pod", "cancels-1")
        ends = {name: team.settles(name)["state"]["type"] for name in ("crashes", "cancels", "completes")}
    assert ends == {"crashes": "Crashed", "cancels": "Cancelled", "completes": "Completed"}


def test_deletions_in_a_watch_gap_are_noticed(team: Team, operator: Operator) -> None:
    team.install()
    for name in ("loses-its-pod", "deleted"):
        team.submit(name)
        team.start_pod(f"{name}-1")
        team.claim(f"{name}-1", name)
    eventually(lambda: operator.controller.cache.count("Pod") == 2, "the pods' arrival")
    with operator.deaf():
        team.remove("Pod", "loses-its-pod-1")
        team.remove("FlowRun", "deleted")
        team.remove("Pod", "deleted-1")
        eventually(lambda: operator.cluster.missed >= {"pods", "flowruns"}, "the gap")
    assert team.settles("loses-its-pod")["state"]["reason"] == "PodDeleted"
    eventually(lambda: operator.controller.cache.count("FlowRun") == 0, "the run's departure")
    assert operator.controller.cache.count("Pod") == 0


def test_an_api_server_that_is_killed_again_and_again_loses_no_run_and_starts_none_twice(
    team: Team, operator: Operator, control_plane: ControlPlane
) -> None:
    team.install()
    runs = [f"run-{number}" for number in range(8)]
    for name in runs:
        team.submit(name)
    control_plane.kill("kube-apiserver")
    control_plane.wait_ready()
    uids = {}
    for name in runs:
        team.start_pod(f"{name}-1")
        team.claim(f"{name}-1", name)
        uids[name] = team.pod(f"{name}-1")["metadata"]["uid"]
    control_plane.kill("kube-apiserver")
    control_plane.wait_ready()
    for name in runs:
        team.complete(f"{name}-1", name)
    control_plane.kill("kube-apiserver")
    control_plane.wait_ready()
    for name in runs:
        status = team.settles(name)
        assert (status["state"]["type"], status["attempt"], status["pod"]["uid"]) == ("Completed", 1, uids[name])
        assert [entry["seq"] for entry in status["history"]] == [1, 2, 3, 4]
    assert {pod["metadata"]["uid"] for pod in team.list("Pod")} == set(uids.values())
