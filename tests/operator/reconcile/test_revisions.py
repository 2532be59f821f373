"""Immutable copies: made once by name, read back after a restart, never taken from a stranger."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from memory_cluster import MemoryCluster
from penstock.api import labels, names
from penstock_operator.cluster import (
    CONFIG_MAPS,
    CONTROLLER_REVISIONS,
    AlreadyExists,
    Conflict,
    Forbidden,
    ResourceType,
)
from penstock_operator.core.code import Copy
from penstock_operator.reconcile import revisions
from penstock_operator.reconcile.revisions import Revisions

Json = dict[str, Any]
T = TypeVar("T")

DIGEST = names.content_digest("x = 1\n")
CODE = names.code_config_map(DIGEST)
COPY = Copy(DIGEST, "flow.py", "x = 1\n")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(coroutine)


def pool(generation: int = 2, uid: str = "p-uid", **spec: Any) -> Json:
    meta = {"name": "default", "namespace": "team", "uid": uid, "generation": generation}
    return {"metadata": meta, "spec": {"type": "Pod", **spec}}


def revision_name(body: Json) -> str:
    meta = body["metadata"]
    return names.revision("WorkPool", meta["name"], meta["uid"], meta["generation"])


def test_a_generation_is_kept_with_its_owner_and_its_number() -> None:
    cluster = MemoryCluster()
    run(Revisions(cluster).keep("WorkPool", pool(image="flows:1")))
    (kept,) = cluster.kinds("ControllerRevision")
    assert kept["metadata"]["name"] == revision_name(pool())
    assert (kept["revision"], kept["data"]) == (2, {"type": "Pod", "image": "flows:1"})
    assert kept["metadata"]["annotations"] == {labels.OWNER_UID: "p-uid"}
    assert "ownerReferences" not in kept["metadata"], "it outlives its pool, as its runs may"
    assert kept["metadata"]["labels"] == {
        labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
        labels.OWNER_KIND: "WorkPool",
        labels.OWNER_NAME: "default",
    }


def test_generations_and_namesakes_are_kept_apart() -> None:
    cluster = MemoryCluster()
    kept = Revisions(cluster)
    for body in (pool(1), pool(2), pool(2, "another-uid")):
        run(kept.keep("WorkPool", body))
    assert len(cluster.kinds("ControllerRevision")) == 3


def test_what_was_kept_once_costs_no_further_call() -> None:
    cluster = MemoryCluster()
    kept = Revisions(cluster)
    for _ in range(3):
        run(kept.keep("WorkPool", pool()))
        run(kept.keep_code("team", "flow-uid", COPY))
    assert [(write.verb, write.kind) for write in cluster.writes] == [
        ("create", "ControllerRevision"),
        ("create", "ConfigMap"),
    ]


def test_source_is_kept_under_its_digest_and_cannot_be_changed() -> None:
    cluster = MemoryCluster()
    run(Revisions(cluster).keep_code("team", "flow-uid", COPY))
    (kept,) = cluster.kinds("ConfigMap")
    assert (kept["metadata"]["name"], kept["data"], kept["immutable"]) == (CODE, {labels.CODE_FILE: "x = 1\n"}, True)
    assert kept["metadata"]["annotations"] == {labels.CODE_DIGEST: DIGEST}
    assert "ownerReferences" not in kept["metadata"]


def test_bytes_are_kept_as_they_are() -> None:
    cluster = MemoryCluster()
    copy = Copy(names.content_digest(b"\x00\xff"), "flow.bundle", b"\x00\xff")
    run(Revisions(cluster).keep_code("team", "flow-uid", copy))
    (kept,) = cluster.kinds("ConfigMap")
    assert kept["binaryData"] == {"flow.bundle": "AP8="}
    assert "data" not in kept


def test_each_namespace_has_its_own_copy() -> None:
    cluster = MemoryCluster()
    kept = Revisions(cluster)
    run(kept.keep_code("team", "flow-uid", COPY))
    run(kept.keep_code("other", "flow-uid", COPY))
    assert {body["metadata"]["namespace"] for body in cluster.kinds("ConfigMap")} == {"team", "other"}


def test_a_namespace_that_was_made_anew_gets_its_code_again() -> None:
    """Its flow is another; what was kept went with the old namespace, and the pod would wait for it for ever."""
    cluster = MemoryCluster()
    kept = Revisions(cluster)
    run(kept.keep_code("team", "flow-uid", COPY))
    run(cluster.delete(CONFIG_MAPS, "team", CODE))
    run(kept.keep_code("team", "uid-of-the-new-flow", COPY))
    assert len(cluster.kinds("ConfigMap")) == 1


def test_a_restarted_operator_takes_what_its_predecessor_kept() -> None:
    cluster = MemoryCluster()
    run(Revisions(cluster).keep("WorkPool", pool(image="flows:1")))
    run(Revisions(cluster).keep_code("team", "flow-uid", COPY))
    anew = Revisions(cluster)
    run(anew.keep("WorkPool", pool(image="flows:1")))
    run(anew.keep_code("team", "flow-uid", COPY))
    assert (len(cluster.kinds("ControllerRevision")), len(cluster.kinds("ConfigMap"))) == (1, 1)


def test_a_spec_is_read_as_it_was_kept() -> None:
    """Defaults that a newer CRD adds change what is read of an object, not its generation."""
    cluster = MemoryCluster()
    run(Revisions(cluster).keep("WorkPool", pool(image="flows:1")))
    anew = Revisions(cluster)
    run(anew.keep("WorkPool", pool(image="flows:1", suspend=False)))
    for reader in (anew, Revisions(cluster)):
        assert run(reader.spec("team", revision_name(pool()))) == {"type": "Pod", "image": "flows:1"}


def test_a_deleted_revision_reads_as_none() -> None:
    assert run(Revisions(MemoryCluster()).spec("team", "workpool-default-x-1")) is None


def stranger(resource: ResourceType, name: str, **more: Any) -> MemoryCluster:
    cluster = MemoryCluster()
    run(cluster.create(resource, "team", {"kind": resource.kind, "metadata": {"name": name}, **more}))
    return cluster


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({}, id="nobody's"),
        pytest.param({labels.OWNER_UID: "another-uid"}, id="another pool's"),
    ],
)
def test_a_revision_of_another_owner_is_not_taken_over(annotations: Json) -> None:
    cluster = stranger(CONTROLLER_REVISIONS, revision_name(pool()), data={"type": "Pod"})
    cluster.objects[("controllerrevisions", "team", revision_name(pool()))]["metadata"]["annotations"] = annotations
    with pytest.raises(AlreadyExists, match="exists and is not the operator's: delete it"):
        run(Revisions(cluster).keep("WorkPool", pool()))


def test_other_source_under_the_digest_is_not_taken_over() -> None:
    cluster = stranger(CONFIG_MAPS, CODE, data={labels.CODE_FILE: "x = 2\n"})
    kept = Revisions(cluster)
    for _ in range(2):
        with pytest.raises(AlreadyExists, match=CODE):
            run(kept.keep_code("team", "flow-uid", COPY))


def test_what_is_deleted_while_it_is_looked_at_is_tried_again_later() -> None:
    cluster = stranger(CONFIG_MAPS, CODE)

    async def vanished(*_: Any) -> None:
        return None

    cluster.get = vanished  # type: ignore[method-assign]
    with pytest.raises(Conflict):
        run(Revisions(cluster).keep_code("team", "flow-uid", COPY))


def test_what_was_refused_is_not_remembered() -> None:
    cluster = MemoryCluster()
    kept = Revisions(cluster)

    def refused(_: object) -> None:
        raise Forbidden(403, "Forbidden", "exceeded quota")

    cluster.before = refused
    with pytest.raises(Forbidden):
        run(kept.keep("WorkPool", pool()))
    with pytest.raises(Forbidden):
        run(kept.keep_code("team", "flow-uid", COPY))
    cluster.before = lambda _: None
    run(kept.keep("WorkPool", pool()))
    run(kept.keep_code("team", "flow-uid", COPY))
    assert len(cluster.writes) == 2


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is forgotten is read again, or found to be there."""
    monkeypatch.setattr(revisions, "KNOWN", 2)
    cluster = MemoryCluster()
    kept = Revisions(cluster)
    for generation in range(1, 6):
        run(kept.keep("WorkPool", pool(generation)))
        run(kept.keep_code("team", "flow-uid", Copy(names.content_digest(str(generation)), "flow.py", str(generation))))
    for generation in range(1, 6):
        assert run(kept.spec("team", revision_name(pool(generation)))) == {"type": "Pod"}
        run(kept.keep_code("team", "flow-uid", Copy(names.content_digest(str(generation)), "flow.py", str(generation))))
    assert (len(cluster.kinds("ControllerRevision")), len(cluster.kinds("ConfigMap"))) == (5, 5)
    assert len(kept._specs) <= 2
    assert len(kept._code) <= 2
