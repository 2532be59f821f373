"""The environment of a run's pod, as the operator sets it and the runner reads it."""

from __future__ import annotations

import pytest

import builders
from penstock.api import labels
from penstock.runner.assignment import Assignment, InvalidAssignment
from penstock_operator.launch.pods import Defaults, Launch, template

ENVIRONMENT = {
    "PENSTOCK_NAMESPACE": "team",
    "PENSTOCK_RUN": "etl-1",
    "PENSTOCK_RUN_UID": "run-uid",
    "PENSTOCK_ATTEMPT": "2",
    "PENSTOCK_SEQ": "7",
    "PENSTOCK_ENTRYPOINT": "flow:etl",
    "PENSTOCK_POD_NAME": "etl-1-2",
    "PENSTOCK_POD_UID": "pod-uid",
}
NUMBERS = ("PENSTOCK_ATTEMPT", "PENSTOCK_SEQ")


def environment_of(**status: object) -> dict[str, str]:
    """What the kubelet makes of the pod that the operator creates."""
    run = builders.flow_run("Pending", attempt=2, state=builders.run_state("Pending", 7), **status)
    flow = template(Launch(run, {"type": "Pod"}, [], Defaults("image")))["spec"]["containers"][0]
    fields = {"metadata.name": "etl-1-2", "metadata.uid": "pod-uid"}
    return {e["name"]: e.get("value") or fields[e["valueFrom"]["fieldRef"]["fieldPath"]] for e in flow["env"]}


def test_what_the_operator_sets_is_what_the_runner_reads() -> None:
    """Two programs share these names; this is where they meet."""
    found = Assignment(environment_of())
    assert (found.namespace, found.name, found.uid) == ("team", "etl-1", "run-uid")
    assert (found.attempt, found.seq) == (2, 7)
    assert (found.pod_name, found.pod_uid) == ("etl-1-2", "pod-uid")
    assert (found.entrypoint, found.deployment) == ("flow:etl", "etl")
    assert found.code == f"{labels.CODE_DIR}/{labels.CODE_FILE}"


def test_a_run_without_deployment_and_source_needs_neither() -> None:
    """Its code is in the image."""
    resolved = builders.resolved(code={"kind": "image"})
    del resolved["deployment"]
    found = Assignment(environment_of(resolved=resolved))
    assert (found.code, found.deployment) == (None, None)


def test_paths_are_those_of_the_api_server() -> None:
    found = Assignment(ENVIRONMENT)
    assert found.path == "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns/etl-1"
    assert found.pages == "/apis/penstock.dev/v1alpha1/namespaces/team/taskrunpages"


@pytest.mark.parametrize("name", ENVIRONMENT)
@pytest.mark.parametrize("empty", [False, True], ids=["missing", "empty"])
def test_what_is_missing_is_named(name: str, empty: bool) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name} | ({name: ""} if empty else {})
    with pytest.raises(InvalidAssignment, match=f"^{name} is not set: the operator sets it in the pods it makes$"):
        Assignment(environment)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["one", "-1", "1.0", "²", "1_0", " 1"])
def test_what_is_no_number_is_named_and_shown(name: str, value: str) -> None:
    with pytest.raises(InvalidAssignment) as refusal:
        Assignment({**ENVIRONMENT, name: value})
    assert str(refusal.value).startswith(f"{name} is {value!r} and should be a number")
