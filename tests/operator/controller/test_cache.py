"""The cache holds the newest that was told of each object, by whomever, and finds a run's pods."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.api import labels
from penstock_operator.controller.cache import REMEMBERED_GONE, REMEMBERED_TOLD, ObjectCache, newer, slim
from penstock_operator.reconcile.sources import Key

Json = dict[str, Any]


def body(version: int, name: str = "x", namespace: str = "team", **meta: Any) -> Json:
    """An object of that version."""
    found = {"name": name, "namespace": namespace, "uid": "uid-1", "resourceVersion": str(version), **meta}
    return {"kind": "Pod", "metadata": found}


def pod(version: int, name: str, run: str | None, namespace: str = "team") -> Json:
    return body(version, name, namespace, labels={labels.RUN: run} if run else {})


@pytest.mark.parametrize(
    ("told", "known", "wanted"),
    [
        pytest.param(body(5), None, True, id="nothing is known"),
        pytest.param(body(6), body(5), True, id="a later version"),
        pytest.param(body(5), body(5), True, id="the same version, as a relist tells it"),
        pytest.param(body(4), body(5), False, id="an earlier version"),
        pytest.param(body(10), body(9), True, id="versions are numbers, not texts"),
        pytest.param(body(6, uid="uid-2"), body(5), True, id="a namesake that was made later"),
        pytest.param(body(4), body(5, uid="uid-2"), False, id="late news of the one before its namesake"),
    ],
)
def test_the_newest_by_version_counts(told: Json, known: Json | None, wanted: bool) -> None:
    assert newer(told, known) is wanted


def test_an_answer_of_ones_own_stands_until_the_watch_has_caught_up() -> None:
    cache = ObjectCache()
    assert cache.put("Pod", body(5))
    cache.remember(body(8))
    assert not cache.put("Pod", body(6))
    assert not cache.put("Pod", body(7))
    assert cache.get("Pod", Key("team", "x")) == body(8)
    assert cache.put("Pod", body(8))
    assert cache.put("Pod", body(9))
    assert cache.get("Pod", Key("team", "x")) == body(9)


def test_what_could_not_be_taken_in_is_no_echo() -> None:
    """A relist tells of it with the same version again, and it is as broken as before."""
    cache = ObjectCache()
    run = {**body(5), "kind": "FlowRun", "status": "none"}
    for _ in range(2):
        with pytest.raises(AttributeError):
            cache.put("FlowRun", copy.deepcopy(run))


@pytest.mark.parametrize(
    ("version", "dropped"),
    [
        pytest.param(None, True, id="now"),
        pytest.param("8", True, id="at a later version"),
        pytest.param("7", True, id="at the version that is known"),
        pytest.param("6", False, id="before what is known"),
    ],
)
def test_an_object_is_dropped_unless_something_newer_is_known(version: str | None, dropped: bool) -> None:
    cache = ObjectCache()
    cache.put("Pod", pod(7, "x", "run"))
    assert cache.drop("Pod", ("team", "x"), version) == (pod(7, "x", "run") if dropped else None)
    assert (cache.get("Pod", Key("team", "x")) is None) is dropped
    assert (cache.pods(Key("team", "run")) == []) is dropped


def test_an_answer_that_comes_after_the_end_of_its_object_is_no_news() -> None:
    """Or the object would be known for ever, for nothing more is told of it."""
    cache = ObjectCache()
    cache.put("Pod", body(5))
    cache.drop("Pod", ("team", "x"), "8")
    assert not cache.put("Pod", body(7))
    assert cache.get("Pod", Key("team", "x")) is None
    assert cache.put("Pod", body(9, uid="uid-2"))


def test_only_the_latest_ends_are_remembered() -> None:
    cache = ObjectCache()
    for number in range(2 * REMEMBERED_GONE):
        cache.drop("Pod", ("team", str(number)), "8")
    assert cache.put("Pod", body(7, "0"))
    assert not cache.put("Pod", body(7, str(2 * REMEMBERED_GONE - 1)))


def test_what_is_not_known_can_be_dropped() -> None:
    assert ObjectCache().drop("Pod", ("team", "x"), "5") is None


def test_kinds_and_namespaces_are_kept_apart() -> None:
    cache = ObjectCache()
    cache.put("Pod", body(1))
    cache.put("Job", body(2))
    cache.put("Pod", body(3, namespace="other"))
    assert cache.get("Pod", Key("team", "x")) == body(1)
    assert cache.job(Key("team", "run"), "x") == body(2)
    assert cache.get("Pod", Key("other", "x")) == body(3, namespace="other")
    assert (cache.count("Pod"), cache.count("Job"), cache.count("FlowRun")) == (2, 1, 0)


def test_what_is_known_is_told_by_namespace_or_as_a_whole() -> None:
    cache = ObjectCache()
    for namespace, name in (("team", "a"), ("team", "b"), ("other", "a")):
        cache.put("Pod", body(1, name, namespace))
    assert sorted(cache.refs("Pod", "team")) == [("team", "a"), ("team", "b")]
    assert sorted(cache.refs("Pod", None)) == [("other", "a"), ("team", "a"), ("team", "b")]
    assert list(cache.refs("Job", None)) == []
    assert len(list(cache.objects("Pod"))) == 3


def test_an_object_of_no_namespace_has_an_empty_one() -> None:
    cache = ObjectCache()
    cache.put("Node", {"metadata": {"name": "node-1", "uid": "u", "resourceVersion": "1"}})
    assert list(cache.refs("Node", None)) == [("", "node-1")]


def test_pods_are_found_by_their_run() -> None:
    cache = ObjectCache()
    cache.put("Pod", pod(1, "run-1", "run"))
    cache.put("Pod", pod(2, "run-2", "run"))
    cache.put("Pod", pod(3, "other-1", "other"))
    cache.put("Pod", pod(4, "run-1", "run", "elsewhere"))
    cache.put("Pod", pod(5, "stray", None))
    assert {p["metadata"]["name"] for p in cache.pods(Key("team", "run"))} == {"run-1", "run-2"}
    cache.forget_pod(Key("team", "run"), "run-1")
    assert [p["metadata"]["name"] for p in cache.pods(Key("team", "run"))] == ["run-2"]
    assert cache.pods(Key("team", "unknown")) == []


def test_a_job_that_carries_a_runs_label_is_none_of_its_pods() -> None:
    cache = ObjectCache()
    cache.put("Job", pod(1, "run-1", "run"))
    assert cache.pods(Key("team", "run")) == []
    cache.forget_job(Key("team", "run"), "run-1")
    assert cache.job(Key("team", "run"), "run-1") is None


def test_a_pod_whose_label_was_changed_is_that_runs_alone() -> None:
    cache = ObjectCache()
    cache.put("Pod", pod(1, "x", "run"))
    cache.put("Pod", pod(2, "x", "other"))
    assert cache.pods(Key("team", "run")) == []
    assert cache.pods(Key("team", "other")) == [pod(2, "x", "other")]


def test_nothing_is_kept_of_runs_whose_pods_are_gone() -> None:
    cache = ObjectCache()
    for number in range(3):
        cache.put("Pod", pod(1, f"pod-{number}", f"run-{number}"))
        cache.forget_pod(Key("team", f"run-{number}"), f"pod-{number}")
    assert dict(cache._of_run) == {"Pod": {}, "Job": {}}


def test_a_run_that_was_settled_is_not_kept() -> None:
    cache = ObjectCache()
    run = {**body(1, "run"), "kind": "FlowRun"}
    cache.remember(run)
    assert cache.run(Key("team", "run")) == run
    cache.remember({**body(2, "run"), "kind": "FlowRun", "status": {"settled": True}})
    assert cache.run(Key("team", "run")) is None
    assert cache.count("FlowRun") == 0
    assert not cache.put("FlowRun", run), "the watch is behind the operator's own write"
    assert cache.put("FlowRun", body(3, "run", uid="uid-2")), "a namesake"


def test_a_run_that_was_settled_drops_no_namesake_that_is_known_already() -> None:
    cache = ObjectCache()
    cache.put("FlowRun", body(3, "run", uid="uid-2"))
    cache.remember({**body(2, "run"), "kind": "FlowRun", "status": {"settled": True}})
    assert cache.count("FlowRun") == 1


def test_a_node_is_lost_until_it_is_back() -> None:
    cache = ObjectCache()
    taint = {"key": "node.kubernetes.io/out-of-service"}
    cache.put("Node", node(1, "node-1", taint))
    cache.put("Node", node(2, "node-2", taint))
    cache.put("Node", node(3, "node-2"))
    cache.put("Node", node(4, "node-3", {"key": "node.kubernetes.io/unreachable"}))
    assert cache.lost_nodes() == {"node-1"}
    cache.forget_node("node-3")
    assert cache.lost_nodes() == {"node-1", "node-3"}
    cache.put("Node", node(5, "node-3"))
    assert cache.lost_nodes() == {"node-1"}


def test_a_node_is_silent_until_it_is_ready_or_gone() -> None:
    cache = ObjectCache()
    for number, name in enumerate(("node-1", "node-2", "node-3"), 1):
        cache.put("Node", node(number, name, ready="Unknown"))
    cache.put("Node", node(4, "node-1", ready="True"))
    cache.forget_node("node-2")
    assert set(cache.silent_nodes()) == {"node-3"}
    assert cache.of_node("node-3") == (False, cache.silent_nodes()["node-3"])
    assert cache.of_node("node-2") == (True, None)


def test_the_last_words_of_pods_that_are_deleted_are_kept_for_a_while() -> None:
    cache = ObjectCache()
    for number in range(3):
        cache.put("Pod", body(1, f"pod-{number}", uid=f"uid-{number}"))
    cache.put("Pod", body(2, "pod-0", uid="uid-0", deletionTimestamp="now"))
    cache.drop("Pod", ("team", "pod-0"), "3")
    cache.forget_pod(Key("team", "pod-1"), "pod-1")
    found = [cache.departed(f"uid-{number}") for number in range(3)]
    assert [bool(pod) for pod in found] == [True, True, False]
    assert (found[0] or {})["metadata"]["deletionTimestamp"] == "now"
    for number in range(REMEMBERED_GONE):
        cache.put("Pod", body(1, f"other-{number}", uid=f"other-{number}"))
        cache.forget_pod(Key("team", "other"), f"other-{number}")
    assert cache.departed("uid-0") is None


def test_what_events_tell_of_an_object_is_kept_for_a_while() -> None:
    cache = ObjectCache()

    def event(uid: str, reason: str, note: str = "no such secret") -> Json:
        return {"regarding": {"kind": "Pod", "uid": uid}, "reason": reason, "note": note}

    assert not cache.tell(event("a", "Pulling"))
    assert cache.tell(event("a", "FailedMount"))
    assert cache.tell(event("a", "FailedMount", "no such claim"))
    assert "no such claim" in getattr(cache.told("a"), "message", "")
    for number in range(REMEMBERED_TOLD):
        cache.tell(event(f"uid-{number}", "FailedMount"))
    assert cache.told("a") is None
    assert cache.told(f"uid-{REMEMBERED_TOLD - 1}") is not None


def test_lost_nodes_that_no_pod_names_are_forgotten_in_the_end() -> None:
    cache = ObjectCache()
    cache.put("Pod", {**body(1, "pod"), "spec": {"nodeName": "node-0"}})
    for number in range(3 * REMEMBERED_GONE):
        cache.forget_node(f"node-{number}")
    assert len(cache.lost_nodes()) <= REMEMBERED_GONE
    assert "node-0" in cache.lost_nodes()


def node(version: int, name: str, *taints: Json, ready: str = "True") -> Json:
    """A Node as the API server sends it."""
    condition = {"type": "Ready", "status": ready, "reason": "R", "lastTransitionTime": "2026-01-01T06:00:00Z"}
    meta = {"name": name, "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {"taints": list(taints)}, "status": {"conditions": [condition], "images": [1]}}


def test_what_nobody_reads_is_not_kept() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "data"}
    found = slim(body(1, managedFields=[{"manager": "kubectl"}], annotations=annotations))
    assert found == body(1, annotations={"team": "data"})
    assert slim(body(1)) == body(1)


class CacheModel(RuleBasedStateMachine):
    """A server, a watch that lags behind it, and an operator that writes and remembers the answers, which may be late.

    Names are taken, freed and taken again. The cache is never older than the last answer that the operator has read,
    and once the watch has caught up it is what the server has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cache = ObjectCache()
        self.version = 0
        self.server: dict[str, Json] = {}
        self.log: list[tuple[str, str, Json]] = []
        self.heard = 0
        self.answers: dict[str, int] = {}
        self.under_way: list[Json] = []

    def write(self, name: str, run: str) -> Json:
        self.version += 1
        uid = self.server[name]["metadata"]["uid"] if name in self.server else f"uid-{self.version}"
        self.server[name] = {**pod(self.version, name, run)}
        self.server[name]["metadata"]["uid"] = uid
        self.log.append(("MODIFIED", str(self.version), self.server[name]))
        return self.server[name]

    @rule(name=st.sampled_from("ab"), run=st.sampled_from(["r", "s"]))
    def somebody_writes(self, name: str, run: str) -> None:
        self.write(name, run)

    @rule(name=st.sampled_from("ab"), run=st.sampled_from(["r", "s"]))
    def the_operator_writes(self, name: str, run: str) -> None:
        self.under_way.append(self.write(name, run))

    @rule()
    def an_answer_arrives(self) -> None:
        if self.under_way:
            body = self.under_way.pop(0)
            self.cache.remember(body)
            name = body["metadata"]["name"]
            self.answers[name] = max(int(body["metadata"]["resourceVersion"]), self.answers.get(name, 0))

    @rule(name=st.sampled_from("ab"))
    def somebody_deletes(self, name: str) -> None:
        if name in self.server:
            self.version += 1
            self.log.append(("DELETED", str(self.version), self.server.pop(name)))

    @rule(count=st.integers(1, 4))
    def the_watch_tells(self, count: int) -> None:
        for type_, version, told in self.log[self.heard : self.heard + count]:
            if type_ == "DELETED":
                self.cache.drop("Pod", ("team", told["metadata"]["name"]), version)
            else:
                self.cache.put("Pod", told)
        self.heard = min(self.heard + count, len(self.log))

    @rule()
    def the_watch_catches_up(self) -> None:
        self.the_watch_tells(len(self.log))
        while self.under_way:
            self.an_answer_arrives()
        found = {p["metadata"]["name"]: p for p in self.cache.objects("Pod")}
        assert found == self.server

    @rule()
    def a_relist_tells_of_an_earlier_moment(self) -> None:
        """Its snapshot is what the watch has told so far; the watch goes on from there."""
        version = self.log[self.heard - 1][1] if self.heard else "0"
        listed: dict[str, Json] = {}
        for type_, _, told in self.log[: self.heard]:
            listed[told["metadata"]["name"]] = told
            if type_ == "DELETED":
                del listed[told["metadata"]["name"]]
        for told in listed.values():
            self.cache.put("Pod", told)
        for ref in set(self.cache.refs("Pod", None)) - {("team", name) for name in listed}:
            self.cache.drop("Pod", ref, version)

    @invariant()
    def ones_own_answers_are_not_forgotten_for_older_news(self) -> None:
        told = int(self.log[self.heard - 1][1]) if self.heard else 0
        for name, version in self.answers.items():
            if version > told:
                known = self.cache.get("Pod", Key("team", name))
                assert known is not None
                assert int(known["metadata"]["resourceVersion"]) >= version

    @invariant()
    def runs_find_exactly_their_pods(self) -> None:
        for run in ("r", "s"):
            mine = [p for p in self.cache.objects("Pod") if p["metadata"]["labels"][labels.RUN] == run]
            found = self.cache.pods(Key("team", run))
            assert sorted(p["metadata"]["name"] for p in found) == sorted(p["metadata"]["name"] for p in mine)


TestCacheModel = CacheModel.TestCase
TestCacheModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
