"""How the pods of runs are made, on a cluster in memory: once by their names, and what is told where they cannot be."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from memory_cluster import Write
from penstock.api import names
from penstock_operator.cluster import Forbidden, Invalid, Unavailable
from penstock_operator.reconcile.launching import RETRY_CREATE
from run_stage import NAMESPACE, SOURCE, Stage, launched, refuse, revision, running

Json = dict[str, Any]

CODE = names.code_config_map(names.content_digest(SOURCE))
STATUS = "patch FlowRun run status"


# Names: created once.


def test_a_pod_that_the_operator_made_before_it_died_is_taken_for_its_own() -> None:
    stage = launched()
    uid = stage.cluster.kinds("Pod")[0]["metadata"]["uid"]
    stage.restart()
    stage.hear()
    stage.cache.drop("Pod", (NAMESPACE, "run-1"))
    again = stage.reconcile(hears=False)
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=600)
    assert [pod["metadata"]["uid"] for pod in stage.cluster.kinds("Pod")] == [uid]
    assert stage.taken() == []


def test_a_create_whose_answer_was_lost_is_found_out_by_its_name() -> None:
    stage = Stage()
    stage.submit()

    def lost(write: Write) -> None:
        if write.kind == "Pod":
            raise Unavailable(0, "ServerDisconnectedError", "")

    stage.after = lost
    with pytest.raises(Unavailable):
        stage.reconcile()
    stage.reconcile(hears=False)
    assert stage.taken()[-1] == "create Pod run-1"
    assert stage.names("Pod") == ["run-1"]
    assert stage.state() == ("Pending", "Launched")


def test_a_pod_that_vanishes_before_it_is_looked_for_is_created_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name was taken when the operator tried, and free when it looked by whom."""
    stage = Stage()
    stage.submit()
    stage.reconcile()
    stage.remove("Pod", "run-1")
    stage.taken()
    stage.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "run-1"}, "spec": {"containers": []}})
    get, gone = stage.cluster.get, []

    async def vanishing(resource: Any, namespace: str | None, name: str) -> Json | None:
        if resource.kind == "Pod" and not gone:
            gone.append(name)
            stage.remove("Pod", name)
        return await get(resource, namespace, name)

    monkeypatch.setattr(stage.cluster, "get", vanishing)
    stage.reconcile()
    assert stage.taken() == ["create Pod run-1", "create Pod run-1"]
    assert stage.pod() is not None
    assert stage.condition("PodReady") is None


@pytest.mark.parametrize("pool_type", ["Pod", "Job"])
def test_a_name_that_a_stranger_has_is_waited_for(pool_type: str) -> None:
    stage = Stage(pool_type=pool_type)
    stranger = {"apiVersion": "v1", "kind": pool_type, "metadata": {"name": "run-1"}, "spec": {"containers": []}}
    stage.create(stranger)
    stage.submit()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    assert f"{pool_type} run-1 exists and is not of this run" in json.dumps(stage.run()["conditions"])
    assert stage.state() == ("Pending", "Launched")
    stage.taken()
    stage.reconcile()
    assert stage.taken() == [f"create {pool_type} run-1"]
    stage.remove(pool_type, "run-1")
    stage.reconcile()
    made = stage.get(pool_type, "run-1")
    assert made is not None
    assert made["metadata"]["ownerReferences"][0]["name"] == "run"


def test_pods_of_a_namesake_are_not_taken_for_own() -> None:
    """A run was deleted and made anew under the same name; its predecessor's pod failed, which is nothing to it."""
    stage = running()
    stage.remove("FlowRun", "run")
    stage.end_pod(code=1)
    stage.submit()
    for _ in range(2):
        stage.reconcile()
        assert stage.state() == ("Pending", "Launched")
        assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    stage.remove("Pod", "run-1")
    stage.reconcile()
    run, pod = stage.get("FlowRun", "run"), stage.pod()
    assert run is not None
    assert pod is not None
    assert pod["metadata"]["ownerReferences"][0]["uid"] == run["metadata"]["uid"]


def test_pods_of_a_namesakes_job_are_not_taken_for_own() -> None:
    stage = launched(pool_type="Job")
    pod = stage.make_pod_of_job()
    stage.end_pod(pod, code=1)
    stage.remove("FlowRun", "run")
    stage.submit()
    for _ in range(2):
        stage.reconcile()
        assert stage.state() == ("Pending", "Launched")
        assert stage.condition("PodReady") == ("False", "PodCreateForbidden")


def test_the_pod_of_an_earlier_attempt_says_nothing_of_this_one() -> None:
    stage = running(deployment={"infraRetries": {"limit": 1}})
    stage.end_pod(code=1)
    stage.reconcile()
    stage.reconcile()
    assert stage.names("Pod") == ["run-1", "run-2"]
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        pytest.param("ConfigMap", {"data": {"flow.py": "print('another')"}}, id="other code under the digest"),
        pytest.param("ControllerRevision", {"data": {"type": "Pod"}}, id="a revision of nobody"),
    ],
)
def test_what_a_stranger_put_where_code_or_revision_belongs_is_not_used(kind: str, says: Json) -> None:
    stage = Stage()
    name = CODE if kind == "ConfigMap" else revision(stage, "WorkPool", "default")
    stage.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, **says})
    stage.submit()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.state() == ("Scheduled", "PodCreateForbidden")
    assert f"{kind} {name} exists and is not the operator's" in stage.run()["state"]["message"]
    assert stage.names("Pod") == []
    stage.remove(kind, name)
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")
    assert stage.condition("PodReady") == ("True", "Launched")


# Refusals.

QUOTA = Forbidden(403, "Forbidden", 'pods "run-1" is forbidden: exceeded quota: pods, requested: pods=1')


def test_a_pod_over_quota_is_told_of_and_tried_again() -> None:
    stage = Stage()
    stage.submit()
    stage.before = refuse("Pod", QUOTA)
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.taken()[-2:] == [STATUS, STATUS]
    assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    assert "exceeded quota" in json.dumps(stage.run()["conditions"])
    stage.before = lambda _: None
    stage.clock.advance(RETRY_CREATE.total_seconds())
    stage.reconcile()
    assert stage.taken() == ["create Pod run-1"]
    stage.start_pod()
    stage.reconcile()
    assert stage.condition("PodReady") == ("True", "Launched")


def test_a_refusal_that_is_worded_anew_each_time_is_not_answered_with_a_write_each_time() -> None:
    """The echo of the condition names the run again at once; the pod is tried when it is time, not before."""
    stage = Stage()
    stage.submit()
    asked: list[str] = []

    def denied(write: Write) -> None:
        if write.kind == "Pod":
            asked.append(write.name)
            raise Forbidden(403, "Forbidden", f"admission webhook denied request {len(asked)}")

    stage.before = denied
    stage.reconcile()
    stage.taken()
    for _ in range(3):
        again = stage.reconcile()
        assert again is not None
        assert again.at == stage.clock() + RETRY_CREATE
    assert asked == ["run-1"]
    assert stage.taken() == []
    stage.clock.advance(RETRY_CREATE.total_seconds())
    stage.reconcile()
    assert asked == ["run-1", "run-1"]


def test_a_webhook_that_is_down_is_told_of_in_the_servers_words_and_asked_again() -> None:
    """Its words also say why the run is given up, where the webhook stays away."""
    said = 'failed calling webhook "mutate.example.com": connection refused'
    stage = Stage(deployment={"pendingDeadlineSeconds": 60})
    stage.submit()
    stage.before = refuse("Pod", Unavailable(500, "InternalError", said))
    asked = stage.reconcile()
    assert asked is not None
    assert asked.at == stage.clock() + timedelta(seconds=10)
    assert stage.condition("PodReady") == ("False", "PodCreateForbidden")
    stage.clock.advance(61)
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodCreateForbidden")
    assert said in stage.run()["state"]["message"]


def test_a_pod_that_is_refused_until_the_pending_deadline_crashes_the_run() -> None:
    stage = Stage(deployment={"pendingDeadlineSeconds": 4})
    stage.submit()
    stage.before = refuse("Pod", QUOTA)
    stage.reconcile()
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + timedelta(seconds=4)
    stage.clock.advance(4)
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodCreateForbidden")
    assert "exceeded quota" in stage.run()["state"]["message"]


@pytest.mark.parametrize("retries", [0, 1])
def test_an_invalid_pod_is_given_up_at_once(retries: int) -> None:
    stage = Stage(deployment={"infraRetries": {"limit": retries}})
    stage.submit()
    stage.before = refuse("Pod", Invalid(422, "Invalid", "spec.containers[0].image: Required value"))
    stage.reconcile()
    assert stage.state() == (("Scheduled" if retries else "Crashed"), "PodInvalid")
    for _ in range(3):
        stage.reconcile()
    assert stage.state() == ("Crashed", "PodInvalid")
    assert "spec.containers[0].image" in stage.run()["state"]["message"]
    assert stage.run()["attempt"] == 1 + retries


def test_a_template_that_is_none_crashes_the_run_and_names_itself() -> None:
    stage = Stage(pool={"template": {"spec": {"containers": "flow"}}})
    stage.submit()
    stage.reconcile()
    assert stage.state() == ("Crashed", "PodInvalid")
    assert "spec.template is no pod template" in stage.run()["state"]["message"]
    assert stage.names("Pod") == []


def test_code_over_quota_is_told_of_and_tried_again() -> None:
    stage = Stage()
    stage.submit()
    stage.before = refuse("ConfigMap", Forbidden(403, "Forbidden", "exceeded quota: count/configmaps"))
    again = stage.reconcile()
    assert again is not None
    assert again.at == stage.clock() + RETRY_CREATE
    assert stage.state() == ("Scheduled", "PodCreateForbidden")
    assert stage.run()["attempt"] == 0
    stage.before = lambda _: None
    stage.reconcile()
    assert stage.state() == ("Pending", "Launched")


def test_a_server_that_cannot_be_reached_is_the_queues_to_wait_for() -> None:
    stage = Stage()
    stage.submit()
    stage.before = refuse("Pod", Unavailable(503, "", "etcd is away"))
    with pytest.raises(Unavailable):
        stage.reconcile()
    stage.before = lambda _: None
    stage.reconcile()
    assert stage.names("Pod") == ["run-1"]
