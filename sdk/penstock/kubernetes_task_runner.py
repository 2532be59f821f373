"""`KubernetesTaskRunner`: every submitted task in a pod of its own, launched by the operator as any run.

A task's retries, hooks and records stay in the flow's process; its function, arguments and result travel through the
result store. Imported when it is first named: what speaks to the API server is `penstock.runner`'s.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from .errors import CancellationRequested, DefinitionError, FailedRun, MissingContext, PodLost
from .task_runners import TaskRunner

if TYPE_CHECKING:
    from typing import Self

    from .engine.effects import Call
    from .results.store import ResultStore
    from .runner.task_pods import Body, TaskPods

__all__ = ["KubernetesTaskRunner", "PodOptions"]

DEFAULT_PODS = 50  # at a time
DEADLINE_MARGIN = 30  # seconds after a task's timeout at which its pod is ended from outside
STORE_REMEDY = (
    "set spec.results.url of the work pool (s3://, gs:// or az://, or a folder on a shared volume with shared: true), "
    "or give KubernetesTaskRunner(results=...)"
)


@dataclass(frozen=True, kw_only=True)
class PodOptions:
    """What the pod of a task has; what is None is the flow's. The pool must allow it (`spec.overrides.allow`)."""

    image: str | None = None
    cpu: str | float | None = None  # requested: 2, 0.5 or "500m"
    memory: str | None = None  # requested, and the limit: "2Gi"
    gpu: int | None = None
    gpu_resource: str = "nvidia.com/gpu"
    env: Mapping[str, str] | None = None
    node_selector: Mapping[str, str] | None = None
    infra_retries: int | None = None  # new pods for one that was evicted, preempted or lost; None: as the deployment

    def over(self, base: PodOptions) -> PodOptions:
        """These options where they are set, else those of `base`."""
        unset = {field.name: field.default for field in fields(self)}
        given = {name: value for name in unset if (value := getattr(self, name)) != unset[name]}
        return replace(base, **given)

    def overrides(self) -> dict[str, Any]:
        """As `spec.pod` of a run."""
        requests = {"cpu": self.cpu, "memory": self.memory}
        limits = {"memory": self.memory, self.gpu_resource: self.gpu}
        resources = {
            kind: {name: str(value) for name, value in wanted.items() if value is not None}
            for kind, wanted in (("requests", requests), ("limits", limits))
        }
        found: dict[str, Any] = {
            "image": self.image,
            "resources": {kind: wanted for kind, wanted in resources.items() if wanted},
            "env": [{"name": name, "value": value} for name, value in (self.env or {}).items()],
            "nodeSelector": dict(self.node_selector or {}),
        }
        return {name: value for name, value in found.items() if value}


class KubernetesTaskRunner(TaskRunner):
    """Runs each submitted task in a pod of its own.

    `max_workers` bounds the pods at a time. `tasks` gives tasks of these names other pods. `results` is the URL of the
    result store; without it the pool's.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        max_in_flight: int | None = None,
        results: str | None = None,
        tasks: Mapping[str, PodOptions] | None = None,
        **pod: Any,
    ) -> None:
        known = [field.name for field in fields(PodOptions)]
        unknown = sorted(set(pod).difference(known))
        if unknown:
            raise DefinitionError(
                f"KubernetesTaskRunner has no option {', '.join(unknown)}; of the pod it has {', '.join(known)}"
            )
        super().__init__(max_workers, max_in_flight=max_in_flight)
        self._results = results
        self._pod = PodOptions(**pod)
        self._tasks = dict(tasks or {})

    @staticmethod
    def _default_workers() -> int:
        return DEFAULT_PODS

    def _renew(self) -> None:
        super()._renew()
        self.call = self._call_in_pod
        self._pods: TaskPods | None = None
        self._store: ResultStore | None = None
        self._module = ""

    def __enter__(self) -> Self:
        from .context import FLOW
        from .runner.assignment import Assignment, InvalidAssignment
        from .runner.connection import Api
        from .runner.task_pods import TaskPods

        try:
            assignment, api = Assignment(), Api.from_environment()
        except (InvalidAssignment, KeyError):
            raise MissingContext(
                "KubernetesTaskRunner works in flow runs on Kubernetes: deploy the flow (penstock deploy) and run the "
                "deployment, or use ThreadPoolTaskRunner here"
            ) from None
        self._store = shared_store(self._results)
        flow = FLOW.get()
        assert flow is not None, "runners start within a flow"
        from .api import labels

        lineage = flow.run.info.labels.get(labels.CAUSE) or assignment.uid
        self._pods = TaskPods(api, assignment, lineage)
        self._module = assignment.entrypoint.partition(":")[0]
        return super().__enter__()

    def _call_in_pod(self, effect: Call) -> Any:
        from .context import TASK
        from .engine.process import dumps
        from .engine.remote import packed_request, unpacked_answer

        pods, store, run = self._pods, self._store, TASK.get()
        assert pods is not None
        assert store is not None
        assert run is not None
        payload = packed_request(effect)
        # What the call is made of, without what differs from attempt to attempt: the identity of its task run.
        from .api.names import content_digest

        arguments = content_digest(dumps((run.task.task_key, tuple(effect.args), dict(effect.kwargs))))
        name_of = pods.names_of(run.task.name, arguments)
        take = 0
        while True:
            name = name_of(take)
            folder = f"{pods.parent['metadata']['namespace']}/{pods.parent['metadata']['uid']}/{name}"
            given, result = f"{folder}/arguments", f"{folder}/result"
            store.write(given, {"request": payload, "store": store, "result": result})
            spec = self._spec(effect, run.task, store.url_of(given), store.url_of(result))
            body, created = pods.run(pods.manifest(name, run.task.name, spec))
            if not created and _ended_badly(body):
                take += 1
                continue
            final = pods.wait(body)
            store.delete(given)
            return unpacked_answer(_answer(final, name, store, result, effect))

    def _spec(self, effect: Call, task: Any, arguments: str, result: str) -> dict[str, Any]:
        pods = self._pods
        assert pods is not None
        wanted = self._tasks[task.name].over(self._pod) if task.name in self._tasks else self._pod
        qualname = task.qualname.replace("<locals>.", "").replace("<lambda>", "anonymous")
        spec: dict[str, Any] = {
            "task": {"entrypoint": f"{self._module}:{qualname}", "arguments": arguments, "result": result}
        }
        pod = wanted.overrides()  # the operator puts them over those of the flow's own run
        if pod:
            spec["pod"] = pod
        if wanted.infra_retries is not None:
            spec["infraRetries"] = {"limit": wanted.infra_retries}
        if effect.timeout is not None:
            spec["activeDeadlineSeconds"] = math.ceil(effect.timeout) + DEADLINE_MARGIN
        return spec

    def drain(self, *, abandon: bool = False, grace: float | None = None) -> bool:
        """As every runner's; what is not done after `grace` seconds is ended by the operator once the flow has."""
        if super().drain(abandon=abandon, grace=grace):
            if self._pods is not None:
                self._pods.abandon()
            return True
        assert self._pods is not None
        self._pods.abandon()
        return super().drain(grace=grace)


def shared_store(url: str | None) -> ResultStore:
    """The result store that other pods reach as well. Raises DefinitionError, with the remedy."""
    from .api import labels
    from .api.sharing import shared
    from .results.store import ResultStore

    found = url or os.environ.get(labels.ENV_RESULTS)
    if not found:
        raise DefinitionError(f"KubernetesTaskRunner needs a result store that pods can reach: {STORE_REMEDY}")
    store = ResultStore.from_url(found)
    if not shared(store.url, os.environ.get(labels.ENV_RESULTS_SHARED) == "true"):
        raise DefinitionError(
            f"KubernetesTaskRunner: other pods cannot reach the result store {store.url}: {STORE_REMEDY}"
        )
    return store


def _ended_badly(body: Body) -> bool:
    """Whether a run that was found ended without a result that could be used again."""
    state = ((body.get("status") or {}).get("state") or {}).get("type")
    return state in ("Failed", "Crashed", "Cancelled")


def _answer(final: Body | None, name: str, store: ResultStore, result: str, effect: Call) -> bytes:
    """What the pod answered; raises what its run ended with, where it could not answer."""
    if final is None:
        raise PodLost("RunDeleted", f"run {name} was deleted while its task was going on")
    state = final["status"]["state"]
    message = f"run {name}: {state.get('message') or state['name']}"
    if state["type"] == "Cancelled":
        raise CancellationRequested(message)
    if state["type"] == "Crashed":
        raise PodLost(state.get("reason") or "Crashed", message)
    record = store.find(result)
    if record is not None:
        answer: bytes = record.result
        return answer
    if state["name"] == "TimedOut" and effect.error is not None:
        raise effect.error
    if state["type"] == "Completed":
        raise PodLost(
            "ResultMissing", f"run {name} has completed, and its result is no longer at {store.url_of(result)}"
        )
    raise FailedRun(message)
