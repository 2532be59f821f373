"""What is decided about a run, to be written, then carried out. `runs` and `watching` decide, `reconcile` does it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from penstock.api.states import StateName, StateType

from . import changes
from .attempts import Doomed
from .changes import Change, Entry
from .diagnosis import Diagnosis
from .policy import Policy
from .resolve import Resolution
from .views import Body, RunView, format_time

S = StateType
NOTHING = Change()
LINGER = 30  # seconds a pod may outlive the state that ended its attempt, such as its own runner's last


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now: write, then create or delete; `due` is when to look again at the latest.

    `confirm`: look again with a consistent read first, for the cache may lag behind what the decision would rest on.
    """

    change: Change = NOTHING
    create: bool = False
    delete: tuple[Doomed, ...] = ()
    due: datetime | None = None
    confirm: bool = False
    waits_for: tuple[str, str] | None = None
    launches: Resolution | None = None
    awaits_slot: bool = False

    @property
    def settles(self) -> bool:
        """Whether it is the last one of the run."""
        return bool(self.change.fields.get("settled"))


def end(run: RunView, entry: Entry, now: datetime) -> Change:
    """The change that ends a run; called only when nothing of it runs."""
    fields: Body = {"endTime": format_time(now)}
    length = changes.duration(run, now)
    if length:
        fields["duration"] = length
    return Change((entry,), fields, remove=("pause",) if "pause" in run.status else ())


def claim(run: RunView) -> tuple[str, ...]:
    """What an attempt leaves in the status, which the next one is not to find."""
    return ("pod", "worker") if "worker" in run.status else ("pod",)


def lost(run: RunView, why: Diagnosis, policy: Policy, now: datetime) -> Decision:
    """The attempt is gone without an end: another one where the budget allows, Crashed otherwise."""
    retries, used = policy.infra_retries, int(run.status.get("infraRetries") or 0)
    if not retries.allows(why, used):
        spent = ""
        if retries.limit:
            excluded = retries.excludes(why)
            spent = f" ({excluded})" if excluded else f" (after {used} of {retries.limit} infrastructure retries)"
        return Decision(end(run, Entry(S.CRASHED, why.reason, why.message + spent), now))
    entry = Entry(S.SCHEDULED, why.reason, f"attempt {run.attempt} was lost: {why.message}", StateName.AWAITING_RETRY)
    fields = {} if retries.free(why) else {"infraRetries": used + 1}
    return Decision(
        Change((entry,), fields, remove=(*claim(run), *(("pause",) if "pause" in run.status else ()))), due=now
    )
