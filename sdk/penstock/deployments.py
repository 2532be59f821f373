"""`run_deployment`: start a run of a deployment and wait for it, from a script or from another run; and `deploy`.

In a pod the run is a child of the pod's own: its name follows from parent, deployment, parameters and how often that
was called, so that a parent that starts again finds its children instead of making new ones.
"""

from __future__ import annotations

import json
import os
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

from .api import labels, names
from .cluster_runs import FlowRun, connect, passing, wait_for_end
from .context import FLOW, TAGS
from .dispatch import both_ways
from .errors import ParameterError, PenstockError, UnsupportedHere

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from .client import Client
    from .runner_deployments import RunnerDeployment, deploy
    from .runner_deployments import deploy as adeploy

__all__ = ["RunnerDeployment", "adeploy", "arun_deployment", "deploy", "run_deployment"]

Body = dict[str, Any]

_calls: dict[tuple[str, ...], int] = {}
_counting = threading.Lock()


class Parent:
    """The run whose pod this process is in."""

    def __init__(self, name: str, uid: str, root: str, awaited: bool) -> None:
        self.name, self.uid, self.root, self.awaited = name, uid, root, awaited

    @classmethod
    def here(cls, awaited: bool) -> Parent | None:
        """None where this process is not in the pod of a run."""
        name, uid = os.environ.get(labels.ENV_RUN), os.environ.get(labels.ENV_RUN_UID)
        if not name or not uid:
            return None
        context = FLOW.get()
        root = context.run.info.root_id if context is not None else None
        return cls(name, uid, root or uid, awaited)


def flow_run_body(
    deployment: str,
    name: str,
    parameters: Mapping[str, Any],
    *,
    scheduled_time: datetime | None = None,
    tags: Iterable[str] = (),
    queue: str | None = None,
    pod: Mapping[str, Any] | None = None,
    parent: Parent | None = None,
) -> Body:
    """The FlowRun to create; a child that is awaited is owned by its parent, any child labelled with it. Pure."""
    from datetime import UTC

    annotations = {labels.CAUSE: "run_deployment"}
    metadata: Body = {"name": name, "annotations": annotations}
    spec: Body = {"deploymentRef": {"name": deployment}}
    if parameters:
        spec["parameters"] = dict(parameters)
    if scheduled_time is not None:
        spec["scheduledTime"] = scheduled_time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if tagged := sorted(set(tags)):
        spec["tags"] = tagged
    if queue is not None:
        spec["queue"] = queue
    if pod:
        spec["pod"] = dict(pod)
    if parent is not None:
        spec["parent"] = {"name": parent.name, "uid": parent.uid, "awaited": parent.awaited}
        metadata["labels"] = {labels.PARENT: parent.name}
        annotations[labels.ROOT_UID] = parent.root
        if parent.awaited:
            owner = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "name": parent.name, "uid": parent.uid}
            metadata["ownerReferences"] = [owner]
    return {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "metadata": metadata, "spec": spec}


def _run_deployment(
    name: str,
    parameters: Mapping[str, Any] | None = None,
    scheduled_time: datetime | None = None,
    timeout: float | None = None,
    poll_interval: float = 5.0,
    tags: Iterable[str] | None = None,
    idempotency_key: str | None = None,
    work_queue_name: str | None = None,
    as_subflow: bool = True,
    job_variables: Mapping[str, Any] | None = None,
    *,
    namespace: str | None = None,
) -> FlowRun:
    """Start a run of the deployment `name` (or `flow/name`), and give it as it is when it has ended.

    After `timeout` seconds it is given as it is then and goes on; 0 does not wait. The same `idempotency_key` never
    makes a second run of the deployment. `job_variables` are changes to the pod (`spec.pod`; `env` may be a mapping),
    of which the pool takes those it allows. In a pod the run is a child of the pod's run, and with `as_subflow=False`
    not ended with it.
    """
    if scheduled_time is not None and scheduled_time.tzinfo is None:
        raise ParameterError(f"scheduled_time: must have a timezone, {scheduled_time!r} has none")
    from .job_variables import pod_overrides

    flow, _, deployment = name.rpartition("/")
    given = jsonable(parameters or {})
    parent = Parent.here(as_subflow and timeout != 0)
    run = flow_run_body(
        deployment,
        _name(deployment, given, idempotency_key, parent),
        given,
        scheduled_time=scheduled_time,
        tags=(*(tags or ()), *TAGS.get()),
        queue=work_queue_name,
        pod=pod_overrides(job_variables),
        parent=parent,
    )
    body = _started(run, deployment, flow, namespace, poll_interval, patient=parent is not None)
    if timeout != 0:
        body = wait_for_end(body, timeout, poll_interval, connect)
    found = FlowRun.of(body)
    if parent is not None and parent.awaited:
        _tell_parent(found)
    return found


def _started(
    run: Body, deployment: str, flow: str, namespace: str | None, poll_interval: float, *, patient: bool
) -> Body:
    """The run in the cluster; a run in a pod outlives an API server that is away, a script tells its user."""
    while True:
        try:
            with connect(namespace) as client:
                _check_deployment(client, deployment, flow)
                return _create(client, run)
        except PenstockError as error:
            if not (patient and passing(error)):
                raise
        time.sleep(poll_interval)


def _name(deployment: str, parameters: Mapping[str, Any], key: str | None, parent: Parent | None) -> str:
    if key is not None:
        return names.manual_run(names.dns_label(deployment, 41), key)
    if parent is None:
        return names.manual_run(names.dns_label(deployment, 41), secrets.token_hex(8))
    if os.environ.get("PENSTOCK_TASK_PROCESS"):
        raise UnsupportedHere(
            "run_deployment in a task of a ProcessPoolTaskRunner needs an idempotency_key: "
            "which call it is of its run cannot be counted across processes"
        )
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"))
    call = (parent.uid, deployment, text)
    with _counting:
        number = _calls[call] = _calls.get(call, 0) + 1
    return names.child_run(parent.uid, deployment, text, number)


def _check_deployment(client: Client, deployment: str, flow: str) -> None:
    from .client import NotFound

    try:
        found = client.get("flowdeployments", deployment)
    except NotFound as error:
        if error.api_reason == "NotInstalled":
            raise
        raise NotFound(
            404, f"there is no deployment {deployment} in namespace {client.namespace}: penstock deploy makes one"
        ) from None
    of = found["spec"]["flowRef"]["name"]
    if flow and flow != of:
        raise NotFound(404, f"deployment {deployment} is of flow {of}, not of {flow}")


def _create(client: Client, run: Body) -> Body:
    """The created run, or the one that an earlier equal call made."""
    from .client import AlreadyExists

    try:
        return client.create(run)
    except AlreadyExists:
        found = client.get("flowruns", run["metadata"]["name"])
    if found["spec"].get("deploymentRef") != run["spec"]["deploymentRef"]:
        raise AlreadyExists(409, f"flow run {run['metadata']['name']} exists and is of another deployment")
    return found


def _tell_parent(run: FlowRun) -> None:
    """Record a child that has ended among the task runs of its parent."""
    context, state = FLOW.get(), run.state
    if context is None or state is None or not state.is_final():
        return
    from .engine.records import TaskRecord

    status = run.body["status"]
    context.reporter.task_changed(
        TaskRecord(
            run.id,
            run.deployment or run.name,
            f"deployment {run.deployment}",
            run.name,
            state.type.value,
            state.name,
            status.get("attempt") or 0,
            _seconds(run.body["metadata"]["creationTimestamp"]),
            _seconds(status.get("startTime")),
            _seconds(status.get("endTime")) or state.time,
            (),
            None,
            state.message,
        )
    )


def _seconds(text: str | None) -> Any:
    from datetime import datetime

    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def jsonable(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters as JSON values, with results in place of futures. Raises ParameterError by name."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    from .engine.inputs import find, resolve
    from .futures import PenstockFuture

    for held, _ in find(dict(parameters)):
        if isinstance(held, PenstockFuture):
            held.wait()
    made: dict[str, Any] = {}
    for name, value in parameters.items():
        try:
            made[name] = to_jsonable_python(resolve(value))
        except PydanticSerializationError as error:
            raise ParameterError(f"parameter {name} of a deployment must be JSON: {error}") from None
    return made


run_deployment, arun_deployment = both_ways(_run_deployment)


def __getattr__(name: str) -> Any:
    """What writes deployments, imported when it is first used: a run needs none of it."""
    if name not in ("RunnerDeployment", "adeploy", "deploy"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import runner_deployments

    globals()["RunnerDeployment"] = runner_deployments.RunnerDeployment
    globals()["deploy"], globals()["adeploy"] = both_ways(runner_deployments.deploy)
    return globals()[name]
