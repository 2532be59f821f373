"""The Pod of an attempt: restricted by default, the pool's template and the allowed overrides upon it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from penstock.api import labels, launches, names
from penstock.api.pods import DEFAULT_ALLOWED

from . import blocks, code, results, shapes
from .merging import PATCH, merged

Body = dict[str, Any]

USER = 65532
POD_SECURITY: Body = {
    "runAsNonRoot": True,
    "runAsUser": USER,
    "runAsGroup": USER,
    "fsGroup": USER,
    "seccompProfile": {"type": "RuntimeDefault"},
}
GRACE_SECONDS = 30
DEFAULT_POD_TTL = 3600
TTL = f"{labels.GROUP}/ttl-seconds-after-finished"
COMMAND = ["python3", "-m", "penstock.runner"]
# What a template may not change, for claiming, fencing and retries rest on it.
RESERVED_SPEC = frozenset(
    ("restartPolicy", "serviceAccountName", "serviceAccount", "automountServiceAccountToken", "activeDeadlineSeconds")
)


class InvalidTemplate(ValueError):
    """The pool's template has another shape than a pod template."""

    def __init__(self, cause: str | Exception) -> None:
        super().__init__(f"spec.template is no pod template: {cause if isinstance(cause, str) else repr(cause)}")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What the operator was installed with."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    service_account: str = "penstock-run"


@dataclass(frozen=True, slots=True)
class Launch:
    """An attempt: the run's body after the launching write, its pool's spec, pod overrides in the order they apply,
    and the specs of the flow's blocks by name."""

    run: Body
    pool: Body
    overrides: Sequence[Body]
    defaults: Defaults
    blocks: Mapping[str, Body] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of its Pod or Job."""
        return names.pod(self.run["metadata"]["name"], self.run["status"]["attempt"])


def pod(launch: Launch) -> Body:
    """The Pod of a pool of type Pod, owned by its run."""
    body = template(launch)
    meta = {**body["metadata"], "name": launch.name, "namespace": launch.run["metadata"]["namespace"]}
    meta["ownerReferences"] = [owner(launch.run)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": body["spec"]}


def owner(run: Body) -> Body:
    """The reference that makes a run the controller of what is created for it."""
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "name": run["metadata"]["name"],
        "uid": run["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": False,
    }


def template(launch: Launch) -> Body:
    """The pod template of an attempt: Penstock's own, then the pool's, the settings that flow and pool make, the
    overrides, then what is reserved.

    Raises InvalidTemplate where the pool's cannot be merged; what else is wrong with it, the API server says.
    """
    own = {"metadata": {"labels": {}, "annotations": {}}, "spec": _spec(launch)}
    settings = results.environment(launch.run["status"]["resolved"], launch.pool)
    reserved: Body = {"name": labels.CONTAINER, "env": _environment(launch.run), "volumeMounts": []}
    volumes: list[Body] = []
    for volume, mount in code.mounts(launch.run["status"]["resolved"]):
        volumes.append(volume)
        reserved["volumeMounts"].append(mount)
    if launch.blocks:
        volumes.append(blocks.volume(launch.blocks))
        reserved["volumeMounts"].append(blocks.MOUNT)
    ttl = launch.pool.get("podTTLSecondsAfterFinished")
    ours = {
        "labels": run_labels(launch.run),
        "annotations": {
            TTL: str(DEFAULT_POD_TTL if ttl is None else ttl),
            **_logs(launch.pool),
            **_admitted(launch.run),
            **blocks.data(launch.blocks),
        },
    }
    image = launch.run["status"]["resolved"].get("image")
    try:
        body: Body = merged(own, given(launch.pool.get("template") or {}))
        flow_container(body)  # before anything is laid upon it, which would hide what it is
        for layer in ({"env": settings}, *launch.overrides, _of_kueue(launch)):
            body = merged(body, _override(layer))
        flow = flow_container(body)
        credentials = results.credentials(launch.pool, flow.get("envFrom"))
        if credentials:
            reserved["envFrom"] = credentials
        reserved["env"] += results.sharing(launch.pool, flow["env"])
        reserved["image"] = image or flow.get("image") or launch.defaults.image
        for field, key in (("env", "name"), ("volumeMounts", "mountPath")):
            reserved[field] = _instead(reserved[field], key)
        spec = {"containers": [reserved], "volumes": _instead(volumes, "name")}
        result: Body = merged(body, {"metadata": ours, "spec": spec})
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidTemplate(error) from error
    return result


def _of_kueue(launch: Launch) -> Body:
    """Kueue's labels of the run itself, as an override, where the pool allows labels."""
    overrides = launch.pool.get("overrides")
    allowed = DEFAULT_ALLOWED if overrides is None else overrides.get("allow") or ()
    given = launch.run["metadata"].get("labels") or {}
    found = {key: value for key, value in given.items() if key.startswith(labels.KUEUE)}
    return {"labels": found} if found and "labels" in allowed else {}


def _instead(items: list[Body], key: str) -> list[Body]:
    """The items in place of what a template may have said under their keys, and not merged with it."""
    return [*({PATCH: "delete", key: item[key]} for item in items), *items]


def _logs(pool: Body) -> dict[str, str]:
    """Where the pool wants logs kept; whether it may, whoever keeps them looks at."""
    archive = (pool.get("logs") or {}).get("archive")
    return {labels.LOGS_ARCHIVE: archive["url"]} if archive else {}


def _admitted(run: Body) -> dict[str, str]:
    """What the run holds slots of, for whoever finds its pod and not the run: it may be deleted before its pod is.

    Most hold those of their pool and deployment alone, which are labels; a task that its parent waits for holds none.
    """
    spec = run.get("spec") or {}  # the pool's template is tried with a run that has none
    if launches.is_awaited(spec):
        return {labels.ADMITTED: "null"}
    admitted = run["status"].get("admitted")
    return {labels.ADMITTED: json.dumps(admitted)} if admitted else {}


def flow_container(body: Body) -> Body:
    """The container of user code. Raises TypeError where there is none."""
    for container in body["spec"]["containers"]:
        if container["name"] == labels.CONTAINER:
            found: Body = container
            return found
    raise TypeError(f"spec.containers is {body['spec']['containers']!r}")


def given(template: Body) -> Body:
    """What a pool's template may say. Raises InvalidTemplate where it has another shape."""
    wrong = shapes.problem(template)
    if wrong:
        raise InvalidTemplate(wrong)
    spec = {key: value for key, value in (template.get("spec") or {}).items() if key not in RESERVED_SPEC}
    given = template.get("metadata") or {}
    meta = {key: _foreign(given.get(key) or {}) for key in ("labels", "annotations")}
    return {"metadata": meta, "spec": spec}


def run_labels(run: Body) -> dict[str, str]:
    """Labels by which an attempt's objects are found."""
    resolved = run["status"]["resolved"]
    found = {
        labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
        labels.RUN: run["metadata"]["name"],
        labels.ATTEMPT: str(run["status"]["attempt"]),
        labels.FLOW: resolved["flow"]["name"][:63].rstrip("-."),
        labels.POOL: resolved["pool"]["name"],
    }
    if "deployment" in resolved:
        found[labels.DEPLOYMENT] = resolved["deployment"]["name"]
    return found


def _spec(launch: Launch) -> Body:
    container: Body = {
        "name": labels.CONTAINER,
        "command": COMMAND,
        "imagePullPolicy": launch.defaults.image_pull_policy,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108 - the pod's own
    }
    return {
        "restartPolicy": "Never",
        "serviceAccountName": launch.pool.get("serviceAccountName") or launch.defaults.service_account,
        "automountServiceAccountToken": True,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "securityContext": POD_SECURITY,
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _environment(run: Body) -> list[Body]:
    values, resolved = launches.environment(run), run["status"]["resolved"]
    values |= code.environment(resolved)
    if resolved.get("blocks"):
        values[labels.ENV_BLOCKS] = labels.BLOCKS_DIR
    fields = {labels.ENV_POD_NAME: "metadata.name", labels.ENV_POD_UID: "metadata.uid"}
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]


def _override(layer: Body) -> Body:
    """Allowed overrides as the part of a pod template they stand for."""
    container = {key: layer[key] for key in ("imagePullPolicy", "resources", "env") if key in layer}
    spec: Body = {
        key: layer[key]
        for key in ("nodeSelector", "tolerations", "affinity", "priorityClassName", "runtimeClassName")
        if key in layer
    }
    meta = {key: _foreign(layer[key]) for key in ("labels", "annotations") if key in layer}
    if container:
        spec["containers"] = [{"name": labels.CONTAINER, **container}]
    return {"metadata": meta, "spec": spec}


def _foreign(pairs: dict[str, str]) -> dict[str, str]:
    """Without keys of Penstock's own."""
    return {key: value for key, value in pairs.items() if not key.startswith(f"{labels.GROUP}/")}
