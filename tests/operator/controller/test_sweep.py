"""What kopf does not tell of is found."""

from __future__ import annotations

import asyncio

import pytest

from controller_stage import Play, played
from penstock_operator.controller import sweep
from penstock_operator.reconcile.sources import Key
from run_stage import NAMESPACE


def test_a_deletion_that_kopf_did_not_tell_of_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SWEEP", 0.01)

    async def scenario(play: Play) -> None:
        came: list[Key] = []

        async def reconcile(key: Key) -> None:
            came.append(key)

        play.controller.register("Flow", reconcile)
        await asyncio.sleep(0.05)
        assert came == []  # it was there at the start, before anybody asked for this kind
        play.stage.remove("Flow", "etl")
        await play.until(lambda: came == [Key(NAMESPACE, "etl")])
        await asyncio.sleep(0.05)
        assert len(came) == 1

    played(scenario)
