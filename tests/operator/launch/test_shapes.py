"""A template that cannot be merged is told by the path of what is wrong, and what should stand there."""

from __future__ import annotations

from typing import Any

import pytest

from penstock_operator.launch.shapes import problem


def of_container(**fields: Any) -> Any:
    return {"spec": {"containers": [{"name": "flow", **fields}]}}


WRONG: dict[str, tuple[Any, str]] = {
    "a text": ("flow", "spec.template must be an object with metadata and spec, and is 'flow'"),
    "labels": ({"metadata": {"labels": ["a"]}}, "spec.template.metadata.labels must be an object, and is ['a']"),
    "containers": (
        {"spec": {"containers": {"flow": {}}}},
        "spec.template.spec.containers must be a list of objects, each with its name, and is {'flow': {}}",
    ),
    "a container": (
        {"spec": {"containers": ["x"]}},
        "spec.template.spec.containers[0] must be an object with its name, and is 'x'",
    ),
    "a container without name": (
        {"spec": {"containers": [{"image": "x"}]}},
        "spec.template.spec.containers[0].name must be set: items are merged by it",
    ),
    "a variable": (
        of_container(env=[None]),
        "spec.template.spec.containers[0].env[0] must be an object with its name, and is None",
    ),
    "a mount": (
        of_container(volumeMounts=[{"name": "x"}]),
        "spec.template.spec.containers[0].volumeMounts[0].mountPath must be set: items are merged by it",
    ),
    "a directive of kubectl's own": (
        of_container(**{"$setElementOrder/env": [{"name": "A"}]}),
        "spec.template.spec.containers[0]: $setElementOrder/env is not understood, only $patch and $retainKeys are: "
        "give the list itself instead",
    ),
    "a directive deep within": (
        {"spec": {"affinity": {"$deleteFromPrimitiveList/x": []}}},
        "spec.template.spec.affinity: $deleteFromPrimitiveList/x is not understood, only $patch and $retainKeys are: "
        "give the list itself instead",
    ),
}


@pytest.mark.parametrize(("template", "told"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told_with_its_path(template: Any, told: str) -> None:
    assert problem(template) == told


RIGHT: dict[str, Any] = {
    "nothing": {},
    "nothing in it": {"metadata": None, "spec": None},
    "what is taken away": {"spec": {"volumes": None, "containers": [{"name": "flow", "env": None}]}},
    "directives that are understood": of_container(env=[{"$patch": "replace"}, {"name": "A", "$patch": "delete"}]),
    "names of lists elsewhere": {"metadata": {"labels": {"env": "a"}}, "spec": {"nodeSelector": {"ports": "b"}}},
    "ports": of_container(ports=[{"containerPort": 8080}]),
}


@pytest.mark.parametrize("template", RIGHT.values(), ids=RIGHT)
def test_what_can_be_merged_is_taken(template: Any) -> None:
    assert problem(template) is None


def test_a_long_value_is_cut() -> None:
    told = problem({"spec": {"containers": "x" * 10_000}})
    assert told is not None
    assert len(told) < 200
