"""What a run's references mean: a deployment, its flow and its pool become the facts an attempt is launched with."""

from __future__ import annotations

import json
from dataclasses import dataclass

from penstock.api import names, reasons
from penstock.api.delivery import pinned
from penstock.api.pods import DEFAULT_ALLOWED

from . import code, parameters
from .code import Copy
from .views import Body, RunView

DEFAULT_POOL = "default"
MAX_BLOCKS = 131_072  # bytes of data: it travels in annotations, of which a pod holds 256 KiB


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something is missing, closed or full; the run proceeds by itself when that changes."""

    reason: str
    message: str
    kind: str = ""
    name: str = ""
    """The object that it waits for; none: whoever grants slots comes back to it."""
    slot: bool = False
    """It waits for others to end."""


@dataclass(frozen=True, slots=True)
class Displaced:
    """The run is to be cancelled for others of its deployment."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The run cannot be started as it is asked for; its author must act."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Everything an attempt is launched with; `status` is what the run remembers of it."""

    status: Body
    pool: Body
    deployment: Body | None
    copies: tuple[Copy, ...]
    parameters: Body
    blocks: tuple[Body, ...] = ()
    revised: bool = False  # pool and deployment are revisions that are kept already
    said: str = ""  # what the run's history says of it


Outcome = Waiting | Refused | Displaced | Resolution


def flow_name(run: RunView, deployment: Body | None) -> str:
    """The flow a run or its deployment names."""
    reference = (deployment or {}).get("spec", {}).get("flowRef") or run.spec.get("flowRef") or {}
    return str(reference.get("name") or "")


def pool_name(run: RunView, deployment: Body | None) -> str:
    """The pool a run or its deployment names."""
    named = run.spec.get("workPool") or (deployment or {}).get("spec", {}).get("workPool")
    return str(named or DEFAULT_POOL)


def missing(kind: str, name: str) -> Waiting:
    """The run waits for an object of that name."""
    reason = {
        "FlowDeployment": reasons.DEPLOYMENT_NOT_FOUND,
        "Flow": reasons.FLOW_NOT_FOUND,
        "WorkPool": reasons.POOL_NOT_FOUND,
        "Block": reasons.BLOCK_NOT_FOUND,
    }[kind]
    return Waiting(reason, f"{kind} {name} is not in this namespace; the run starts when it is applied", kind, name)


def block_names(flow: Body) -> list[str]:
    """The blocks a flow declares, each once."""
    return list(dict.fromkeys(flow["spec"].get("blocks") or ()))


def resolve(run: RunView, deployment: Body | None, flow: Body, pool: Body, blocks: tuple[Body, ...] = ()) -> Outcome:
    """The outcome for a run whose references were all found."""
    wrong = parameters.problems(flow["spec"].get("parameters"), run_parameters(run, deployment))
    if wrong:
        return Refused(reasons.INVALID_PARAMETERS, "; ".join(wrong))
    refused = overrides_refused(pool, *pod_overrides(run, deployment))
    if refused:
        return Refused(reasons.INVALID_OVERRIDES, refused)
    undeliverable = code.problem(flow, pool)
    if undeliverable:
        return Refused(reasons.INVALID_CODE, undeliverable)
    unfit = _unfit_for_workers(flow, pool) or _unfit_for_a_task(run, pool)
    if unfit:
        return unfit
    size = sum(len(json.dumps(block["spec"].get("data") or {}).encode()) for block in blocks)
    if size > MAX_BLOCKS:
        return Refused(
            reasons.INVALID_BLOCKS,
            f"spec.blocks: the data of the flow's blocks has {size} bytes together, and may have {MAX_BLOCKS}",
        )
    return _resolution(run, deployment, flow, pool, blocks)


def as_its_parent(run: RunView, parent: RunView, deployment: Body | None, pool: Body) -> Outcome:
    """The outcome for a task in a pod of its own: the very code, image and pod that its parent was resolved to.

    `deployment` and `pool` are the specs of the parent's revisions.
    """
    found = pinned(parent.resolved, parent.status.get("code"))
    kept_pool = {"metadata": {"name": found["pool"]["name"]}, "spec": pool}
    refused = overrides_refused(kept_pool, *pod_overrides(run, None))
    if refused:
        return Refused(reasons.INVALID_OVERRIDES, refused)
    found["entrypoint"] = run.spec["task"]["entrypoint"]
    image = (run.spec.get("pod") or {}).get("image")
    if image:
        found["image"] = image
    kept = {"spec": deployment} if deployment is not None else None
    return Resolution(found, kept_pool, kept, (), {}, revised=True)


def orphaned(run: RunView) -> Refused:
    """Why a task cannot be started whose parent is not there: it has its code, pool and rights from that alone."""
    name, uid = run.parent["name"], run.parent["uid"]
    return Refused(
        reasons.PARENT_ENDED,
        f"spec.task: there is no FlowRun {name} with uid {uid}, or nothing of what it was launched with; a task runs "
        "with the code and the rights of its parent, so delay it from another run",
    )


def run_parameters(run: RunView, deployment: Body | None) -> Body:
    """The deployment's parameters with the run's over them."""
    return parameters.merge((deployment or {}).get("spec", {}).get("parameters"), run.spec.get("parameters"))


def pod_overrides(run: RunView, deployment: Body | None) -> tuple[Body, Body]:
    """What deployment and run change in the pool's pods, in the order they apply."""
    return (deployment or {}).get("spec", {}).get("pod") or {}, run.spec.get("pod") or {}


def overrides_refused(pool: Body, *layers: Body) -> str | None:
    """Which overrides the pool does not allow, as a sentence; None when it allows all."""
    given = pool["spec"].get("overrides")
    allowed = set(DEFAULT_ALLOWED if given is None else given.get("allow") or ())
    extra = sorted({name for layer in layers for name in layer} - allowed)
    if not extra:
        return _too_late_for_workers(pool, *layers) if pool["spec"].get("type") == "Process" else None
    return (
        f"pod.{', pod.'.join(extra)}: WorkPool {pool['metadata']['name']} does not allow it; "
        f"it allows {', '.join(sorted(allowed)) or 'none'} (spec.overrides.allow)"
    )


def _too_late_for_workers(pool: Body, *layers: Body) -> str | None:
    """Which overrides a process in a worker that is there already cannot have."""
    late = sorted({name for layer in layers for name in layer} - {"env"})
    secret = next((e["name"] for layer in layers for e in layer.get("env") or () if "valueFrom" in e), None)
    if not late and secret is None:
        return None
    what = f"pod.{', pod.'.join(late)}" if late else f"pod.env: the reference of {secret} to a Secret"
    return (
        f"{what}: WorkPool {pool['metadata']['name']} is of type Process, whose workers are there before the run; "
        "say it in spec.template of the pool, or use a pool of type Pod"
    )


def _unfit_for_a_task(run: RunView, pool: Body) -> Refused | None:
    """Why a task that no run has made cannot run in a pool.

    What it calls is whatever stands in its arguments: it gets no pod with a flow's blocks, but a process in a worker.
    """
    if "task" not in run.spec or pool["spec"]["type"] == "Process":
        return None
    return Refused(
        reasons.INVALID_CODE,
        f"spec.task: a task without spec.parent runs in the workers of a pool of type Process, and WorkPool "
        f"{pool['metadata']['name']} is of type {pool['spec']['type']}; name another in spec.workPool",
    )


def _unfit_for_workers(flow: Body, pool: Body) -> Refused | None:
    """Why a flow cannot run in the workers of a pool: their pods are made without knowing of it."""
    name, spec = pool["metadata"]["name"], pool["spec"]
    if spec["type"] != "Process":
        return None
    if block_names(flow):
        return Refused(
            reasons.INVALID_BLOCKS,
            f"spec.blocks: the workers of WorkPool {name} mount no blocks; use a pool of type Pod or Job",
        )
    image = (flow["spec"]["code"].get("image") or {}).get("image")
    if image and "worker" in spec and image != spec.get("image"):
        return Refused(
            reasons.INVALID_CODE,
            f"spec.code.image: the flow is in image {image}, and the workers of WorkPool {name} are of "
            f"{spec.get('image') or 'another'}; set spec.image of the pool, or use a pool of type Pod",
        )
    return None


def _resolution(run: RunView, deployment: Body | None, flow: Body, pool: Body, blocks: tuple[Body, ...]) -> Resolution:
    spec = flow["spec"]
    found, copies = code.remembered(flow)
    requirements, more = code.requirements(flow, deployment)
    deployed, asked = pod_overrides(run, deployment)
    image = (
        asked.get("image")
        or deployed.get("image")
        or (spec["code"].get("image") or {}).get("image")
        or pool["spec"].get("image")
    )
    status: Body = {
        "flow": _reference("Flow", flow),
        **pool_facts(pool),
        "entrypoint": spec["entrypoint"],
        "code": found,
    }
    if requirements:
        status["requirements"] = requirements
    if deployment:
        status["deployment"] = _reference("FlowDeployment", deployment, revised=True)
    if image:
        status["image"] = image
    if spec.get("results"):
        status["results"] = spec["results"]
    if blocks:
        status["blocks"] = [_reference("Block", block, revised=True) for block in blocks]
    return Resolution(status, pool, deployment, (*copies, *more), run_parameters(run, deployment), blocks)


def pool_facts(pool: Body) -> Body:
    """What a run remembers of its pool."""
    return {"pool": _reference("WorkPool", pool, revised=True), "poolType": pool["spec"]["type"]}


def _reference(kind: str, body: Body, *, revised: bool = False) -> Body:
    meta = body["metadata"]
    found: Body = {"name": meta["name"], "uid": meta["uid"], "generation": meta.get("generation") or 0}
    if revised:
        found["revision"] = names.revision(kind, meta["name"], meta["uid"], found["generation"])
    return found
