"""The Job of an attempt: the same pod, once, and gone after its time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builders import flow_run, resolved
from penstock.api import labels
from penstock_operator.launch import jobs, pods
from penstock_operator.launch.pods import DEFAULT_POD_TTL, Defaults, InvalidTemplate, Launch

Json = dict[str, Any]


def launch(template: Any = None, **pool: Any) -> Launch:
    run = flow_run("Pending", attempt=2, resolved=resolved("Job"))
    return Launch(run, {"type": "Job", "template": template or {}, **pool}, (), Defaults("registry.example/penstock:1"))


def test_a_whole_job() -> None:
    """Its pod is that of a Pod pool; the attempt is retried by a new attempt, never by the Job."""
    attempt = launch({"metadata": {"labels": {"team": "data"}}})
    assert jobs.job(attempt) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "etl-1-2",
            "namespace": "team",
            "labels": {
                "app.kubernetes.io/managed-by": "penstock",
                "penstock.dev/run": "etl-1",
                "penstock.dev/attempt": "2",
                "penstock.dev/flow": "etl",
                "penstock.dev/pool": "default",
                "penstock.dev/deployment": "etl",
            },
            "ownerReferences": [pods.owner(attempt.run)],
        },
        "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": DEFAULT_POD_TTL,
            "template": pods.template(attempt),
        },
    }


def test_a_job_whose_log_is_to_be_kept_has_no_time_to_live() -> None:
    """Its own would not wait; the operator deletes it, and reads from the pod where the log goes."""
    archive = {"archive": {"url": "s3://bucket/logs"}}
    spec = jobs.job(launch(logs=archive, podTTLSecondsAfterFinished=60))["spec"]
    assert "ttlSecondsAfterFinished" not in spec
    assert spec["template"]["metadata"]["annotations"][labels.LOGS_ARCHIVE] == "s3://bucket/logs"
    forged = {"metadata": {"annotations": {labels.LOGS_ARCHIVE: "s3://bucket/else"}}}
    assert labels.LOGS_ARCHIVE not in pods.pod(launch(forged))["metadata"]["annotations"]


def test_the_pod_of_a_job_is_that_of_a_pod_pool_but_for_name_and_owner() -> None:
    pod, template = pods.pod(launch()), jobs.job(launch())["spec"]["template"]
    assert template["spec"] == pod["spec"]
    assert template["metadata"] == {key: pod["metadata"][key] for key in ("labels", "annotations")}
    assert template["spec"]["restartPolicy"] == "Never"


def test_a_pod_of_a_job_is_found_like_any_pod_of_the_run() -> None:
    found = jobs.job(launch())["spec"]["template"]["metadata"]["labels"]
    assert (found[labels.RUN], found[labels.ATTEMPT]) == ("etl-1", "2")


@pytest.mark.parametrize(("pool", "ttl"), [({}, DEFAULT_POD_TTL), ({"podTTLSecondsAfterFinished": 60}, 60)])
def test_a_job_goes_after_the_time_that_the_pool_gives_to_pods(pool: Json, ttl: int) -> None:
    assert jobs.job(launch(**pool))["spec"]["ttlSecondsAfterFinished"] == ttl


def test_a_pool_that_keeps_no_pods_keeps_no_jobs() -> None:
    assert jobs.job(launch(podTTLSecondsAfterFinished=0))["spec"]["ttlSecondsAfterFinished"] == 0


@pytest.mark.parametrize("field", ["backoffLimit", "completions", "parallelism", "podFailurePolicy"])
def test_a_template_says_nothing_of_the_job(field: str) -> None:
    assert jobs.job(launch({field: 9})) == jobs.job(launch())


def test_what_is_no_template_is_refused() -> None:
    with pytest.raises(InvalidTemplate):
        jobs.job(launch([1]))


QUEUE = {"kueue.x-k8s.io/queue-name": "team-a", "kueue.x-k8s.io/priority-class": "high"}


@pytest.mark.parametrize("where", ["template", "deployment", "run"])
def test_what_kueue_reads_stands_on_the_job_and_not_on_its_pod(where: str) -> None:
    attempt = launch({"metadata": {"labels": {"a": "b", **(QUEUE if where == "template" else {})}}})
    if where == "deployment":
        attempt = replace(attempt, overrides=({"labels": QUEUE},))
    elif where == "run":
        attempt.run["metadata"]["labels"] = {**QUEUE, "of-the-run": "alone"}
    body = jobs.job(attempt)
    of_job, of_pod = body["metadata"]["labels"], body["spec"]["template"]["metadata"]["labels"]
    assert QUEUE.items() <= of_job.items()
    assert {key for key in of_pod if "kueue" in key} == set()
    assert of_pod["a"] == "b"
    assert "of-the-run" not in {**of_job, **of_pod}
    pod = pods.pod(attempt)
    assert QUEUE.items() <= pod["metadata"]["labels"].items(), "Pods of their own have it themselves"


def test_a_run_chooses_no_kueue_where_its_pool_allows_no_labels() -> None:
    attempt = launch(overrides={"allow": ["image"]})
    attempt.run["metadata"]["labels"] = QUEUE
    assert not {key for key in jobs.job(attempt)["metadata"]["labels"] if "kueue" in key}
