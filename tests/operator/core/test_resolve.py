"""References become the facts of a launch; what is missing is waited for, and what cannot be is refused."""

from __future__ import annotations

from typing import Any

import pytest

from builders import GONE, changed, flow_run, good
from penstock.api import names, reasons
from penstock.api.resolved import Resolved
from penstock_operator.core import resolve
from penstock_operator.core.code import Copy
from penstock_operator.core.resolve import Refused, Resolution
from penstock_operator.core.views import RunView

Json = dict[str, Any]
META = {"uid": "x-uid", "generation": 4, "namespace": "team"}


def stored(kind: str, name: str, changes: Json) -> Json:
    body = good(kind, name)
    body["metadata"] |= META
    return changed(body, changes)


def flow(**changes: Any) -> Json:
    return stored("Flow", "etl", {"spec": {"code": {"image": {}}, "entrypoint": "flow:etl", **changes}})


def deployment(**changes: Any) -> Json:
    return stored("FlowDeployment", "etl", {"spec": {"flowRef": {"name": "etl"}, **changes}})


def pool(**changes: Any) -> Json:
    return stored("WorkPool", "default", {"spec": {"type": "Pod", **changes}})


def run(**spec: Any) -> RunView:
    return RunView(flow_run(spec=spec))


def resolved(outcome: resolve.Outcome) -> Resolution:
    assert isinstance(outcome, Resolution)
    return outcome


@pytest.mark.parametrize(
    ("spec", "deployed", "flow_name", "pool_name"),
    [
        pytest.param({}, {"flowRef": {"name": "etl"}, "workPool": "big"}, "etl", "big", id="the deployment's"),
        pytest.param(
            {"workPool": "own"}, {"flowRef": {"name": "etl"}, "workPool": "big"}, "etl", "own", id="the run's"
        ),
        pytest.param({}, {"flowRef": {"name": "etl"}}, "etl", "default", id="no pool is named"),
        pytest.param({"flowRef": {"name": "own"}}, None, "own", "default", id="without a deployment"),
    ],
)
def test_which_flow_and_pool_are_meant(spec: Json, deployed: Json | None, flow_name: str, pool_name: str) -> None:
    body = {"spec": deployed} if deployed else None
    assert resolve.flow_name(run(**spec), body) == flow_name
    assert resolve.pool_name(run(**spec), body) == pool_name


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("FlowDeployment", reasons.DEPLOYMENT_NOT_FOUND),
        ("Flow", reasons.FLOW_NOT_FOUND),
        ("WorkPool", reasons.POOL_NOT_FOUND),
    ],
)
def test_what_is_missing_is_waited_for_by_kind_and_name(kind: str, reason: str) -> None:
    waiting = resolve.missing(kind, "x")
    assert (waiting.reason, waiting.kind, waiting.name) == (reason, kind, "x")
    assert f"{kind} x" in waiting.message


GIT = {"git": {"url": "https://git.example/flows", "ref": "main"}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@pytest.mark.parametrize(
    ("spec", "deployed", "of_flow", "in_pool", "reason", "said"),
    [
        pytest.param(
            {"parameters": {"n": "x"}},
            deployment(),
            flow(parameters=SCHEMA),
            pool(),
            reasons.INVALID_PARAMETERS,
            "n: 'x' is not of type 'integer'",
            id="a parameter of another type",
        ),
        pytest.param(
            {"parameters": {"m": 1}},
            deployment(),
            flow(parameters=SCHEMA),
            pool(),
            reasons.INVALID_PARAMETERS,
            "n: it must be given; m: there is no such name",
            id="all that is wrong in one message",
        ),
        pytest.param(
            {"pod": {"nodeSelector": {"a": "b"}}},
            deployment(pod={"env": [], "affinity": {}}),
            flow(),
            pool(),
            reasons.INVALID_OVERRIDES,
            "pod.affinity, pod.nodeSelector: WorkPool default does not allow it; it allows annotations, env, image,",
            id="overrides of run and deployment that are not allowed by default",
        ),
        pytest.param(
            {"pod": {"image": "x"}},
            None,
            flow(),
            pool(overrides={"allow": []}),
            reasons.INVALID_OVERRIDES,
            "it allows none",
            id="a pool that allows nothing",
        ),
        pytest.param({}, None, flow(code={}), pool(), reasons.INVALID_CODE, "spec.code: set one of", id="no code"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(
    spec: Json, deployed: Json | None, of_flow: Json, in_pool: Json, reason: str, said: str
) -> None:
    outcome = resolve.resolve(run(**spec), deployed, of_flow, in_pool)
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert said in outcome.message


def test_a_run_remembers_the_very_objects_it_was_launched_with() -> None:
    found = resolved(resolve.resolve(run(), deployment(), flow(), pool()))
    assert found.status == {
        "deployment": {
            "name": "etl",
            "uid": "x-uid",
            "generation": 4,
            "revision": names.revision("FlowDeployment", "etl", "x-uid", 4),
        },
        "flow": {"name": "etl", "uid": "x-uid", "generation": 4},
        "pool": {
            "name": "default",
            "uid": "x-uid",
            "generation": 4,
            "revision": names.revision("WorkPool", "default", "x-uid", 4),
        },
        "poolType": "Pod",
        "entrypoint": "flow:etl",
        "code": {"kind": "image"},
    }
    assert found.copies == ()


def test_a_run_without_a_deployment_remembers_none() -> None:
    found = resolved(resolve.resolve(run(), None, flow(), pool(type="Job")))
    assert "deployment" not in found.status
    assert found.status["poolType"] == "Job"


@pytest.mark.parametrize("code", [{"image": {}}, {"source": {"text": "x = 1"}}])
def test_what_is_remembered_fits_the_api(code: Json) -> None:
    Resolved.model_validate(resolved(resolve.resolve(run(), deployment(), flow(code=code), pool(image="i"))).status)


def test_source_is_known_by_its_content() -> None:
    text = "print('hello')\n"
    found = resolved(resolve.resolve(run(), None, flow(code={"source": {"text": text}}), pool()))
    digest = names.content_digest(text)
    assert found.copies == (Copy(digest, "flow.py", text),)
    assert found.status["code"] == {
        "kind": "source",
        "digest": digest,
        "configMap": names.code_config_map(digest),
    }


@pytest.mark.parametrize(
    ("asked", "deployed", "of_flow", "in_pool", "image"),
    [
        pytest.param("r", "d", "f", "p", "r", id="the run's"),
        pytest.param(None, "d", "f", "p", "d", id="the deployment's"),
        pytest.param(None, None, "f", "p", "f", id="the flow's"),
        pytest.param(None, None, None, "p", "p", id="the pool's"),
        pytest.param(None, None, None, None, None, id="the template's or the operator's, known at launch"),
    ],
)
def test_the_nearest_image_is_taken(
    asked: str | None, deployed: str | None, of_flow: str | None, in_pool: str | None, image: str | None
) -> None:
    def image_of(value: str | None) -> Json:
        return {"image": value} if value else {}

    outcome = resolve.resolve(
        run(pod=image_of(asked)),
        deployment(pod=image_of(deployed)),
        flow(code={"image": image_of(of_flow)}),
        pool(**image_of(in_pool)),
    )
    assert resolved(outcome).status.get("image") == image


def test_parameters_are_the_deployments_with_the_runs_over_them() -> None:
    found = resolve.resolve(run(parameters={"n": 2}), deployment(parameters={"n": 1, "m": 1}), flow(), pool())
    assert resolved(found).parameters == {"n": 2, "m": 1}


def test_a_parameter_that_the_deployment_gives_is_not_missing() -> None:
    outcome = resolve.resolve(run(), deployment(parameters={"n": 1}), flow(parameters=SCHEMA), pool())
    assert isinstance(outcome, Resolution)


@pytest.mark.parametrize(
    ("allow", "refused"),
    [
        pytest.param(GONE, None, id="image and env by default"),
        pytest.param({"allow": ["image", "env"]}, None, id="named"),
        pytest.param({"allow": ["env"]}, "pod.image: WorkPool default does not allow it", id="another is named"),
    ],
)
def test_a_pool_says_what_may_be_overridden(allow: Any, refused: str | None) -> None:
    body = pool(**({} if allow is GONE else {"overrides": allow}))
    said = resolve.overrides_refused(body, {"image": "i"}, {"env": []})
    assert (said and said.partition(";")[0]) == refused


def test_requirements_are_remembered_by_their_content_and_those_of_a_deployment_win() -> None:
    found = resolved(resolve.resolve(run(), deployment(requirements=["six"]), flow(requirements=["numpy"]), pool()))
    digest = names.content_digest("requirements.txt\nsix\n")
    assert found.status["requirements"] == {"digest": digest, "configMap": names.code_config_map(digest)}
    assert found.copies == (Copy(digest, "requirements.txt", "six\n"),)
    Resolved.model_validate(found.status)


def test_a_task_runs_the_very_commit_that_its_parent_found() -> None:
    commit = "a" * 40
    parent = RunView(
        {
            "metadata": {"name": "above", "namespace": "team", "uid": "u"},
            "spec": {},
            "status": {
                "resolved": {
                    **resolved(resolve.resolve(run(), None, flow(code=GIT), pool())).status,
                },
                "code": {"commit": commit},
            },
        }
    )
    task = run(task={"entrypoint": "jobs:step"})
    found = resolved(resolve.as_its_parent(task, parent, None, {"type": "Pod"}))
    assert found.status["code"]["ref"] == commit
    assert parent.resolved["code"]["ref"] == "main", "the parent's own is not changed"


def test_a_run_remembers_how_the_flow_wants_its_results_kept() -> None:
    wanted = {"persist": True, "storage": "s3://bucket/a"}
    outcome = resolve.resolve(run(), deployment(), flow(results=wanted), pool())
    assert resolved(outcome).status["results"] == wanted
    assert "results" not in resolved(resolve.resolve(run(), deployment(), flow(), pool())).status


class TestATaskInAPodOfItsOwn:
    """It is resolved to what its parent was, whatever was edited since."""

    PARENT = RunView(flow_run("Running"))
    TASK = {"task": {"entrypoint": "flow:load"}, "parent": {"name": "etl-1", "uid": "run-uid"}}

    def test_code_and_pool_are_the_parents(self) -> None:
        found = resolved(resolve.as_its_parent(run(**self.TASK), self.PARENT, {"pod": {}}, {"type": "Pod"}))
        assert found.status == {**self.PARENT.resolved, "entrypoint": "flow:load"}
        assert found.revised
        assert found.copies == ()
        assert self.PARENT.resolved["entrypoint"] == "flow:etl", "the parent's own is not touched"

    def test_an_image_of_its_own(self) -> None:
        asked = run(**self.TASK, pod={"image": "gpu:1"})
        found = resolved(resolve.as_its_parent(asked, self.PARENT, None, {"type": "Pod"}))
        assert found.status["image"] == "gpu:1"

    def test_overrides_that_the_pool_does_not_allow(self) -> None:
        asked = run(**self.TASK, pod={"resources": {"requests": {"cpu": "1"}}})
        spec = {"type": "Pod", "overrides": {"allow": ["env"]}}
        refused = resolve.as_its_parent(asked, self.PARENT, None, spec)
        assert isinstance(refused, Refused)
        assert refused.reason == reasons.INVALID_OVERRIDES
        assert "pod.resources: WorkPool default does not allow it" in refused.message


WARM = {"type": "Process", "worker": {}}


@pytest.mark.parametrize(
    ("spec", "deployed", "of_flow", "in_pool", "reason", "said"),
    [
        pytest.param(
            {"pod": {"resources": {"limits": {"memory": "1Gi"}}}},
            None,
            flow(),
            pool(**WARM),
            reasons.INVALID_OVERRIDES,
            "pod.resources: WorkPool default is of type Process, whose workers are there before the run",
            id="resources of a pod that is there already",
        ),
        pytest.param(
            {},
            deployment(pod={"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}),
            flow(),
            pool(**WARM),
            reasons.INVALID_OVERRIDES,
            "pod.env: the reference of KEY to a Secret",
            id="a secret that is not mounted",
        ),
        pytest.param(
            {}, None, flow(blocks=["s3"]), pool(**WARM), reasons.INVALID_BLOCKS, "mount no blocks", id="a block"
        ),
        pytest.param(
            {},
            None,
            flow(code={"image": {"image": "flows:7"}}),
            pool(**WARM, image="flows:6"),
            reasons.INVALID_CODE,
            "spec.code.image: the flow is in image flows:7, and the workers of WorkPool default are of flows:6",
            id="another image",
        ),
        pytest.param(
            {"task": {"entrypoint": "flow:work", "arguments": "s3://anywhere/pickle"}},
            None,
            flow(blocks=["vault"]),
            pool(),
            reasons.INVALID_CODE,
            "spec.task: a task without spec.parent runs in the workers of a pool of type Process",
            id="the blocks of a flow for a task of anybody's",
        ),
    ],
)
def test_what_workers_cannot_give_is_refused(
    spec: Json, deployed: Json | None, of_flow: Json, in_pool: Json, reason: str, said: str
) -> None:
    outcome = resolve.resolve(run(**spec), deployed, of_flow, in_pool)
    assert isinstance(outcome, Refused)
    assert outcome.reason == reason
    assert said in outcome.message


@pytest.mark.parametrize(
    ("spec", "of_flow", "in_pool"),
    [
        pytest.param({"pod": {"env": [{"name": "A", "value": "1"}]}}, flow(), pool(**WARM), id="variables"),
        pytest.param(
            {}, flow(code={"image": {"image": "flows:7"}}), pool(**WARM, image="flows:7"), id="the image of the workers"
        ),
        pytest.param(
            {}, flow(code={"image": {"image": "flows:7"}}), pool(type="Process"), id="workers that people start"
        ),
    ],
)
def test_what_workers_can_give_is_taken(spec: Json, of_flow: Json, in_pool: Json) -> None:
    found = resolved(resolve.resolve(run(**spec), None, of_flow, in_pool))
    assert found.status["poolType"] == "Process"
