"""Manifests for tests: one full and valid object of each kind, and changes to it by path."""

from __future__ import annotations

import copy
from typing import Any

Json = dict[str, Any]

API_VERSION = "penstock.dev/v1alpha1"
GONE: Any = object()  # as a value in `changed`: the field is taken away

_POD = {
    "image": "registry.example/flows:1",
    "imagePullPolicy": "IfNotPresent",
    "resources": {"requests": {"cpu": "250m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
    "env": [
        {"name": "REGION", "value": "north"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db", "key": "password"}}},
    ],
    "labels": {"team": "data"},
    "annotations": {"example.com/note": "nightly"},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "batch",
    "runtimeClassName": "runc",
}

_EVENT_TRIGGER = {
    "match": {"penstock.dev/flow": "etl-*"},
    "matchRelated": [{"team": "data"}],
    "after": ["FlowRunRunning"],
    "expect": ["FlowRunFailed"],
    "forEach": ["penstock.dev/deployment"],
    "posture": "Reactive",
    "threshold": 3,
    "withinSeconds": 600,
}
_METRIC_TRIGGER = {
    "metric": "SuccessRate",
    "operator": "<",
    "value": 0.9,
    "rangeSeconds": 3600,
    "forSeconds": 60,
    "match": {"team": "data"},
}

_SPECS: dict[str, Json] = {
    "Flow": {
        "code": {"source": {"text": "from penstock import flow\n\n@flow\ndef etl(n: int): ...\n"}},
        "entrypoint": "flow:etl",
        "description": "Loads the numbers.",
        "version": "1.2",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
        "blocks": ["warehouse"],
        "requirements": ["numpy>=2"],
        "retries": 2,
        "retryDelaySeconds": 10,
        "timeoutSeconds": 600,
        "results": {"persist": True, "storage": "s3://bucket/results", "serializer": "json"},
        "logging": {"level": "INFO", "logPrints": True},
    },
    "FlowDeployment": {
        "flowRef": {"name": "etl"},
        "description": "Every morning.",
        "version": "7",
        "parameters": {"n": 1},
        "requirements": ["numpy==2.4.6"],
        "schedules": [
            {"slug": "morning", "cron": {"expression": "0 6 * * 1-5", "dayOr": True}, "timezone": "Europe/Berlin"},
            {"slug": "often", "interval": {"seconds": 300, "anchor": "2026-01-01T00:00:00Z"}, "parameters": {"n": 2}},
            {
                "slug": "monthly",
                "rrule": {"rule": "FREQ=MONTHLY;BYMONTHDAY=1"},
                "suspend": True,
                "maxRuns": 12,
                "end": "2030-01-01T00:00:00Z",
            },
        ],
        "workPool": "default",
        "queue": "fast",
        "priority": 5,
        "concurrency": {"limit": 1, "policy": "Forbid"},
        "catchUp": "All",
        "startingDeadlineSeconds": 3600,
        "pendingDeadlineSeconds": 300,
        "activeDeadlineSeconds": 7200,
        "infraRetries": {
            "limit": 2,
            "backoffSeconds": 30,
            "reasons": ["OOMKilled"],
            "exitCodes": [137],
            "onPreemption": "Retry",
        },
        "pod": _POD,
        "historyLimits": {"successful": 10, "failed": 20},
        "ttlSecondsAfterFinished": 86400,
        "tags": ["nightly"],
        "labels": {"team": "data"},
        "suspend": False,
    },
    "FlowRun": {
        "deploymentRef": {"name": "etl"},
        "parameters": {"n": 1, "nested": {"list": [1, "two", None]}},
        "scheduledTime": "2026-01-01T06:00:00Z",
        "workPool": "default",
        "queue": "fast",
        "priority": 1,
        "tags": ["manual"],
        "parent": {"name": "parent", "uid": "0b8c", "awaited": True},
        "infrastructure": "Pool",
        "task": {"entrypoint": "flow:work", "arguments": "s3://bucket/in", "result": "s3://bucket/out"},
        "pod": _POD,
        "infraRetries": {"limit": 1},
        "pendingDeadlineSeconds": 60,
        "startingDeadlineSeconds": 60,
        "activeDeadlineSeconds": 60,
        "ttlSecondsAfterFinished": 0,
        "cancel": False,
        "suspend": False,
        "resume": {"pause": "p1", "input": {"approved": True}},
    },
    "WorkPool": {
        "type": "Process",
        "description": "Warm workers.",
        "image": "registry.example/flows:1",
        "template": {"spec": {"containers": [{"name": "flow", "securityContext": {"runAsUser": 1000}}]}},
        "overrides": {"allow": ["image", "env"]},
        "serviceAccountName": "penstock-worker",
        "concurrencyLimit": 10,
        "suspend": False,
        "results": {"url": "s3://bucket/results", "secretRef": {"name": "s3"}, "shared": True},
        "logs": {"archive": {"url": "s3://bucket/logs"}},
        "worker": {
            "min": 1,
            "max": 4,
            "concurrency": 8,
            "idleSeconds": 300,
            "preload": ["pandas", "etl.steps"],
            "onWorkerLost": "Retry",
        },
        "pendingDeadlineSeconds": 600,
        "podTTLSecondsAfterFinished": 0,
        "onNodeLost": {"policy": "ForceDelete", "afterSeconds": 60},
    },
    "WorkQueue": {
        "workPoolRef": {"name": "default"},
        "description": "First in line.",
        "priority": 1,
        "concurrencyLimit": 0,
        "suspend": False,
        "selector": {"matchLabels": {"team": "data"}, "matchTags": ["urgent"]},
    },
    "ConcurrencyLimit": {"limit": 5, "description": "The old database.", "slotDecayPerSecond": 0.5, "taskTag": "db"},
    "Automation": {
        "description": "Three failures in ten minutes.",
        "trigger": {
            "compound": {
                "require": "2",
                "withinSeconds": 60,
                "triggers": [
                    {"event": _EVENT_TRIGGER},
                    {"metric": _METRIC_TRIGGER},
                    {"compound": {"require": "Any", "triggers": [{"event": _EVENT_TRIGGER}]}},
                    {"sequence": {"withinSeconds": 5, "triggers": [{"metric": _METRIC_TRIGGER}]}},
                ],
            }
        },
        "actions": [
            {"runDeployment": {"deploymentRef": {"name": "repair"}, "parameters": {"run": "{{ flow_run.name }}"}}},
            {"cancelFlowRun": {}},
            {"resumeFlowRun": {"target": {"name": "run"}}},
            {"retryFlowRun": {}},
            {"deleteFlowRun": {}},
            {"suspend": {"kind": "WorkPool", "target": {"name": "default"}}},
            {"unsuspend": {"kind": "FlowDeployment"}},
            {"callWebhook": {"url": "https://example.com/hook", "method": "PUT", "body": "{}"}},
            {"sendNotification": {"blockRef": {"name": "chat"}, "subject": "Failed", "body": "Again."}},
        ],
        "actionsOnTrigger": [{"cancelFlowRun": {}}],
        "actionsOnResolve": [{"callWebhook": {"blockRef": {"name": "hook"}, "method": "POST"}}],
        "suspend": False,
    },
    "Backfill": {
        "deploymentRef": {"name": "etl"},
        "schedule": "morning",
        "from": "2026-01-01T00:00:00Z",
        "to": "2026-02-01T00:00:00Z",
        "mode": "All",
        "parallelism": 4,
        "order": "Descending",
        "parameters": {"n": 3},
        "suspend": False,
        "cancel": False,
    },
    "Block": {
        "type": "S3",
        "description": "The bucket.",
        "data": {"bucket": "b", "retries": 3},
        "secrets": {"key": {"name": "s3", "key": "secret"}},
    },
    "Variable": {"value": {"threshold": 3, "on": [True, None]}, "description": "A number.", "tags": ["tuning"]},
    "Artifact": {
        "key": "report",
        "type": "table",
        "description": "Sums.",
        "data": [{"city": "Oslo", "sum": 4.5}],
        "run": {"name": "run", "uid": "0b8c", "taskRun": "t1"},
    },
}
_PAGE: Json = {
    "run": {"name": "run", "uid": "0b8c"},
    "attempt": 1,
    "number": 0,
    "records": 2,
    "sealed": False,
    "summary": [{"task": "extract", "states": {"Completed": 1, "Failed": 1}}],
    "failures": [
        {
            "id": "t2",
            "name": "extract-1",
            "state": "Failed",
            "attempts": 3,
            "message": "ValueError",
            "ended": "2026-01-01T06:00:01Z",
        }
    ],
    "encoding": "rows/1",
    "data": "eJwD",
}

KINDS = (*_SPECS, "TaskRunPage")


def good(kind: str, name: str = "sample", namespace: str | None = None) -> Json:
    """A valid object of `kind` in which every field of its spec is set (of alternatives one)."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    body = {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata}
    content = _PAGE if kind == "TaskRunPage" else {"spec": _SPECS[kind]}
    return {**body, **copy.deepcopy(content)}


def changed(body: Json, changes: dict[str, Any]) -> Json:
    """`body` with values replaced by dotted path, such as `spec.schedules.0.slug`; `GONE` takes one away."""
    body = copy.deepcopy(body)
    for path, value in changes.items():
        *parents, last = path.split(".")
        target: Any = body
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target.setdefault(part, {})
        key: Any = int(last) if isinstance(target, list) else last
        if value is GONE:
            del target[key]
        else:
            target[key] = value
    return body


def run_state(state: str = "Running", seq: int = 1, **more: Any) -> Json:
    """A `status.state` of a FlowRun."""
    return {"type": state, "name": state, "time": "2026-01-01T06:00:00Z", "seq": seq, **more}


def flow_run(state: str | None = None, /, *, spec: Json | None = None, deleting: bool = False, **status: Any) -> Json:
    """A FlowRun of a deployment as the API server sends it; with a `state`, launched and resolved unless it says so."""
    metadata: Json = {
        "name": "etl-1",
        "namespace": "team",
        "uid": "run-uid",
        "generation": 1,
        "resourceVersion": "7",
        "creationTimestamp": "2026-01-01T05:00:00Z",
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T06:00:00Z"
    wanted = {"deploymentRef": {"name": "etl"}, **(spec or {})}
    body = {"apiVersion": API_VERSION, "kind": "FlowRun", "metadata": metadata, "spec": wanted}
    if state is None:
        return body
    launched: Json = {} if state == "Scheduled" else {"attempt": 1, "resolved": resolved()}
    return {**body, "status": {"attempt": 0, "state": run_state(state), "history": [], **launched, **status}}


def resolved(pool_type: str = "Pod", **more: Any) -> Json:
    """A `status.resolved` of a FlowRun."""
    return {
        "deployment": {"name": "etl", "uid": "d-uid", "generation": 3, "revision": "flowdeployment-etl-x-3"},
        "flow": {"name": "etl", "uid": "f-uid", "generation": 1},
        "pool": {"name": "default", "uid": "p-uid", "generation": 2, "revision": "workpool-default-x-2"},
        "poolType": pool_type,
        "entrypoint": "flow:etl",
        "code": {"kind": "source", "digest": "sha256:abc", "configMap": "penstock-code-abc"},
        "image": "registry.example/flows:1",
        **more,
    }


def run_pod(phase: str = "Running", *, attempt: int = 1, uid: str = "pod-uid", **more: Any) -> Json:
    """The Pod of an attempt; `container` is the status of its container, `deleting` that its deletion was asked for."""
    metadata: Json = {
        "name": f"etl-1-{attempt}",
        "namespace": "team",
        "uid": uid,
        "creationTimestamp": more.pop("created", "2026-01-01T06:00:00Z"),
        "labels": {"penstock.dev/run": "etl-1", "penstock.dev/attempt": str(attempt)},
    }
    if more.pop("deleting", False):
        metadata["deletionTimestamp"] = "2026-01-01T06:00:30Z"
    container = more.pop("container", None)
    spec = {"nodeName": more.pop("node", "node-1"), "containers": [{"name": "flow", **more.pop("spec", {})}]}
    status = {"phase": phase, **more}
    if container is not None:
        status["containerStatuses"] = [{"name": "flow", "image": "registry.example/flows:1", "state": container}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def run_job(*conditions: Json, deleting: bool = False) -> Json:
    """The Job of an attempt, with the conditions that end it."""
    metadata: Json = {"name": "etl-1-1", "namespace": "team", "uid": "job-uid"}
    metadata["labels"] = {"penstock.dev/run": "etl-1", "penstock.dev/attempt": "1"}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T06:00:30Z"
    status = {"conditions": list(conditions)} if conditions else {}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {}, "status": status}


def held(type_: str, status: bool, reason: str, message: str = "", since: str = "2026-01-01T06:00:00Z") -> Json:
    """A condition as it stands in a status."""
    found = {"type": type_, "status": "True" if status else "False", "reason": reason, "message": message}
    return {**found, "lastTransitionTime": since}
