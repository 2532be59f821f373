"""The rules against what a runner really sends, and against everything that would be another run's."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.api import labels, names
from penstock.worker.permits import JSON_PATCH, MERGE_PATCH, RULES, Asked, Denied, Holder, Unseen, permitted

Json = dict[str, Any]
HOLDER = Holder("team", "run", "uid", 2, "worker-uid", "warm-1")
ROOT = "/apis/penstock.dev/v1alpha1/namespaces/team"
OWNER = {"apiVersion": labels.API_VERSION, "kind": "FlowRun", "name": "run", "uid": "uid"}
MINE = {"name": "run", "uid": "uid"}
OTHER = {"name": "other", "uid": "other-uid"}
CLAIM = {"name": "warm-1", "uid": "worker-uid"}
PAGE = names.task_page("run", "uid", 2, 0)
CHILD = {"metadata": {"name": "child", "uid": "c"}, "spec": {"infrastructure": "Parent", "parent": MINE}}
SEEN = {
    ("flowruns", "child"): CHILD,
    ("flowruns", "other"): {"metadata": {"name": "other", "uid": "o"}, "spec": {"flowRef": {"name": "x"}}},
    ("flowruns", "nephew"): {
        "metadata": {"name": "nephew", "uid": "n"},
        "spec": {"infrastructure": "Parent", "parent": OTHER},
    },
    ("flowruns", "deployed"): {
        "metadata": {"name": "deployed", "uid": "d"},
        "spec": {"deploymentRef": {"name": "x"}, "parent": MINE},
    },
    ("artifacts", "mine"): {"metadata": {"name": "mine"}, "spec": {"run": MINE}},
    ("artifacts", "theirs"): {"metadata": {"name": "theirs"}, "spec": {"run": OTHER}},
    ("artifacts", "report"): {"metadata": {"name": "report"}, "spec": {"key": "report", "run": OTHER}},
}


def ask(method: str, path: str, body: Any = None, kind: str = "application/json") -> Any:
    target = path if path.startswith("/") else f"{ROOT}/{path}"
    return permitted(Asked(method, target, kind, copy.deepcopy(body)), HOLDER, SEEN)


def patch(path: str, *ops: Json) -> Any:
    return ask("PATCH", path, list(ops), JSON_PATCH)


def op(path: str, value: Any = 1, do: str = "add") -> Json:
    return {"op": do, "path": path, "value": value}


def manifest(kind: str, name: str = "x", owned: bool = False, **fields: Any) -> Json:
    meta: Json = {"name": name, **({"ownerReferences": [OWNER]} if owned else {})}
    return {"apiVersion": labels.API_VERSION, "kind": kind, "metadata": meta, **fields}


def child(**spec: Any) -> Json:
    return manifest("FlowRun", owned=True, spec={"flowRef": {"name": "x"}, "parent": MINE, **spec})


def event(**fields: Any) -> Json:
    regarding = {**OWNER, "namespace": "team"}
    return manifest("Event", "run.e1", regarding=regarding, reportingController="penstock.dev/run", **fields)


EVENTS = "/apis/events.k8s.io/v1/namespaces/team/events"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/team/leases"
PAGE_BODY = manifest("TaskRunPage", PAGE, owned=True, run=MINE, attempt=2, records=1)

ALLOWED: dict[str, tuple[Any, ...]] = {
    "its own run": ("GET", "flowruns/run"),
    "other runs of its namespace": ("GET", "flowruns?labelSelector=penstock.dev%2Fparent%3Drun&watch=1"),
    "the limits of which code takes slots": ("GET", "concurrencylimits?resourceVersion=0"),
    "slots that it claims": ("PATCH", "flowruns/run/status", [op("/status/claims", {})], JSON_PATCH),
    "what its code turned out to be": (
        "PATCH",
        "flowruns/run/status",
        [op("/status/code", {"commit": "f" * 40})],
        JSON_PATCH,
    ),
    "the deployment that it starts": ("GET", "flowdeployments/x"),
    "a page": ("POST", "taskrunpages", PAGE_BODY),
    "a page again": ("PATCH", f"taskrunpages/{PAGE}", {"records": 2, "sealed": True}, MERGE_PATCH),
    "an Event about itself": ("POST", EVENTS, event()),
    "a subflow": ("POST", "flowruns", child(infrastructure="Parent")),
    "a run of a deployment": ("POST", "flowruns", child(deploymentRef={"name": "d"})),
    "a task in a pod with an image": ("POST", "flowruns", child(task={"entrypoint": "a:b"}, pod={"image": "i"})),
    "an artifact": ("POST", "artifacts", manifest("Artifact", owned=True, spec={"type": "table", "run": MINE})),
    "an artifact with a key": ("POST", "artifacts", manifest("Artifact", "k", spec={"key": "k", "run": MINE})),
    "variables": ("GET", "variables"),
    "a variable": ("POST", "variables", manifest("Variable", spec={"value": 1})),
    "another value": ("PATCH", "variables/x", [op("/spec/value")], JSON_PATCH),
    "no variable": ("DELETE", "variables/x"),
    "a lock": ("POST", LEASES, manifest("Lease", "penstock-lock-a", spec={"holderIdentity": "me"})),
    "the same lock": ("PATCH", f"{LEASES}/penstock-lock-a", {"spec": {}}, MERGE_PATCH),
    "no lock": ("DELETE", f"{LEASES}/penstock-lock-a", {"preconditions": {"resourceVersion": "1"}}),
}

DENIED: dict[str, tuple[Any, ...]] = {
    "another namespace": ("GET", "/apis/penstock.dev/v1alpha1/namespaces/prod/flowruns"),
    "the whole cluster": ("GET", "/apis/penstock.dev/v1alpha1/flowruns"),
    "Secrets": ("GET", "/api/v1/namespaces/team/secrets/db"),
    "ConfigMaps": ("GET", "/api/v1/namespaces/team/configmaps/x"),
    "pods": ("POST", "/api/v1/namespaces/team/pods", {}),
    "another version of the group": ("GET", "/apis/penstock.dev/v2/namespaces/team/flowruns"),
    "another group's kind of that name": ("GET", "/apis/apps/v1/namespaces/team/events"),
    "a way around the path": ("GET", f"{ROOT}/flowruns/../../prod/flowruns"),
    "an encoded way around it": ("GET", f"{ROOT}/flowruns/%2e%2e/x"),
    "two slashes": ("GET", f"{ROOT}//flowruns"),
    "a proxied host": ("GET", "http://elsewhere/apis"),
    "another subresource": ("GET", "flowruns/run/scale"),
    "a dry run": ("POST", "flowruns?dryRun=All", child(infrastructure="Parent")),
    "a field manager": ("GET", "flowruns?fieldManager=x"),
    "a token": ("POST", "/api/v1/namespaces/team/serviceaccounts/default/token", {}),
    "its own spec": ("PATCH", "flowruns/run", [op("/spec/cancel", True)], JSON_PATCH),
    "to delete itself": ("DELETE", "flowruns/run"),
    "to replace its status": ("PUT", "flowruns/run/status", {}),
    "server-side apply": ("PATCH", "flowruns/run/status", {}, "application/apply-patch+yaml"),
    "a merge patch of its status": ("PATCH", "flowruns/run/status", {"status": {}}, MERGE_PATCH),
    "its whole status": ("PATCH", "flowruns/run/status", [op("/status", {})], JSON_PATCH),
    "everything": ("PATCH", "flowruns/run/status", [op("", {})], JSON_PATCH),
    "its attempt": ("PATCH", "flowruns/run/status", [op("/status/attempt")], JSON_PATCH),
    "its worker": ("PATCH", "flowruns/run/status", [op("/status/worker/exited", {})], JSON_PATCH),
    "that it is settled": ("PATCH", "flowruns/run/status", [op("/status/settled", True)], JSON_PATCH),
    "a field that only begins like one": ("PATCH", "flowruns/run/status", [op("/status/stated")], JSON_PATCH),
    "a path with escapes": ("PATCH", "flowruns/run/status", [op("/status/~0state")], JSON_PATCH),
    "a copy": ("PATCH", "flowruns/run/status", [{**op("/status/state"), "op": "copy", "from": "/spec"}], JSON_PATCH),
    "a claim for another worker": ("PATCH", "flowruns/run/status", [op("/status/pod", OTHER)], JSON_PATCH),
    "a part of a claim": ("PATCH", "flowruns/run/status", [op("/status/pod/uid", "x")], JSON_PATCH),
    "no claim": ("PATCH", "flowruns/run/status", [op("/status/pod", do="remove")], JSON_PATCH),
    "no list of operations": ("PATCH", "flowruns/run/status", {"op": "add"}, JSON_PATCH),
    "operations without a path": ("PATCH", "flowruns/run/status", [{"op": "test"}], JSON_PATCH),
    "another run's status": ("PATCH", "flowruns/other/status", [op("/status/state")], JSON_PATCH),
    "the status of another run's subflow": ("PATCH", "flowruns/nephew/status", [op("/status/state")], JSON_PATCH),
    "the status of a run it only started": ("PATCH", "flowruns/deployed/status", [op("/status/state")], JSON_PATCH),
    "a subflow that is claimed by others": (
        "PATCH",
        "flowruns/child/status",
        [op("/status", {"attempt": 2, "pod": OTHER})],
        JSON_PATCH,
    ),
    "a subflow that is settled": (
        "PATCH",
        "flowruns/child/status",
        [op("/status", {"attempt": 2, "pod": CLAIM, "settled": True})],
        JSON_PATCH,
    ),
    "another run's child": ("POST", "flowruns", child(parent=OTHER, infrastructure="Parent")),
    "a run of a flow in a pool of its choice": ("POST", "flowruns", child(infrastructure="Parent", workPool="x")),
    "a run of a flow": ("POST", "flowruns", child()),
    "a retry": ("POST", "flowruns", child(infrastructure="Parent", retryOf=OTHER)),
    "a Secret by its child": (
        "POST",
        "flowruns",
        child(deploymentRef={"name": "d"}, pod={"env": [{"name": "X", "valueFrom": {"secretKeyRef": {}}}]}),
    ),
    "an image of its choice": ("POST", "flowruns", child(deploymentRef={"name": "d"}, pod={"image": "i"})),
    "a task of a deployment": ("POST", "flowruns", child(task={"entrypoint": "a:b"}, deploymentRef={"name": "d"})),
    "a task at a time": ("POST", "flowruns", child(task={"entrypoint": "a:b"}, scheduledTime="2026-01-01T00:00:00Z")),
    "a child with a status": ("POST", "flowruns", {**child(infrastructure="Parent"), "status": {}}),
    "a child that another run owns": (
        "POST",
        "flowruns",
        {**child(infrastructure="Parent"), "metadata": {"name": "x", "ownerReferences": [{**OWNER, "uid": "o"}]}},
    ),
    "a child elsewhere": (
        "POST",
        "flowruns",
        {**child(infrastructure="Parent"), "metadata": {"name": "x", "namespace": "prod"}},
    ),
    "a child with finalizers": (
        "POST",
        "flowruns",
        {**child(infrastructure="Parent"), "metadata": {"name": "x", "finalizers": ["a/b"]}},
    ),
    "another kind under the name of one": ("POST", "flowruns", {**child(infrastructure="Parent"), "kind": "Flow"}),
    "a page of another run": ("POST", "taskrunpages", {**PAGE_BODY, "run": OTHER}),
    "a page of another attempt": ("POST", "taskrunpages", {**PAGE_BODY, "attempt": 1}),
    "a page under another run's name": (
        "POST",
        "taskrunpages",
        {**PAGE_BODY, "metadata": {**PAGE_BODY["metadata"], "name": names.task_page("run", "other", 2, 0)}},
    ),
    "a page that nobody owns": ("POST", "taskrunpages", {**PAGE_BODY, "metadata": {"name": PAGE}}),
    "another attempt's page": (
        "PATCH",
        f"taskrunpages/{names.task_page('run', 'uid', 1, 0)}",
        {"records": 1},
        MERGE_PATCH,
    ),
    "whose a page is": ("PATCH", f"taskrunpages/{PAGE}", {"run": OTHER}, MERGE_PATCH),
    "an Event about others": ("POST", EVENTS, {**event(), "regarding": {**OWNER, **OTHER, "namespace": "team"}}),
    "an Event in the operator's name": ("POST", EVENTS, {**event(), "reportingController": "penstock.dev/operator"}),
    "an Event under another name": ("POST", EVENTS, {**event(), "metadata": {"name": "run.12345.1"}}),
    "another run's artifact": ("PATCH", "artifacts/theirs", [op("/spec/data"), op("/spec/run", MINE)], JSON_PATCH),
    "an artifact in another's name": ("PATCH", "artifacts/report", [op("/spec/run", OTHER)], JSON_PATCH),
    "another run's progress": ("PATCH", "artifacts/report", [op("/spec/data")], JSON_PATCH),
    "the key of an artifact": ("PATCH", "artifacts/mine", [op("/spec/key", "k")], JSON_PATCH),
    "to unmake an artifact": ("DELETE", "artifacts/mine"),
    "an artifact for others": ("POST", "artifacts", manifest("Artifact", owned=True, spec={"run": OTHER})),
    "an artifact that nobody owns": ("POST", "artifacts", manifest("Artifact", spec={"run": MINE})),
    "the labels of a variable": ("PATCH", "variables/x", [op("/metadata/labels/a")], JSON_PATCH),
    "the operator's Lease": ("PATCH", f"{LEASES}/penstock-operator", {"spec": {}}, MERGE_PATCH),
    "its worker's Lease": ("GET", f"{LEASES}/penstock-worker-x"),
    "a Lease that is no lock": ("POST", LEASES, manifest("Lease", "penstock-worker-x", spec={})),
    "all Leases": ("GET", LEASES),
}


@pytest.mark.parametrize("what", ALLOWED)
def test_a_run_may_ask_for(what: str) -> None:
    method, path, *rest = ALLOWED[what]
    ask(method, path, *rest)


@pytest.mark.parametrize("what", DENIED)
def test_a_run_may_not_ask_for(what: str) -> None:
    method, path, *rest = DENIED[what]
    with pytest.raises(Denied):
        ask(method, path, *rest)


def test_its_status_is_fenced_whatever_it_says() -> None:
    given = op("/status/state", {"type": "Completed"}, "replace")
    *tests, last = patch("flowruns/run/status", given)
    assert last == given
    assert {(test["op"], test["path"], test["value"]) for test in tests} == {
        ("test", "/metadata/uid", "uid"),
        ("test", "/status/attempt", 2),
        ("test", "/status/worker/uid", "worker-uid"),
    }
    assert patch("flowruns/run/status", op("/status/pod", CLAIM))[-1] == op("/status/pod", CLAIM)


def test_a_subflow_is_written_as_the_one_that_was_seen() -> None:
    whole = op("/status", {"attempt": 2, "pod": CLAIM, "state": {}, "history": []})
    assert patch("flowruns/child/status", whole) == [op("/metadata/uid", "c", "test"), whole]
    assert patch("flowruns/child/status", op("/status/state"))[0]["value"] == "c"


def test_what_depends_on_an_object_is_asked_again() -> None:
    with pytest.raises(Unseen) as unseen:
        patch("flowruns/unknown/status", op("/status/state"))
    assert (unseen.value.plural, unseen.value.name) == ("flowruns", "unknown")


def test_an_artifact_with_a_key_is_signed_by_whoever_writes_it() -> None:
    signed = op("/spec/run", MINE)
    assert patch("artifacts/report", op("/spec/data"), signed)[0] == op("/spec/key", "report", "test")
    assert patch("artifacts/mine", op("/spec/data"))[0] == op("/spec/run/uid", "uid", "test")


def test_what_a_worker_makes_says_which_one_it_was() -> None:
    made = ask("POST", "flowruns", child(infrastructure="Parent"))
    assert made["metadata"]["annotations"] == {labels.WORKER_UID: "worker-uid"}
    forged = child(infrastructure="Parent")
    forged["metadata"]["annotations"] = {labels.WORKER_UID: "other", "a": "b"}
    assert ask("POST", "flowruns", forged)["metadata"]["annotations"] == {labels.WORKER_UID: "worker-uid", "a": "b"}


def test_every_field_of_a_status_that_runners_write_is_allowed() -> None:
    """Whoever has runners write another field has to think of those in workers."""
    runner = Path(__file__).resolve().parents[3] / "sdk/penstock/runner"
    written = re.compile(r'"op": "(?:add|replace|remove)", "path": "/status/(\w+)')
    fields = {field for module in runner.glob("*.py") for field in written.findall(module.read_text())}
    assert {"state", "pod", "code", "claims", "pause", "result"} <= fields
    for field in fields:
        patch("flowruns/run/status", op(f"/status/{field}", CLAIM))


def test_the_rules_allow_what_the_account_of_runs_may() -> None:
    """Whoever gives runs in pods a right has to think of those in workers."""
    chart = Path(__file__).resolve().parents[3] / "charts/penstock/templates/_names.tpl"
    text = chart.read_text().split('define "penstock.runRules" -}}')[1].split("{{- end }}")[0]
    rules = yaml.safe_load(text)
    assert len(rules) > 5
    verbs = {"watch": "list", "update": "merge"}
    granted = {
        (verbs.get(verb, verb), resource) for rule in rules for resource in rule["resources"] for verb in rule["verbs"]
    }
    known = {("merge" if verb == "merge" else verb, plural) for verb, plural in RULES}
    known |= {("patch", plural) for verb, plural in RULES if verb == "merge"}
    assert granted <= known
