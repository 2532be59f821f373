"""Whether this process' own loops go on; asked through the controller by kopf's probe."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .agenda import Agenda
from .informer import Informer

MAX_STILLNESS = 180.0
MAX_WORK = 600.0  # far more than one look can wait for while the API server answers


def health(informers: Sequence[Informer], agenda: Agenda, *, acts: bool, progress: float) -> dict[str, float]:
    """Figures of liveness. Raises RuntimeError when this process' own loops stand still; neither a backlog nor an
    API server that is away is a reason to start it anew: silence of the watches is a figure, and a metric.

    `acts`: keys are looked at; `progress`: the monotonic time of the last look, or of the term's begin.
    """
    queue = agenda.queue
    stillness = max(informer.stillness() for informer in informers)
    if stillness > MAX_STILLNESS:
        raise RuntimeError(f"a watch took no step for {stillness:.0f} s")
    waited = queue.oldest_age() if acts and not queue.working else 0.0
    still = min(waited, time.monotonic() - progress)
    if still > MAX_STILLNESS:
        raise RuntimeError(f"keys wait, and nothing was done for {still:.0f} s")
    if queue.longest_work() > MAX_WORK:
        raise RuntimeError(f"a key has been worked on for {queue.longest_work():.0f} s")
    silence = max(informer.silence() for informer in informers)
    return {"silence": round(silence, 1), "queued": float(len(queue)), "leads": float(agenda.leads)}
