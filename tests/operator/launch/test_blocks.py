"""Blocks reach a run as one volume: plain data by annotation, secrets by reference, and by no other way."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from builders import changed, flow_run, good, resolved
from memory_cluster import MemoryCluster
from penstock.api import labels, reasons
from penstock_operator.cluster import BLOCKS, CONTROLLER_REVISIONS, FLOW_RUNS, FLOWS, PODS, WORK_POOLS
from penstock_operator.controller.cache import ObjectCache
from penstock_operator.controller.slots import Slots
from penstock_operator.launch import blocks, jobs, pods
from penstock_operator.launch.pods import Defaults, Launch
from penstock_operator.reconcile.flowruns import FlowRuns
from penstock_operator.reconcile.revisions import Revisions
from penstock_operator.reconcile.sources import Key

Json = dict[str, Any]
WAREHOUSE: Json = {
    "type": "warehouse",
    "data": {"host": "db", "text": "$(HOME) ü"},
    "secrets": {"password": {"name": "db", "key": "pw"}, "login.token": {"name": "other", "key": "t"}},
}
PLAIN: Json = {"type": "limits"}


def launch(**specs: Json) -> Launch:
    references = [{"name": name, "uid": "u", "generation": 1, "revision": f"r-{name}"} for name in specs]
    run = flow_run("Pending", resolved=resolved(blocks=references) if specs else resolved())
    return Launch(run, {"type": "Pod"}, [], Defaults("penstock:1"), specs)


def test_the_volume_has_a_folder_for_each_block() -> None:
    assert blocks.volume({"prod": WAREHOUSE, "plain": PLAIN}) == {
        "name": "penstock-blocks",
        "projected": {
            "defaultMode": 0o440,
            "sources": [
                {
                    "downwardAPI": {
                        "items": [
                            {
                                "path": "prod/block.json",
                                "fieldRef": {"fieldPath": "metadata.annotations['penstock.dev/block-0']"},
                            },
                            {
                                "path": "plain/block.json",
                                "fieldRef": {"fieldPath": "metadata.annotations['penstock.dev/block-1']"},
                            },
                        ]
                    }
                },
                {"secret": {"name": "other", "items": [{"key": "t", "path": "prod/secrets/login.token"}]}},
                {"secret": {"name": "db", "items": [{"key": "pw", "path": "prod/secrets/password"}]}},
            ],
        },
    }


@pytest.mark.parametrize("build", [pods.pod, lambda given: jobs.job(given)["spec"]["template"]], ids=["Pod", "Job"])
def test_a_pod_mounts_them_where_the_run_looks(build: Any) -> None:
    body = build(launch(prod=WAREHOUSE, plain=PLAIN))
    (container,) = body["spec"]["containers"]
    assert {"name": "penstock-blocks", "mountPath": labels.BLOCKS_DIR, "readOnly": True} in container["volumeMounts"]
    assert {"name": labels.ENV_BLOCKS, "value": labels.BLOCKS_DIR} in container["env"]
    annotations = body["metadata"]["annotations"]
    assert json.loads(annotations["penstock.dev/block-0"]) == {"type": "warehouse", "data": WAREHOUSE["data"]}
    assert json.loads(annotations["penstock.dev/block-1"]) == {"type": "limits", "data": {}}


def test_a_pool_cannot_point_the_run_elsewhere() -> None:
    given = launch(prod=WAREHOUSE)
    env = [{"name": labels.ENV_BLOCKS, "value": "/elsewhere"}]
    given.pool["template"] = {"spec": {"containers": [{"name": "flow", "env": env}]}}
    (container,) = pods.pod(given)["spec"]["containers"]
    assert [e["value"] for e in container["env"] if e["name"] == labels.ENV_BLOCKS] == [labels.BLOCKS_DIR]


def test_a_flow_without_blocks_has_none_of_it() -> None:
    assert "penstock.dev/block" not in json.dumps(pods.pod(launch()))
    assert labels.ENV_BLOCKS not in json.dumps(pods.pod(launch()))
    assert "penstock-blocks" not in json.dumps(pods.pod(launch()))


class Silent:
    """A poster of Events that has nothing to post to."""

    def tell(self, run: Json) -> None:
        return

    async def flush(self, run_uid: str) -> None:
        return


NOW = datetime(2026, 1, 1, 6, tzinfo=UTC)
KEY = Key("team", "etl-1")


class Operator:
    """The reconciler of runs over a cluster in memory with a flow that declares the block `prod`."""

    def __init__(self) -> None:
        self.cluster = MemoryCluster(lambda: NOW)
        self.cache = ObjectCache()
        slots = Slots(lambda: NOW, lambda _: None)
        slots.open()
        self.revisions = Revisions(self.cluster)
        self.runs = FlowRuns(
            self.cluster, self.cache, self.revisions, Silent(), Defaults("penstock:1"), slots, lambda: NOW
        )

    async def start(self) -> None:
        flow = {"code": {"image": {}}, "entrypoint": "flow:etl", "blocks": ["prod", "prod"]}
        await self.cluster.create(FLOWS, "team", changed(good("Flow", "etl"), {"spec": flow}))
        await self.cluster.create(WORK_POOLS, "team", changed(good("WorkPool", "default"), {"spec": {"type": "Pod"}}))
        run = flow_run(spec={"flowRef": {"name": "etl"}})
        del run["spec"]["deploymentRef"]
        await self.cluster.create(FLOW_RUNS, "team", run)

    async def block(self, spec: Json = WAREHOUSE) -> None:
        body = {"apiVersion": labels.API_VERSION, "kind": "Block", "metadata": {"name": "prod"}, "spec": spec}
        await self.cluster.create(BLOCKS, "team", body)

    async def reconcile(self) -> Any:
        body = await self.cluster.get(FLOW_RUNS, *KEY)
        assert body is not None
        self.cache.remember(body)
        return await self.runs.reconcile(KEY)

    async def run(self) -> Json:
        body = await self.cluster.get(FLOW_RUNS, *KEY)
        assert body is not None
        return body


def test_a_run_waits_for_the_block_and_is_launched_with_it() -> None:
    async def scenario() -> None:
        operator = Operator()
        await operator.start()
        again = await operator.reconcile()
        assert again.waits_for == ("Block", "prod")
        conditions = {c["type"]: c for c in (await operator.run())["status"]["conditions"]}
        assert conditions["Resolved"]["reason"] == reasons.BLOCK_NOT_FOUND
        await operator.block()
        await operator.reconcile()
        (pod,) = operator.cluster.kinds("Pod")
        assert json.loads(pod["metadata"]["annotations"]["penstock.dev/block-0"])["data"] == WAREHOUSE["data"]
        (reference,) = (await operator.run())["status"]["resolved"]["blocks"]
        assert reference["name"] == "prod"
        kept = await operator.cluster.get(CONTROLLER_REVISIONS, "team", reference["revision"])
        assert kept is not None
        assert kept["data"] == WAREHOUSE

    asyncio.run(scenario())


def test_a_later_edit_does_not_change_a_run_under_way() -> None:
    async def scenario() -> None:
        operator = Operator()
        await operator.start()
        await operator.block()
        operator.cluster.before = lambda write: operator_edits(operator) if write.kind == "Pod" else None
        await operator.reconcile()
        (pod,) = operator.cluster.kinds("Pod")
        assert json.loads(pod["metadata"]["annotations"]["penstock.dev/block-0"])["data"]["host"] == "db"

    def operator_edits(operator: Operator) -> None:
        operator.cluster.objects[("blocks", "team", "prod")]["spec"]["data"] = {"host": "other"}

    asyncio.run(scenario())


def test_a_block_that_is_deleted_after_that_is_told_on_the_run() -> None:
    async def scenario() -> None:
        operator = Operator()
        await operator.start()
        await operator.block()

        def forget(write: Any) -> None:
            if write.kind == "FlowRun" and write.verb == "patch":
                operator.revisions._specs.clear()  # as a new leader, who remembers nothing
                for name in [n for n in operator.cluster.objects if n[0] == "controllerrevisions" and "block" in n[2]]:
                    del operator.cluster.objects[name]

        operator.cluster.before = forget
        await operator.reconcile()
        assert operator.cluster.kinds("Pod") == []
        conditions = {c["type"]: c for c in (await operator.run())["status"]["conditions"]}
        assert conditions["PodReady"]["reason"] == reasons.BLOCK_NOT_FOUND
        assert "Block prod was deleted after the run was resolved" in conditions["PodReady"]["message"]

    asyncio.run(scenario())


def test_blocks_that_are_too_large_together_are_refused() -> None:
    async def scenario() -> None:
        operator = Operator()
        await operator.start()
        await operator.block({"type": "big", "data": {"x": "x" * 131_072}})
        await operator.reconcile()
        state = (await operator.run())["status"]["state"]
        assert (state["type"], state["reason"]) == ("Failed", reasons.INVALID_BLOCKS)
        assert "has 131081 bytes together, and may have 131072" in state["message"]
        assert operator.cluster.kinds(PODS.kind) == []

    asyncio.run(scenario())
