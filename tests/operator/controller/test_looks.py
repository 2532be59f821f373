"""Whatever a look at one object brings, the others go on."""

from __future__ import annotations

import asyncio

import pytest

from builders import run_pod
from controller_stage import THING, Json, Play, played, recorded
from penstock.api import labels, reasons
from penstock_operator.cluster import PODS, ApiError, Unavailable
from penstock_operator.launch.pods import TTL
from penstock_operator.reconcile.sources import Key, Requeue
from run_stage import NAMESPACE


@pytest.mark.parametrize("error", [Unavailable(503, "", "away"), ApiError(401, "", "who?"), ValueError("a bug")])
def test_a_key_that_fails_comes_again_with_a_growing_delay_and_stops_no_other(error: Exception) -> None:
    async def scenario(play: Play) -> None:
        came = recorded(play, [error, error, error, None])
        play.controller.touch("Thing", THING)
        await play.quiet()
        await play.launched()
        for number, seconds in ((1, 0.25), (2, 0.5), (3, 1.0)):
            assert len(came) == number
            await play.time_passes(seconds)
        assert len(came) == 4
        await play.time_passes(3600)
        assert len(came) == 4

    played(scenario)


def test_a_run_that_breaks_its_reconciler_says_so_until_it_goes_on() -> None:
    async def scenario(play: Play) -> None:
        reconcile, broken = play.controller._reconcilers["FlowRun"], [True]

        async def breaks(key: Key) -> Requeue | None:
            if key.name == "bad" and broken[0]:
                raise KeyError("poolType")
            return await reconcile(key)

        play.controller.register("FlowRun", breaks)
        play.stage.submit("bad")
        await play.quiet()
        assert play.stage.condition("Reconciled", "bad") is None  # once may be by chance
        await play.time_passes(1)
        assert play.stage.condition("Reconciled", "bad") == ("False", reasons.RECONCILE_FAILED)
        await play.launched()
        broken[0] = False
        await play.time_passes(60)
        assert play.stage.condition("Reconciled", "bad") == ("True", "Reconciled")
        assert play.stage.state("bad") == ("Pending", reasons.LAUNCHED)

    played(scenario)


def test_an_object_that_cannot_even_be_kept_is_told_of_and_stops_no_other() -> None:
    async def scenario(play: Play) -> None:
        put = play.controller.cache.put

        def picky(kind: str, body: Json) -> bool:
            if body["metadata"]["name"] == "bad" and not body["spec"].get("cancel"):
                raise TypeError("nonsense")
            return put(kind, body)

        play.controller.cache.put = picky  # type: ignore[method-assign]
        play.stage.submit("bad")
        await play.launched()
        await play.time_passes(1)
        assert play.stage.condition("Reconciled", "bad") == ("False", reasons.RECONCILE_FAILED)
        play.stage.edit("FlowRun", "bad", cancel=True)
        await play.until(lambda: play.stage.run("bad").get("state"))
        await play.quiet()
        assert play.stage.condition("Reconciled", "bad") == ("True", "Reconciled")

    played(scenario)


def test_a_server_that_is_away_is_no_ones_fault() -> None:
    async def scenario(play: Play) -> None:
        recorded(play, [Unavailable(503, "", "away")])
        play.controller.register("FlowRun", play.controller._reconcilers["Thing"])
        play.stage.submit()
        await play.quiet()
        await play.time_passes(60)
        await play.time_passes(60)
        assert play.stage.condition("Reconciled") is None

    played(scenario)


def test_whatever_is_written_on_a_pod_the_operator_goes_on() -> None:
    """Annotations are everybody's."""

    async def scenario(play: Play) -> None:
        for number, text in enumerate(["soon", "", "-1", "9" * 40, "1e3"]):
            pod = run_pod("Pending")
            meta = {"name": f"pod-{number}", "labels": {labels.MANAGED_BY: labels.MANAGED_BY_VALUE, labels.RUN: "x"}}
            await play.cluster.create(PODS, NAMESPACE, {**pod, "metadata": {**meta, "annotations": {TTL: text}}})
            play.cluster.set_status(PODS, NAMESPACE, f"pod-{number}", phase="Succeeded")
        await play.launched()

    played(scenario)


def test_a_cancellation_that_a_library_lets_through_ends_no_worker() -> None:
    async def scenario(play: Play) -> None:
        came: list[Key] = []

        async def reconcile(key: Key) -> None:
            came.append(key)
            raise asyncio.CancelledError

        play.controller.register("Thing", reconcile)
        for number in range(40):  # more than there are workers
            play.controller.touch("Thing", Key(NAMESPACE, str(number)))
        await play.quiet()
        assert len(came) == 40
        await play.launched()

    played(scenario)
