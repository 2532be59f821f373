"""The pod of a warm worker, and what a run in one is told beside what it is: the pool's template as for pods of runs.

Two containers share a directory of sockets: the agent has the token, `flow` runs user code and has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.api import labels, names

from . import pods, results
from .merging import merged
from .pods import Defaults, InvalidTemplate

Body = dict[str, Any]

AGENT = ["python3", "-m", "penstock.worker.agent"]
EXECUTOR = ["python3", "-m", "penstock.worker.executor"]
SOCKETS, TOKEN, AGENT_TMP = "penstock-worker", "penstock-worker-token", "penstock-agent-tmp"
TOKEN_DIR = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - where clients look for it
TOKEN_SECONDS = 3607  # as Kubernetes' own
# User code in the other container must not see the agent's processes, which have the token.
RESERVED_SPEC = pods.RESERVED_SPEC | {"shareProcessNamespace", "hostPID"}


def pod(pool: Body, number: int, fingerprint: str, defaults: Defaults) -> Body:
    """The pod of a pool's worker, owned by the pool. Raises InvalidTemplate."""
    meta, spec = pool["metadata"], pool["spec"]
    try:
        given = pods.given(spec.get("template") or {})
        for name in RESERVED_SPEC & given["spec"].keys():
            del given["spec"][name]
        containers = given["spec"].get("containers") or []
        given["spec"]["containers"] = [c for c in containers if c["name"] != labels.AGENT_CONTAINER]
        body: Body = merged({"metadata": {"labels": {}, "annotations": {}}, "spec": _spec(defaults)}, given)
        flow = pods.flow_container(body)
        image = spec.get("image") or flow.get("image") or defaults.image
        executor: Body = {"name": labels.CONTAINER, "image": image, "command": EXECUTOR, "env": _executor(spec)}
        executor["volumeMounts"] = [{"name": SOCKETS, "mountPath": labels.WORKER_DIR}]
        credentials = results.credentials(spec, flow.get("envFrom"))
        if credentials:
            executor["envFrom"] = credentials
        agent = {"name": labels.AGENT_CONTAINER, "image": image, "env": _agent(meta["name"], meta["namespace"], spec)}
        ours = {"containers": [executor, agent], "volumes": _volumes()}
        result: Body = merged(body, {"spec": ours})
        for container in result["spec"]["containers"]:
            if container["name"] != labels.AGENT_CONTAINER:  # whatever a template mounts
                mounts = container.get("volumeMounts") or []
                container["volumeMounts"] = [m for m in mounts if m["name"] not in (TOKEN, AGENT_TMP)]
    except (AttributeError, KeyError, TypeError) as error:
        raise InvalidTemplate(error) from error
    result["metadata"] = {
        "name": names.worker(meta["name"], meta["uid"], number),
        "namespace": meta["namespace"],
        "labels": {
            **result["metadata"]["labels"],
            labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
            labels.COMPONENT: labels.WORKER,
            labels.POOL: meta["name"],
        },
        "annotations": {
            **result["metadata"]["annotations"],
            labels.WORKER_NUMBER: str(number),
            labels.WORKER_FINGERPRINT: fingerprint,
        },
        "ownerReferences": [
            {
                "apiVersion": labels.API_VERSION,
                "kind": "WorkPool",
                "name": meta["name"],
                "uid": meta["uid"],
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
    return {"apiVersion": "v1", "kind": "Pod", **result}


def variables(resolved: Body, pool: Body, overrides: Sequence[Body]) -> list[Body]:
    """`status.worker.env` of a run: what flow and pool say of results, then the overrides' variables, by name."""
    found: list[Body] = results.environment(resolved, pool)
    for layer in overrides:
        found = merged({"env": found}, {"env": layer.get("env") or []})["env"]
    return [*found, *results.sharing(pool, found)]


def _spec(defaults: Defaults) -> Body:
    security = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    common: Body = {
        "imagePullPolicy": defaults.image_pull_policy,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security,
    }
    agent: Body = {
        **common,
        "name": labels.AGENT_CONTAINER,
        "command": AGENT,
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "volumeMounts": [
            {"name": SOCKETS, "mountPath": labels.WORKER_DIR},
            {"name": TOKEN, "mountPath": TOKEN_DIR, "readOnly": True},
            {"name": AGENT_TMP, "mountPath": "/tmp"},  # noqa: S108 - the container's own
        ],
    }
    flow = {**common, "name": labels.CONTAINER, "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]}  # noqa: S108
    return {
        "restartPolicy": "Always",
        "serviceAccountName": labels.WORKER_ACCOUNT,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": pods.GRACE_SECONDS,
        "securityContext": pods.POD_SECURITY,
        "containers": [flow, agent],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }


def _volumes() -> list[Body]:
    token = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": TOKEN_SECONDS}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return [
        {"name": SOCKETS, "emptyDir": {}},
        {"name": TOKEN, "projected": {"sources": token}},
        {"name": AGENT_TMP, "emptyDir": {}},
    ]


def _executor(pool: Body) -> list[Body]:
    values = {labels.ENV_WORKER_DIR: labels.WORKER_DIR}
    preload = (pool.get("worker") or {}).get("preload")
    if preload:
        values[labels.ENV_WORKER_PRELOAD] = ",".join(preload)
    return [{"name": name, "value": value} for name, value in values.items()]


def _agent(pool: str, namespace: str, spec: Body) -> list[Body]:
    values = {
        labels.ENV_WORKER_DIR: labels.WORKER_DIR,
        labels.ENV_WORKER_POOL: pool,
        labels.ENV_WORKER_SLOTS: str((spec.get("worker") or {}).get("concurrency") or 1),
        labels.ENV_NAMESPACE: namespace,
    }
    fields = {
        labels.ENV_WORKER_NAME: "metadata.name",
        labels.ENV_POD_NAME: "metadata.name",
        labels.ENV_POD_UID: "metadata.uid",
    }
    return [
        *({"name": name, "value": value} for name, value in values.items()),
        *({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in fields.items()),
    ]
