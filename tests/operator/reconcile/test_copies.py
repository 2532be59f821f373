"""Copies go an hour after the last run that named them, and never from under one that is about to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from crash_points import WRITE_FAULTS, Acts, Fault, Killed, acting, same_at_any_write
from memory_cluster import Write
from penstock.api import labels, names
from penstock_operator.cluster import CONFIG_MAPS, CONTROLLER_REVISIONS, FLOW_RUNS, ApiError, Conflict, Unavailable
from penstock_operator.controller.settled import SettledRuns
from penstock_operator.core.code import Copy
from penstock_operator.reconcile import revisions
from penstock_operator.reconcile.copies import AGAIN, UNREFERENCED, Copies
from run_stage import NAMESPACE, SOURCE, Stage, at_once

Json = dict[str, Any]
DIGEST = names.content_digest(SOURCE)
CODE = names.code_config_map(DIGEST)


class Attic:
    """A stage on which a run was launched, so that there are copies, and the operator's view of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stage = Stage()
        self.seconds = 0.0
        monkeypatch.setattr(revisions.time, "monotonic", lambda: self.seconds)
        self.begin()
        self.stage.submit()
        self.stage.reconcile()

    def begin(self) -> None:
        """The operator, as it is when its process has started."""
        self.stage.restart()
        self.revisions = self.stage.revisions
        self.settled = SettledRuns(self.stage.cache, self.stage.clock)
        self.copies = Copies(self.stage.cluster, self.revisions, self.settled, self.stage.clock)

    def look(self, after: timedelta = timedelta()) -> None:
        self.seconds += after.total_seconds()
        self.stage.clock.advance(after.total_seconds())
        self.stage.hear()
        with acting(self.stage, self.stage.cluster):
            again = asyncio.run(self.copies.reconcile(""))
        assert again is not None
        assert again.at == self.stage.clock() + AGAIN

    def remove_run(self) -> None:
        self.stage.cluster.remove(FLOW_RUNS, NAMESPACE, "run")

    def left(self) -> list[str]:
        found = [*self.stage.cluster.kinds("ConfigMap"), *self.stage.cluster.kinds("ControllerRevision")]
        return sorted(body["metadata"]["name"].partition("-")[0] for body in found)


@pytest.fixture
def attic(monkeypatch: pytest.MonkeyPatch) -> Attic:
    return Attic(monkeypatch)


ALL = ["flowdeployment", "penstock", "workpool"]


def test_what_a_run_under_way_names_stays(attic: Attic) -> None:
    attic.look()
    attic.look(2 * UNREFERENCED)
    assert attic.left() == ALL


def test_what_a_settled_run_names_stays_until_it_is_deleted(attic: Attic) -> None:
    body = attic.stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "run", settled=True)
    attic.settled.put(body)
    attic.look()
    attic.look(2 * UNREFERENCED)
    assert attic.left() == ALL
    attic.remove_run()
    attic.settled.drop((NAMESPACE, "run"))
    attic.look()
    assert attic.left() == ALL
    attic.look(UNREFERENCED - timedelta(seconds=1))
    assert attic.left() == ALL
    attic.look(timedelta(seconds=1))
    assert attic.left() == ["flowdeployment"]  # whose deployment may want to go back to it


def test_a_new_run_makes_anew_what_is_gone(attic: Attic) -> None:
    attic.remove_run()
    attic.look()
    attic.look(UNREFERENCED)
    assert attic.left() == ["flowdeployment"]
    attic.stage.submit("again")
    attic.stage.reconcile("again")
    assert attic.left() == ALL


def test_a_run_that_nothing_is_remembered_of_keeps_its_copies(attic: Attic) -> None:
    """The consistent list decides."""
    attic.stage.cluster.set_status(FLOW_RUNS, NAMESPACE, "run", settled=True)  # and the watch of such runs lags
    attic.look()
    attic.look(UNREFERENCED)
    assert attic.left() == ALL
    attic.remove_run()
    attic.look()
    attic.look(UNREFERENCED - timedelta(seconds=1))
    assert attic.left() == ALL  # the hour began anew


def test_what_is_being_kept_for_a_run_that_does_not_name_it_yet_stays(attic: Attic) -> None:
    attic.remove_run()
    attic.look()
    attic.seconds += UNREFERENCED.total_seconds()
    at_once(attic.revisions.keep_code(NAMESPACE, "flow-uid", Copy(DIGEST, "flow.py", SOURCE)))
    attic.stage.clock.advance(UNREFERENCED.total_seconds())
    attic.look()
    assert attic.left() == ["flowdeployment", "penstock"]


def test_a_copy_is_not_kept_while_it_is_deleted(attic: Attic) -> None:
    attic.remove_run()
    attic.look()
    refusals = []

    def during(write: Write) -> None:
        if (write.verb, write.name) == ("delete", CODE):
            with pytest.raises(Conflict, match="is being deleted"):
                at_once(attic.revisions.keep_code(NAMESPACE, "flow-uid", Copy(DIGEST, "flow.py", SOURCE)))
            refusals.append(write)

    attic.stage.before = during
    attic.look(UNREFERENCED)
    assert len(refusals) == 1
    assert CODE not in [body["metadata"]["name"] for body in attic.stage.cluster.kinds("ConfigMap")]
    at_once(attic.revisions.keep_code(NAMESPACE, "flow-uid", Copy(DIGEST, "flow.py", SOURCE)))
    assert CODE in [body["metadata"]["name"] for body in attic.stage.cluster.kinds("ConfigMap")]


def test_a_deletion_that_fails_is_tried_again_and_holds_nobody_up(attic: Attic) -> None:
    attic.remove_run()
    attic.look()

    def refuse(write: Write) -> None:
        if write.verb == "delete":
            raise Unavailable(503, "Busy", "later")

    attic.stage.before = refuse
    with pytest.raises(Unavailable):
        attic.look(UNREFERENCED)
    attic.stage.before = lambda _: None
    at_once(attic.revisions.keep_code(NAMESPACE, "flow-uid", Copy(DIGEST, "flow.py", SOURCE)))
    attic.look(timedelta(minutes=20))
    assert attic.left() == ["flowdeployment"]


def test_config_maps_of_others_are_left_alone(attic: Attic) -> None:
    managed = {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}
    for name, notes in (("mine", {}), ("penstock-code-mine", {labels.CODE_DIGEST: DIGEST})):
        meta = {"name": name, "labels": managed, "annotations": notes}
        at_once(attic.stage.cluster.create(CONFIG_MAPS, NAMESPACE, {"metadata": meta}))
    attic.remove_run()
    attic.look()
    attic.look(UNREFERENCED)
    found = [body["metadata"]["name"] for body in attic.stage.cluster.kinds("ConfigMap")]
    assert sorted(found) == ["mine", "penstock-code-mine"]


@pytest.mark.parametrize("fault", WRITE_FAULTS)
def test_a_fault_at_any_write_leaves_the_same_copies(monkeypatch: pytest.MonkeyPatch, fault: Fault) -> None:
    """Those that no run names go, and the next run that names them has them again, whole."""

    def live(disturb: Callable[[Acts], None]) -> tuple[list[Json], list[Write]]:
        attic = Attic(monkeypatch)
        attic.remove_run()
        attic.stage.remove("Pod", "run-1")
        attic.stage.writes.clear()
        disturb(attic.stage)

        def looks(look: Callable[[], object]) -> None:
            for _ in range(4):
                try:
                    look()
                except Killed:
                    attic.stage.restart()
                    attic.begin()
                except ApiError:
                    pass

        looks(lambda: attic.look(UNREFERENCED))
        assert attic.left() == ["flowdeployment"]
        attic.stage.restart()
        attic.begin()
        attic.stage.submit("next")
        looks(lambda: attic.stage.reconcile("next"))
        assert (attic.left(), attic.stage.names("Pod")) == (ALL, ["next-1"])
        kept = [*attic.stage.cluster.kinds("ConfigMap"), *attic.stage.cluster.kinds("ControllerRevision")]
        for body in kept:
            for field in ("uid", "resourceVersion", "creationTimestamp"):
                body["metadata"].pop(field)
        resolved = attic.stage.run("next")["resolved"]
        return [*sorted(kept, key=lambda body: str(body["metadata"]["name"])), resolved], attic.stage.writes

    same_at_any_write(live, fault)


def revisions_left(attic: Attic) -> list[tuple[int, Json]]:
    kept = attic.stage.cluster.kinds("ControllerRevision")
    return sorted(((body["revision"], body["data"]) for body in kept), key=lambda pair: pair[0])


def test_of_a_release_that_is_suspended_and_resumed_it_and_the_newest_stay(attic: Attic) -> None:
    attic.remove_run()
    for suspend in (True, False, True):
        attic.stage.edit("FlowDeployment", "etl", suspend=suspend)
        body = attic.stage.get("FlowDeployment", "etl")
        assert body is not None
        at_once(attic.revisions.keep("FlowDeployment", body))
    attic.look()
    assert attic.left() == [*["flowdeployment"] * 4, "penstock", "workpool"]
    attic.look(UNREFERENCED)
    (release, before), (newest, now) = revisions_left(attic)
    assert (release, newest, now) == (1, 4, {**before, "suspend": True})


@pytest.mark.parametrize("data", [None, [1], {"schedules": [1]}, {"schedules": 5}], ids=repr)
def test_a_revision_that_says_nonsense_keeps_no_other_from_being_deleted(attic: Attic, data: Any) -> None:
    (kept,) = (body for body in attic.stage.cluster.kinds("ControllerRevision") if body["data"].get("flowRef"))
    meta = {key: kept["metadata"][key] for key in ("labels", "annotations")} | {"name": "forged"}
    forged = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": meta, "revision": 9, "data": data}
    at_once(attic.stage.cluster.create(CONTROLLER_REVISIONS, NAMESPACE, forged))
    attic.remove_run()
    attic.look()
    attic.look(UNREFERENCED)
    assert [number for number, _ in revisions_left(attic)] == [1, 9]
    assert attic.left() == ["flowdeployment", "forged"]
