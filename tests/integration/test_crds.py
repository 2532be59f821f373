"""The CRDs on a real API server: it takes them, full objects of every kind pass, and bad ones are refused by field."""

from __future__ import annotations

from typing import Any

import pytest

import builders
from api_client import ApiClient, Refused
from builders import GONE, changed, good
from penstock.api import kinds, labels

_ENV = "spec.pod.env.0"
_SCHEDULE = "spec.schedules.0"
_LONG = "x" * 40_000
_LEAF = {"event": {}}
_DEEP = {"compound": {"triggers": [{"compound": {"triggers": [{"compound": {"triggers": [_LEAF]}}]}}]}}

# What is bad about it, the kind, changes to a good object, what the message must name.
BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("a flow without spec", "Flow", {"spec": GONE}, "spec: Required"),
    ("a flow without code", "Flow", {"spec.code": {}}, "code: set exactly one of image, source, bundle, git"),
    ("code from two sources", "Flow", {"spec.code.image": {}}, "code: set exactly one of"),
    ("source of no length", "Flow", {"spec.code.source.text": ""}, "spec.code.source.text"),
    ("source over 128 KiB", "Flow", {"spec.code.source.text": "#" * 131_073}, "spec.code.source.text"),
    (
        "a bundle that is no base64",
        "Flow",
        {"spec.code": {"bundle": {"data": "not base64!", "pythonVersion": "3.11", "penstockVersion": "1"}}},
        "spec.code.bundle.data",
    ),
    ("a bundle of an unnamed Python", "Flow", {"spec.code": {"bundle": {"data": "AA=="}}}, "pythonVersion: Required"),
    (
        "a password in a git URL",
        "Flow",
        {"spec.code": {"git": {"url": "https://user:secret@example.com/repo"}}},
        "url: put credentials into a Secret that secretRef names",
    ),
    (
        "a token in a git URL",
        "Flow",
        {"spec.code": {"git": {"url": "https://t0ken@example.com/repo"}}},
        "url: put credentials into a Secret",
    ),
    ("git over ssh", "Flow", {"spec.code": {"git": {"url": "ssh://git@example.com/repo"}}}, "fetched over https"),
    (
        "a folder outside of the repository",
        "Flow",
        {"spec.code": {"git": {"url": "https://example.com/repo", "path": "src/../../etc"}}},
        "path: a path within",
    ),
    (
        "a bundle here and elsewhere",
        "Flow",
        {"spec.code": {"bundle": {"pythonVersion": "3.11", "penstockVersion": "1"}}},
        "bundle: set exactly one of data, url",
    ),
    (
        "a bundle elsewhere that anybody may replace",
        "Flow",
        {"spec.code": {"bundle": {"url": "s3://b/x", "pythonVersion": "3.11", "penstockVersion": "1"}}},
        "digest: say the sha256",
    ),
    (
        "an archive with a digest that is none",
        "Flow",
        {"spec.code": {"archive": {"url": "s3://b/x", "digest": "sha256:abc"}}},
        "spec.code.archive.digest",
    ),
    ("an option of pip", "Flow", {"spec.requirements": ["--index-url https://x"]}, "spec.requirements"),
    ("an option in a line of its own", "Flow", {"spec.requirements": ["pkg\n--index-url=https://x"]}, "requirements"),
    ("a line that goes on", "Flow", {"spec.requirements": ["pkg \\", "--index-url=https://x"]}, "spec.requirements[0]"),
    (
        "a password in a requirement",
        "FlowDeployment",
        {"spec.requirements": ["tea @ https://user:secret@example.com/tea.whl"]},
        "requirements: put credentials of an index",
    ),
    ("an archive without URL", "Flow", {"spec.code": {"archive": {}}}, "spec.code.archive.url"),
    ("an entrypoint without function", "Flow", {"spec.entrypoint": "flow.py"}, "spec.entrypoint"),
    ("no entrypoint", "Flow", {"spec.entrypoint": GONE}, "spec.entrypoint: Required"),
    ("negative retries", "Flow", {"spec.retries": -1}, "spec.retries"),
    ("a negative retry delay", "Flow", {"spec.retryDelaySeconds": -1}, "spec.retryDelaySeconds"),
    ("a timeout of nothing", "Flow", {"spec.timeoutSeconds": 0}, "spec.timeoutSeconds"),
    ("an unknown log level", "Flow", {"spec.logging.level": "LOUD"}, "spec.logging.level"),
    ("more blocks than a pod can mount", "Flow", {"spec.blocks": ["b"] * 65}, "spec.blocks"),
    ("a parameter schema that is a list", "Flow", {"spec.parameters": []}, "spec.parameters"),
    ("an endless description", "Flow", {"spec.description": _LONG}, "spec.description"),
    ("a deployment of no flow", "FlowDeployment", {"spec.flowRef": GONE}, "spec.flowRef: Required"),
    ("a flow reference that is no name", "FlowDeployment", {"spec.flowRef.name": "No Name"}, "spec.flowRef.name"),
    (
        "a schedule without form",
        "FlowDeployment",
        {"spec.schedules": [{"slug": "s"}]},
        "schedule: set exactly one of cron, interval, rrule",
    ),
    (
        "a schedule of two forms",
        "FlowDeployment",
        {f"{_SCHEDULE}.interval": {"seconds": 60}},
        "schedule: set exactly one of",
    ),
    ("a schedule without slug", "FlowDeployment", {f"{_SCHEDULE}.slug": GONE}, "slug: Required"),
    (
        "two schedules of one slug",
        "FlowDeployment",
        {"spec.schedules.1.slug": "morning"},
        "spec.schedules[1]: Duplicate",
    ),
    ("a slug in capitals", "FlowDeployment", {f"{_SCHEDULE}.slug": "Morning"}, "spec.schedules[0].slug"),
    (
        "a cron expression of four fields",
        "FlowDeployment",
        {f"{_SCHEDULE}.cron.expression": "0 6 * *"},
        "expression: a cron expression has five or six fields",
    ),
    (
        "an interval of nothing",
        "FlowDeployment",
        {"spec.schedules.1.interval.seconds": 0},
        "spec.schedules[1].interval.seconds",
    ),
    (
        "an anchor that is no instant",
        "FlowDeployment",
        {"spec.schedules.1.interval.anchor": "noon"},
        "spec.schedules[1].interval.anchor",
    ),
    (
        "an anchor that cannot be counted from",
        "FlowDeployment",
        {"spec.schedules.1.interval.anchor": "0001-01-01T00:00:00Z"},
        "anchor: a time between the years 1970 and 9990",
    ),
    (
        "an end that is none",
        "FlowDeployment",
        {f"{_SCHEDULE}.end": "9999-12-31T23:59:59-12:00"},
        "end: a time between the years 1970 and 9990",
    ),
    (
        "an RRULE without FREQ",
        "FlowDeployment",
        {"spec.schedules.2.rrule.rule": "COUNT=3"},
        "rule: an RRULE needs FREQ",
    ),
    (
        "an RRULE that never advances",
        "FlowDeployment",
        {"spec.schedules.2.rrule.rule": "FREQ=DAILY;INTERVAL=0"},
        "rule: INTERVAL must be at least 1",
    ),
    (
        "a time zone with blanks",
        "FlowDeployment",
        {f"{_SCHEDULE}.timezone": "Mid Europe"},
        "spec.schedules[0].timezone",
    ),
    ("too many schedules", "FlowDeployment", {"spec.schedules": [{"slug": "s"}] * 33}, "spec.schedules"),
    ("a negative limit", "FlowDeployment", {"spec.concurrency.limit": -1}, "spec.concurrency.limit"),
    ("an unknown policy", "FlowDeployment", {"spec.concurrency.policy": "Wait"}, "spec.concurrency.policy"),
    (
        "catching up without end",
        "FlowDeployment",
        {"spec.startingDeadlineSeconds": GONE},
        "catchUp: All needs startingDeadlineSeconds",
    ),
    ("an unknown catchUp", "FlowDeployment", {"spec.catchUp": "Some"}, "spec.catchUp"),
    ("priority 0", "FlowDeployment", {"spec.priority": 0}, "spec.priority"),
    (
        "a thousand and one infra retries",
        "FlowDeployment",
        {"spec.infraRetries.limit": 1001},
        "spec.infraRetries.limit",
    ),
    (
        "an exit code no process has",
        "FlowDeployment",
        {"spec.infraRetries.exitCodes": [256]},
        "spec.infraRetries.exitCodes[0]",
    ),
    (
        "a variable with two values",
        "FlowDeployment",
        {f"{_ENV}.valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        "env: set exactly one of value, valueFrom",
    ),
    (
        "a reserved variable",
        "FlowDeployment",
        {f"{_ENV}.name": "PENSTOCK_RUN"},
        "env.name: PENSTOCK_RUN is set by the operator: take it out",
    ),
    (
        "the way to the API server",
        "FlowDeployment",
        {f"{_ENV}.name": "PENSTOCK_SERVICE_ACCOUNT"},
        "env.name: PENSTOCK_SERVICE_ACCOUNT is set by the operator",
    ),
    ("a variable no shell takes", "FlowDeployment", {f"{_ENV}.name": "1-A"}, "spec.pod.env[0].name"),
    (
        "a quantity in words",
        "FlowDeployment",
        {"spec.pod.resources.limits.memory": "lots"},
        "spec.pod.resources.limits.memory",
    ),
    (
        "a reserved label of the pod",
        "FlowDeployment",
        {"spec.pod.labels": {labels.RUN: "x"}},
        "labels: keys that begin with penstock.dev/",
    ),
    (
        "a reserved annotation of the pod",
        "FlowDeployment",
        {"spec.pod.annotations": {labels.CAUSE: "x"}},
        "annotations: keys that begin with penstock.dev/",
    ),
    (
        "a reserved label of runs",
        "FlowDeployment",
        {"spec.labels": {labels.POOL: "x"}},
        "labels: keys that begin with penstock.dev/",
    ),
    (
        "an unknown taint effect",
        "FlowDeployment",
        {"spec.pod.tolerations.0.effect": "Never"},
        "spec.pod.tolerations[0].effect",
    ),
    ("a negative history", "FlowDeployment", {"spec.historyLimits.failed": -1}, "spec.historyLimits.failed"),
    ("an empty tag", "FlowDeployment", {"spec.tags": [""]}, "spec.tags[0]"),
    ("a pool that is no label", "FlowDeployment", {"spec.workPool": "a.b"}, "spec.workPool"),
    ("a deployment named with a dot", "FlowDeployment", {"metadata.name": "a.b"}, "metadata.name: the name of a"),
    ("a run of nothing", "FlowRun", {"spec.deploymentRef": GONE}, "spec: set exactly one of deploymentRef, flowRef"),
    (
        "a run of two things",
        "FlowRun",
        {"spec.flowRef": {"name": "etl"}},
        "spec: set exactly one of deploymentRef, flowRef",
    ),
    ("a run of 53 letters", "FlowRun", {"metadata.name": "r" * 53}, "metadata.name: the name of a"),
    ("a run named with a dot", "FlowRun", {"metadata.name": "run.1"}, "metadata.name: the name of a"),
    (
        "a child without parent",
        "FlowRun",
        {"spec.infrastructure": "Parent", "spec.parent": GONE},
        "infrastructure: Parent needs parent",
    ),
    ("an unknown infrastructure", "FlowRun", {"spec.infrastructure": "Cloud"}, "spec.infrastructure"),
    ("a time in words", "FlowRun", {"spec.scheduledTime": "tomorrow"}, "spec.scheduledTime"),
    ("parameters as a list", "FlowRun", {"spec.parameters": [1]}, "spec.parameters"),
    ("a negative TTL", "FlowRun", {"spec.ttlSecondsAfterFinished": -1}, "spec.ttlSecondsAfterFinished"),
    ("a deadline at once", "FlowRun", {"spec.activeDeadlineSeconds": 0}, "spec.activeDeadlineSeconds"),
    ("an answer to no pause", "FlowRun", {"spec.resume.pause": GONE}, "spec.resume.pause"),
    ("a parent without uid", "FlowRun", {"spec.parent.uid": GONE}, "spec.parent.uid"),
    ("a task without module", "FlowRun", {"spec.task.entrypoint": "work"}, "spec.task.entrypoint"),
    ("cancel in words", "FlowRun", {"spec.cancel": "yes"}, "spec.cancel"),
    ("a page of no run", "TaskRunPage", {"run": GONE}, "run: Required"),
    ("a page before the first", "TaskRunPage", {"number": -1}, "number: Invalid"),
    ("a page over its size", "TaskRunPage", {"data": "A" * 65_537}, "data: Too long"),
    (
        "more failures than a page takes",
        "TaskRunPage",
        {"failures": [{"id": "1", "name": "n", "state": "Failed"}] * 101},
        "failures: Too many",
    ),
    ("an unknown pool type", "WorkPool", {"spec.type": "Lambda"}, "spec.type"),
    ("a pool without type", "WorkPool", {"spec.type": GONE}, "spec.type: Required"),
    ("workers of a Pod pool", "WorkPool", {"spec.type": "Pod"}, "worker: only for pools of type Process"),
    (
        "workers under another account",
        "WorkPool",
        {"spec.serviceAccountName": "penstock-run"},
        "serviceAccountName: penstock-worker is the account of workers",
    ),
    (
        "pods under the account of workers",
        "WorkPool",
        {"spec.type": "Pod", "spec.worker": GONE},
        "serviceAccountName: penstock-worker is the account of workers",
    ),
    ("a module to preload that is none", "WorkPool", {"spec.worker.preload": ["a b"]}, "spec.worker.preload[0]"),
    ("more workers than the most", "WorkPool", {"spec.worker.min": 5}, "worker.max: at least worker.min"),
    ("an override that is none", "WorkPool", {"spec.overrides.allow": ["volumes"]}, "spec.overrides.allow[0]"),
    ("a negative pool limit", "WorkPool", {"spec.concurrencyLimit": -1}, "spec.concurrencyLimit"),
    ("an unknown answer to lost nodes", "WorkPool", {"spec.onNodeLost.policy": "Guess"}, "spec.onNodeLost.policy"),
    ("results nowhere", "WorkPool", {"spec.results.url": ""}, "spec.results.url"),
    ("a template in words", "WorkPool", {"spec.template": "big"}, "spec.template"),
    ("a pool named with a dot", "WorkPool", {"metadata.name": "a.b"}, "metadata.name: the name of a"),
    ("a queue of no pool", "WorkQueue", {"spec.workPoolRef": GONE}, "spec.workPoolRef: Required"),
    ("a queue whose name no run can name", "WorkQueue", {"metadata.name": "team.fast"}, "a queue is a DNS label"),
    ("queue priority 0", "WorkQueue", {"spec.priority": 0}, "spec.priority"),
    ("a selector of no tags", "WorkQueue", {"spec.selector.matchTags": []}, "spec.selector.matchTags"),
    ("a limit without limit", "ConcurrencyLimit", {"spec.limit": GONE}, "spec.limit: Required"),
    ("a limit below none", "ConcurrencyLimit", {"spec.limit": -1}, "spec.limit"),
    (
        "a tag whose slots decay",
        "ConcurrencyLimit",
        {"spec.tag": "gpu", "spec.taskTag": GONE},
        "slotDecayPerSecond: a limit on a tag counts runs",
    ),
    ("a tag that is no text", "ConcurrencyLimit", {"spec.tag": ""}, "spec.tag"),
    (
        "a limit of runs and of task runs",
        "ConcurrencyLimit",
        {"spec.tag": "db", "spec.slotDecayPerSecond": GONE},
        "a limit counts runs by their tag, or task runs by theirs",
    ),
    ("slots that grow", "ConcurrencyLimit", {"spec.slotDecayPerSecond": -0.5}, "spec.slotDecayPerSecond"),
    ("an automation without trigger", "Automation", {"spec.trigger": GONE}, "spec.trigger: Required"),
    ("a trigger of no form", "Automation", {"spec.trigger": {}}, "trigger: set exactly one of event, metric"),
    ("a trigger of two forms", "Automation", {"spec.trigger.event": {}}, "trigger: set exactly one of"),
    ("a trigger nested too deep", "Automation", {"spec.trigger": _DEEP}, "trigger: set exactly one of event, metric"),
    (
        "waiting for nothing without end",
        "Automation",
        {"spec.trigger": {"event": {"posture": "Proactive"}}},
        "withinSeconds: a proactive trigger needs a window",
    ),
    (
        "a threshold of none",
        "Automation",
        {"spec.trigger": {"event": {"threshold": 0}}},
        "spec.trigger.event.threshold",
    ),
    ("an unknown quantifier", "Automation", {"spec.trigger.compound.require": "Most"}, "spec.trigger.compound.require"),
    ("a compound of nothing", "Automation", {"spec.trigger.compound.triggers": []}, "spec.trigger.compound.triggers"),
    (
        "an unknown comparison",
        "Automation",
        {"spec.trigger": {"metric": {"metric": "Duration", "operator": "=", "value": 1}}},
        "spec.trigger.metric.operator",
    ),
    (
        "no action at all",
        "Automation",
        {"spec.actions": GONE, "spec.actionsOnTrigger": GONE, "spec.actionsOnResolve": GONE},
        "actions: set at least one of actions",
    ),
    (
        "two actions in one",
        "Automation",
        {"spec.actions.1.deleteFlowRun": {}},
        "action: set exactly one of runDeployment",
    ),
    (
        "suspending what cannot be",
        "Automation",
        {"spec.actions.5.suspend.kind": "Flow"},
        "spec.actions[5].suspend.kind",
    ),
    (
        "a webhook to nowhere",
        "Automation",
        {"spec.actions.7.callWebhook.url": GONE},
        "callWebhook: set exactly one of url, blockRef",
    ),
    (
        "a backfill that ends before it begins",
        "Backfill",
        {"spec.to": "2025-12-31T00:00:00Z"},
        "to: must be later than from",
    ),
    ("a backfill of no schedule", "Backfill", {"spec.schedule": GONE}, "spec.schedule: Required"),
    ("an unknown mode", "Backfill", {"spec.mode": "Some"}, "spec.mode"),
    ("a backfill of no runs at once", "Backfill", {"spec.parallelism": 0}, "spec.parallelism"),
    ("a block of no type", "Block", {"spec.type": GONE}, "spec.type: Required"),
    ("a secret in the clear", "Block", {"spec.secrets.key": "hunter2"}, "spec.secrets.key"),
    ("a secret without key", "Block", {"spec.secrets.key.key": GONE}, "spec.secrets.key.key"),
    ("a variable without value", "Variable", {"spec.value": GONE}, "spec.value: Required"),
    ("an unknown artifact", "Artifact", {"spec.type": "video"}, "spec.type"),
    ("an artifact of nothing", "Artifact", {"spec.data": GONE}, "spec.data: Required"),
    ("a key that is no label", "Artifact", {"spec.key": "My Report"}, "spec.key"),
]


@pytest.mark.parametrize("kind", builders.KINDS)
def test_a_full_object_of_each_kind_is_kept_whole(kind: str, admin: ApiClient, namespace: str) -> None:
    body = good(kind, namespace=namespace)
    kept = admin.create(body)
    assert {**kept, "metadata": None} == {**body, "metadata": None}


def test_every_kind_has_a_good_object_and_a_bad_one() -> None:
    every = {kind.about.kind for kind in kinds.ALL}
    assert set(builders.KINDS) == every
    assert {kind for _, kind, _, _ in BAD} == every


@pytest.mark.parametrize(("kind", "changes", "named"), [bad[1:] for bad in BAD], ids=[bad[0] for bad in BAD])
def test_a_bad_object_is_refused_by_the_field(
    kind: str, changes: dict[str, Any], named: str, admin: ApiClient, namespace: str
) -> None:
    with pytest.raises(Refused) as refusal:
        admin.create(changed(good(kind, namespace=namespace), changes))
    assert refusal.value.code == 422
    assert named in refusal.value.message


def test_an_unknown_field_of_a_newer_version_is_dropped(admin: ApiClient, namespace: str) -> None:
    kept = admin.create(changed(good("WorkQueue", namespace=namespace), {"spec.someday": 1}))
    assert "someday" not in kept["spec"]


def test_usual_settings_are_written_into_the_spec_and_never_into_the_status(admin: ApiClient, namespace: str) -> None:
    spec = {"flowRef": {"name": "etl"}, "concurrency": {"limit": 1}}
    deployment = admin.create({**good("FlowDeployment", namespace=namespace), "spec": spec})
    assert deployment["spec"]["workPool"] == "default"
    assert deployment["spec"]["concurrency"]["policy"] == "Queue"
    queue = admin.create({**good("WorkQueue", namespace=namespace), "spec": {"workPoolRef": {"name": "default"}}})
    assert queue["spec"]["priority"] == 1000
    assert "status" not in queue
    run = admin.create(good("FlowRun", namespace=namespace))
    state = builders.run_state()
    written = admin.merge("FlowRun", namespace, run["metadata"]["name"], {"status": {"state": state}}, "status")
    assert written["status"] == {"state": state}


def test_every_kind_is_served_with_its_short_name_and_category(admin: ApiClient, crds: None) -> None:
    served = admin.request("GET", f"/apis/{labels.API_VERSION}")["resources"]
    by_name = {resource["name"]: resource for resource in served}
    for kind in kinds.ALL:
        resource = by_name[kind.about.plural]
        assert resource["kind"] == kind.about.kind
        assert resource["singularName"] == kind.about.kind.lower()
        assert resource["shortNames"] == [kind.about.short]
        assert resource["categories"] == [labels.CATEGORY]
        assert resource["namespaced"]
        assert (f"{kind.about.plural}/status" in by_name) == kind.about.has_status


@pytest.mark.parametrize("kind", [kind.about for kind in kinds.ALL if kind.about.selectable], ids=lambda k: k.kind)
def test_the_server_filters_by_each_selectable_field(kind: Any, admin: ApiClient, namespace: str) -> None:
    admin.create(good(kind.kind, namespace=namespace))
    for path in kind.selectable:
        field = path.removeprefix(".")
        assert not admin.list(kind.kind, namespace, fieldSelector=f"{field}=nothing-has-this")["items"]
        assert len(admin.list(kind.kind, namespace, fieldSelector=f"{field}!=nothing-has-this")["items"]) == 1


def test_a_run_without_status_counts_as_not_settled_and_a_settled_one_leaves(admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowRun", "fresh", namespace))
    admin.create(good("FlowRun", "done", namespace))
    status = {"state": builders.run_state("Completed"), "settled": True}
    admin.merge("FlowRun", namespace, "done", {"status": status}, "status")
    live = admin.list("FlowRun", namespace, fieldSelector="status.settled!=true")["items"]
    settled = admin.list("FlowRun", namespace, fieldSelector="status.settled=true")["items"]
    assert [run["metadata"]["name"] for run in live] == ["fresh"]
    assert [run["metadata"]["name"] for run in settled] == ["done"]


def test_kubectl_get_flowruns_tells_what_a_run_does(admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowRun", "nightly-1", namespace))
    status = {
        "state": builders.run_state("Running", reason="Started", message="Claimed by nightly-1-2."),
        "attempt": 2,
        "tasks": {"total": 20, "summary": "12/20"},
        "duration": "3m",
        "startTime": "2026-01-01T06:00:00Z",
        "pod": {"name": "nightly-1-2", "uid": "u"},
    }
    admin.merge("FlowRun", namespace, "nightly-1", {"status": status}, "status")
    table = admin.table("FlowRun", namespace)
    shown = {
        column["name"]: cell for column, cell in zip(table["columnDefinitions"], table["rows"][0]["cells"], strict=True)
    }
    wide = {column["name"] for column in table["columnDefinitions"] if column["priority"]}
    first = ["Name", "Deployment", "State", "Reason", "Tasks", "Pool", "Attempt", "Started", "Duration", "Age"]
    assert list(shown) == [*first, "Message", "Pod", "Worker"]
    assert wide == {"Message", "Pod", "Worker"}
    assert shown["Deployment"] == "etl"
    assert (shown["State"], shown["Reason"], shown["Tasks"]) == ("Running", "Started", "12/20")
    assert (shown["Attempt"], shown["Duration"], shown["Pod"]) == (2, "3m", "nightly-1-2")
    assert shown["Message"] == "Claimed by nightly-1-2."


# Objects beside the good one, where not all that has a column can stand in one.
ALSO = {"ConcurrencyLimit": [{"spec.tag": "db", "spec.taskTag": GONE, "spec.slotDecayPerSecond": GONE}]}


@pytest.mark.parametrize("kind", builders.KINDS)
def test_each_kind_shows_its_columns(kind: str, admin: ApiClient, namespace: str) -> None:
    """A column whose path or type is wrong shows nothing: those of the spec must show the objects' values."""
    admin.create(good(kind, namespace=namespace))
    for number, changes in enumerate(ALSO.get(kind, ())):
        admin.create(changed(good(kind, f"also-{number}", namespace), changes))
    about = next(k.about for k in kinds.ALL if k.about.kind == kind)
    table = admin.table(kind, namespace)
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", *(c.name for c in about.columns)]
    for number, column in enumerate(about.columns, 1):
        if not column.json_path.startswith(".status"):
            assert any(row["cells"][number] is not None for row in table["rows"]), column.name


def test_conditions_show_in_the_ready_column(admin: ApiClient, namespace: str) -> None:
    admin.create(good("FlowDeployment", namespace=namespace))
    condition = {"type": "Ready", "status": "False", "reason": "FlowNotFound"}
    admin.merge("FlowDeployment", namespace, "sample", {"status": {"conditions": [condition]}}, "status")
    table = admin.table("FlowDeployment", namespace)
    names = [column["name"] for column in table["columnDefinitions"]]
    cells = table["rows"][0]["cells"]
    assert (cells[names.index("Ready")], cells[names.index("Reason")]) == ("False", "FlowNotFound")
