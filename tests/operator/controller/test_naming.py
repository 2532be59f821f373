"""Changes name what they concern, and nothing else."""

from __future__ import annotations

from controller_stage import THING, Play, played


def test_a_kind_that_nobody_reconciles_is_not_queued() -> None:
    async def scenario(play: Play) -> None:
        play.controller.touch("Automation", THING)
        assert len(play.controller.agenda.queue) == 0

    played(scenario)
