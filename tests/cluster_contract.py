"""What the operator rests on of a `Cluster`, as tests that the real client and the one in memory pass alike.

A test class inherits `ClusterContract` and has a fixture `trial` that runs a scenario with a fresh cluster and the
name of an empty namespace.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from penstock.api import conditions, labels
from penstock_operator.cluster import (
    CONFIG_MAPS,
    FLOW_RUNS,
    PODS,
    AlreadyExists,
    Cluster,
    Expired,
    Invalid,
    NotFound,
    WatchEvent,
)

Json = dict[str, Any]
Scenario = Callable[[Cluster, str], Awaitable[None]]
Trial = Callable[[Scenario], None]

UNSETTLED = "status.settled!=true"
TIME = "2026-01-01T06:00:00.000000Z"


def flow_run(name: str = "run", **spec: Any) -> Json:
    """A FlowRun that any cluster takes."""
    meta = {"name": name}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": "FlowRun",
        "metadata": meta,
        "spec": {"deploymentRef": {"name": "etl"}, **spec},
    }


def config_map(name: str, **labelled: str) -> Json:
    """A small object with labels."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labelled}, "data": {"n": "0"}}


def status(value: Json) -> list[Json]:
    """A patch that sets a whole status."""
    return [{"op": "add", "path": "/status", "value": value}]


def scheduled(seq: int = 1) -> Json:
    """A status that the CRD takes."""
    return {"attempt": 0, "state": {"type": "Scheduled", "name": "Scheduled", "time": TIME, "seq": seq}}


def settled() -> Json:
    """A status of a run that is over."""
    state = {"type": "Cancelled", "name": "Cancelled", "time": TIME, "seq": 9}
    return {"attempt": 0, "state": state, "endTime": TIME, "settled": True}


async def listed(cluster: Cluster, resource: Any, namespace: str, **how: Any) -> tuple[list[list[str]], str]:
    """Names by page, and the version of the last."""
    pages, version = [], ""
    async for page in cluster.list_pages(resource, namespace, **how):
        pages.append([item["metadata"]["name"] for item in page.items])
        version = page.resource_version
    return pages, version


async def events(count: int, watch: Any) -> list[tuple[str, str]]:
    """Type and name of the next events of a watch, bookmarks aside."""

    async def take() -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        async for event in watch:
            assert isinstance(event, WatchEvent)
            if event.type != "BOOKMARK":
                found.append((event.type, event.object["metadata"]["name"]))
            if len(found) == count:
                break
        return found

    return await asyncio.wait_for(take(), 20)


class ClusterContract:
    """Held by every implementation."""

    def test_what_is_not_there_reads_as_none(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            assert await cluster.get(CONFIG_MAPS, namespace, "absent") is None

        trial(scenario)

    def test_an_object_reads_as_it_was_created(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            made = await cluster.create(CONFIG_MAPS, namespace, config_map("one", a="b"))
            found = await cluster.get(CONFIG_MAPS, namespace, "one")
            assert found is not None
            assert found["metadata"]["uid"] == made["metadata"]["uid"]
            assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
            assert (found["metadata"]["namespace"], found["data"]) == (namespace, {"n": "0"})

        trial(scenario)

    def test_a_name_is_taken_once(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            with pytest.raises(AlreadyExists):
                await cluster.create(CONFIG_MAPS, namespace, config_map("one"))

        trial(scenario)

    def test_a_dry_run_creates_nothing(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(CONFIG_MAPS, namespace, config_map("one"), dry_run=True)
            assert await cluster.get(CONFIG_MAPS, namespace, "one") is None

        trial(scenario)

    def test_a_run_is_created_without_its_status(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            made = await cluster.create(FLOW_RUNS, namespace, {**flow_run(), "status": scheduled()})
            assert not made.get("status")

        trial(scenario)

    def test_conditions_are_written_each_in_its_own_place(self, trial: Trial) -> None:
        """By two who have read the run before either wrote: neither takes the other's, and a second list is refused."""

        def said(type_: str, at: str = TIME) -> Json:
            return {"type": type_, "status": "False", "reason": "x", "message": "<é>", "lastTransitionTime": at}

        async def scenario(cluster: Cluster, namespace: str) -> None:
            async def tell(known: list[Json] | None, *wanted: Json) -> list[Json]:
                ops = conditions.patch(known, wanted)
                found = await cluster.patch(FLOW_RUNS, namespace, "run", ops, subresource="status")
                written: list[Json] = found["status"]["conditions"]
                return written

            await cluster.create(FLOW_RUNS, namespace, flow_run())
            await cluster.patch(FLOW_RUNS, namespace, "run", status(scheduled()), subresource="status")
            one = await tell(None, said("PodReady"))
            assert one == [said("PodReady")]
            with pytest.raises(Invalid):
                await tell(None, said("Answered"))
            two = await tell(one, said("Answered"))
            assert two == [said("PodReady"), said("Answered")]
            with pytest.raises(Invalid):  # there is one of that type by now
                await tell(one, said("Answered"))
            later = TIME.replace("06:", "07:")
            assert await tell(one, said("PodReady", later)) == [said("PodReady", later), said("Answered")]
            with pytest.raises(Invalid):  # what it would replace is another by now
                await tell(one, said("PodReady"))

        trial(scenario)

    def test_a_status_patch_changes_the_status_alone(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            made = await cluster.create(FLOW_RUNS, namespace, flow_run())
            ops = [*status(scheduled()), {"op": "add", "path": "/spec/priority", "value": 3}]
            after = await cluster.patch(FLOW_RUNS, namespace, "run", ops, subresource="status")
            assert after["status"]["state"]["type"] == "Scheduled"
            assert "priority" not in after["spec"]
            assert after["metadata"]["generation"] == made["metadata"]["generation"]
            assert int(after["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])

        trial(scenario)

    def test_a_spec_patch_raises_the_generation_and_keeps_the_status(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            made = await cluster.create(FLOW_RUNS, namespace, flow_run())
            await cluster.patch(FLOW_RUNS, namespace, "run", status(scheduled()), subresource="status")
            ops = [{"op": "add", "path": "/spec/cancel", "value": True}, {"op": "remove", "path": "/status"}]
            after = await cluster.patch(FLOW_RUNS, namespace, "run", ops)
            assert after["spec"]["cancel"] is True
            assert after["status"]["state"]["type"] == "Scheduled"
            assert after["metadata"]["generation"] == made["metadata"]["generation"] + 1

        trial(scenario)

    def test_a_failed_test_changes_nothing(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(FLOW_RUNS, namespace, flow_run())
            before = await cluster.patch(FLOW_RUNS, namespace, "run", status(scheduled(4)), subresource="status")
            ops = [{"op": "test", "path": "/status/state/seq", "value": 3}, *status(scheduled(5))]
            with pytest.raises(Invalid):
                await cluster.patch(FLOW_RUNS, namespace, "run", ops, subresource="status")
            after = await cluster.get(FLOW_RUNS, namespace, "run")
            assert after is not None
            assert after["status"] == before["status"]
            assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]

        trial(scenario)

    def test_removing_what_is_not_there_is_refused(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(FLOW_RUNS, namespace, flow_run())
            ops = [*status(scheduled()), {"op": "remove", "path": "/status/pod"}]
            with pytest.raises(Invalid):
                await cluster.patch(FLOW_RUNS, namespace, "run", ops, subresource="status")

        trial(scenario)

    def test_patching_what_is_not_there_says_so(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            with pytest.raises(NotFound):
                await cluster.patch(FLOW_RUNS, namespace, "absent", status(scheduled()), subresource="status")

        trial(scenario)

    def test_a_patch_that_changes_nothing_makes_no_version(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(FLOW_RUNS, namespace, flow_run())
            first = await cluster.patch(FLOW_RUNS, namespace, "run", status(scheduled()), subresource="status")
            again = await cluster.patch(FLOW_RUNS, namespace, "run", status(scheduled()), subresource="status")
            assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

        trial(scenario)

    def test_a_list_comes_in_pages(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            for name in ("a", "b", "c"):
                await cluster.create(CONFIG_MAPS, namespace, config_map(name))
            pages, _ = await listed(cluster, CONFIG_MAPS, namespace, limit=2)
            assert pages == [["a", "b"], ["c"]]

        trial(scenario)

    def test_an_empty_list_has_a_version_to_watch_from(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            pages, version = await listed(cluster, CONFIG_MAPS, namespace)
            assert pages == [[]]
            await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            watch = cluster.watch(CONFIG_MAPS, namespace, resource_version=version)
            assert await events(1, watch) == [("ADDED", "one")]

        trial(scenario)

    def test_a_list_keeps_to_its_selectors(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(CONFIG_MAPS, namespace, config_map("ours", team="data", size="l"))
            await cluster.create(CONFIG_MAPS, namespace, config_map("theirs", team="web"))
            assert (await listed(cluster, CONFIG_MAPS, namespace, label_selector="team=data,size=l"))[0] == [["ours"]]
            for name in ("live", "over"):
                await cluster.create(FLOW_RUNS, namespace, flow_run(name))
            await cluster.patch(FLOW_RUNS, namespace, "over", status(settled()), subresource="status")
            assert (await listed(cluster, FLOW_RUNS, namespace, field_selector=UNSETTLED))[0] == [["live"]]

        trial(scenario)

    def test_a_watch_tells_of_changes_in_order(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            _, version = await listed(cluster, CONFIG_MAPS, namespace)
            await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            await cluster.create(CONFIG_MAPS, namespace, config_map("two"))
            change = [{"op": "replace", "path": "/data/n", "value": "1"}]
            await cluster.patch(CONFIG_MAPS, namespace, "one", change)
            await cluster.delete(CONFIG_MAPS, namespace, "two")
            found = await events(4, cluster.watch(CONFIG_MAPS, namespace, resource_version=version))
            assert found == [("ADDED", "one"), ("ADDED", "two"), ("MODIFIED", "one"), ("DELETED", "two")]

        trial(scenario)

    def test_a_watch_goes_on_from_the_version_of_its_last_event(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            first = await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            await cluster.create(CONFIG_MAPS, namespace, config_map("two"))
            await cluster.delete(CONFIG_MAPS, namespace, "one")
            version = first["metadata"]["resourceVersion"]
            found = await events(2, cluster.watch(CONFIG_MAPS, namespace, resource_version=version))
            assert found == [("ADDED", "two"), ("DELETED", "one")]

        trial(scenario)

    def test_the_version_of_a_deletion_is_newer_than_the_object(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            made = await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            version = made["metadata"]["resourceVersion"]
            await cluster.delete(CONFIG_MAPS, namespace, "one")
            async for event in cluster.watch(CONFIG_MAPS, namespace, resource_version=version):
                if event.type == "DELETED":
                    assert int(event.object["metadata"]["resourceVersion"]) > int(version)
                    break

        trial(scenario)

    def test_an_object_that_leaves_the_selection_is_told_of_as_deleted(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            _, version = await listed(cluster, FLOW_RUNS, namespace)
            await cluster.create(FLOW_RUNS, namespace, flow_run())
            await cluster.patch(FLOW_RUNS, namespace, "run", status(scheduled()), subresource="status")
            await cluster.patch(FLOW_RUNS, namespace, "run", status(settled()), subresource="status")
            watch = cluster.watch(FLOW_RUNS, namespace, resource_version=version, field_selector=UNSETTLED)
            assert await events(3, watch) == [("ADDED", "run"), ("MODIFIED", "run"), ("DELETED", "run")]

        trial(scenario)

    def test_a_watch_ends_after_its_time(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            _, version = await listed(cluster, CONFIG_MAPS, namespace)
            watch = cluster.watch(CONFIG_MAPS, namespace, resource_version=version, timeout_seconds=1)
            assert await events(1, watch) == []

        trial(scenario)

    def test_a_delete_means_one_object_by_its_uid(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            made = await cluster.create(CONFIG_MAPS, namespace, config_map("one"))
            await cluster.delete(CONFIG_MAPS, namespace, "one", uid="another")
            assert await cluster.get(CONFIG_MAPS, namespace, "one") is not None
            await cluster.delete(CONFIG_MAPS, namespace, "one", uid=made["metadata"]["uid"])
            assert await cluster.get(CONFIG_MAPS, namespace, "one") is None
            await cluster.delete(CONFIG_MAPS, namespace, "one", uid=made["metadata"]["uid"])

        trial(scenario)

    def test_a_pod_is_pending_and_goes_at_once_while_no_node_has_it(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            spec = {"containers": [{"name": "flow", "image": "none"}]}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
            made = await cluster.create(PODS, namespace, body)
            assert made["status"]["phase"] == "Pending"
            await cluster.delete(PODS, namespace, "pod", uid=made["metadata"]["uid"])
            assert await cluster.get(PODS, namespace, "pod") is None

        trial(scenario)

    def test_the_log_of_a_pod_that_no_node_has_is_empty_and_of_none_there_is_none(self, trial: Trial) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            spec = {"containers": [{"name": "flow", "image": "none"}]}
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
            await cluster.create(PODS, namespace, body)
            for follow in (False, True):
                found = [chunk async for chunk in cluster.logs(namespace, "pod", "flow", follow=follow)]
                assert found == [b""], "it is told that it is open"
            with pytest.raises(NotFound):
                await anext(aiter(cluster.logs(namespace, "none", "flow")))
            with pytest.raises(Invalid):
                await anext(aiter(cluster.logs(namespace, "pod", "other")))

        trial(scenario)

    def test_a_watch_from_a_version_long_gone_is_refused(self, trial: Trial, forget: Callable[[Cluster], None]) -> None:
        async def scenario(cluster: Cluster, namespace: str) -> None:
            await cluster.create(FLOW_RUNS, namespace, flow_run())
            forget(cluster)
            with pytest.raises(Expired):
                await events(1, cluster.watch(FLOW_RUNS, namespace, resource_version="1"))

        trial(scenario)
