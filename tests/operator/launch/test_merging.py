"""Templates are merged as people expect it of Kubernetes: maps by key, known lists by theirs, the rest replaced."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.launch.merging import KEYS, ONE_OF, merged

Json = dict[str, Any]

CASES: dict[str, tuple[Any, Any, Any]] = {
    "maps are merged by key": ({"a": 1, "b": 2}, {"b": 3, "c": 4}, {"a": 1, "b": 3, "c": 4}),
    "at any depth": ({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
    "a map replaces what is none": ({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}),
    "null takes a field away": ({"a": {"b": 1}, "c": 2}, {"a": None}, {"c": 2}),
    "and of what is not there nothing": ({"c": 2}, {"a": {"b": None, "d": 1}}, {"c": 2, "a": {"d": 1}}),
    "containers are merged by name, and keep their order": (
        {"containers": [{"name": "flow", "image": "a", "command": ["x"]}, {"name": "side", "image": "s"}]},
        {"containers": [{"name": "new"}, {"name": "flow", "image": "b"}]},
        {
            "containers": [
                {"name": "flow", "image": "b", "command": ["x"]},
                {"name": "side", "image": "s"},
                {"name": "new"},
            ]
        },
    ),
    "within a container, too": (
        {"containers": [{"name": "flow", "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]},
        {"containers": [{"name": "flow", "resources": {"limits": {"memory": "2Gi"}}}]},
        {"containers": [{"name": "flow", "resources": {"limits": {"cpu": "1", "memory": "2Gi"}}}]},
    ),
    "variables are merged by name": (
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        {"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]},
        {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": "4"}]},
    ),
    "a variable loses a source of another kind": (
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
    ),
    "so does what a variable is taken from": (
        {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]},
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]},
    ),
    "and a volume": (
        {"volumes": [{"name": "tmp", "emptyDir": {}}]},
        {"volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "more", "emptyDir": {}}]},
        {"volumes": [{"name": "tmp", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "more", "emptyDir": {}}]},
    ),
    "a volume of the same kind is merged": (
        {"volumes": [{"name": "c", "configMap": {"name": "a", "optional": True}}]},
        {"volumes": [{"name": "c", "configMap": {"name": "b"}}]},
        {"volumes": [{"name": "c", "configMap": {"name": "b", "optional": True}}]},
    ),
    "mounts are merged by their path": (
        {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp", "subPath": "x"}]},
        {"volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}, {"name": "tmp", "mountPath": "/var/tmp"}]},
        {
            "volumeMounts": [
                {"name": "scratch", "mountPath": "/tmp", "subPath": "x"},
                {"name": "tmp", "mountPath": "/var/tmp"},
            ]
        },
    ),
    "a label may be called as a list is": (
        {"labels": {"env": "a"}},
        {"labels": {"env": "b", "ports": "c"}},
        {"labels": {"env": "b", "ports": "c"}},
    ),
    "an item is deleted": (
        {"volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "b"}]},
        {"volumes": [{"$patch": "delete", "name": "tmp"}]},
        {"volumes": [{"name": "b"}]},
    ),
    "and put in its own place": (
        {"volumeMounts": [{"name": "a", "mountPath": "/x", "subPath": "x"}]},
        {"volumeMounts": [{"$patch": "delete", "mountPath": "/x"}, {"name": "b", "mountPath": "/x"}]},
        {"volumeMounts": [{"name": "b", "mountPath": "/x"}]},
    ),
    "a list is replaced": (
        {"env": [{"name": "A", "value": "1"}]},
        {"env": [{"$patch": "replace"}, {"name": "B", "value": "2"}]},
        {"env": [{"name": "B", "value": "2"}]},
    ),
    "a map is replaced": (
        {"securityContext": {"runAsUser": 1, "runAsGroup": 2}},
        {"securityContext": {"$patch": "replace", "runAsUser": 3}},
        {"securityContext": {"runAsUser": 3}},
    ),
    "only what is to be kept is": (
        {"strategy": {"type": "a", "rolling": 1}},
        {"strategy": {"$retainKeys": ["type"], "type": "b"}},
        {"strategy": {"type": "b"}},
    ),
    "ports are merged by number": (
        {"ports": [{"containerPort": 80, "name": "web"}]},
        {"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 81}]},
        {"ports": [{"containerPort": 80, "name": "web", "protocol": "TCP"}, {"containerPort": 81}]},
    ),
    "any other list is replaced whole": (
        {"command": ["a", "b"], "tolerations": [{"key": "x"}]},
        {"command": ["c"], "tolerations": [{"key": "y"}]},
        {"command": ["c"], "tolerations": [{"key": "y"}]},
    ),
    "hosts are merged by their address": (
        {"hostAliases": [{"ip": "1", "hostnames": ["a"]}]},
        {"hostAliases": [{"ip": "1", "hostnames": ["b"]}, {"ip": "2"}]},
        {"hostAliases": [{"ip": "1", "hostnames": ["b"]}, {"ip": "2"}]},
    ),
    "a keyed list that was null is the other": ({"env": None}, {"env": [{"name": "A"}]}, {"env": [{"name": "A"}]}),
}


@pytest.mark.parametrize(("base", "over", "wanted"), CASES.values(), ids=CASES)
def test_a_template_is_merged(base: Any, over: Any, wanted: Any) -> None:
    before = copy.deepcopy((base, over))
    assert merged(base, over) == wanted
    assert (base, over) == before


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("wrong", [{"A": "b"}, "text", 3])
def test_a_keyed_list_that_is_none_is_refused_and_not_lost(name: str, wrong: Any) -> None:
    for base, over in (([], wrong), (wrong, [])):
        with pytest.raises(TypeError, match=f"{name} is no list"):
            merged({name: base}, {name: over})


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"a": {"$patch": "erase"}}, r"\$patch: 'erase' is none: replace, merge or delete"),
        ({"env": [{"$patch": "merge", "name": "A"}]}, r"env: \$patch: 'merge' is none for an item"),
    ],
)
def test_a_directive_that_is_none_is_told(over: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        merged({"a": {}, "env": []}, over)


scalars = st.booleans() | st.integers() | st.text(max_size=3)
names = st.sampled_from(["a", "b", "c"])
items = st.fixed_dictionaries({"name": names}, optional={"value": scalars, "x": st.dictionaries(names, scalars)})
lists = st.lists(items, max_size=3, unique_by=lambda item: item["name"])
trees = st.recursive(
    scalars,
    lambda inner: (
        st.dictionaries(names, inner, max_size=3)
        | st.dictionaries(st.sampled_from(["containers", "env", "volumes"]), lists, max_size=3)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_merging_with_oneself_changes_nothing(tree: Any) -> None:
    assert merged(tree, tree) == tree


@given(st.dictionaries(names, trees), st.dictionaries(names, trees))
def test_what_the_later_says_stands_and_the_rest_stays(base: Json, over: Json) -> None:
    result = merged(base, over)
    assert set(result) == set(base) | set(over)
    assert {key: result[key] for key in base if key not in over} == {k: v for k, v in base.items() if k not in over}
    for key, value in over.items():
        if not isinstance(value, dict):
            assert result[key] == value


@given(lists, lists, st.sampled_from(sorted(set(KEYS) & {"containers", "env", "volumes", "initContainers"})))
def test_a_keyed_list_has_each_name_once_and_loses_none(base: list[Json], over: list[Json], name: str) -> None:
    result = merged({name: base}, {name: over})[name]
    found = [item["name"] for item in result]
    assert len(found) == len(set(found))
    assert set(found) == {item["name"] for item in (*base, *over)}
    for item in over:
        (mine,) = [r for r in result if r["name"] == item["name"]]
        assert item.keys() <= mine.keys()
        if name in ONE_OF and item.keys() - {"name"}:
            assert mine.keys() == item.keys()
