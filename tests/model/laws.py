"""The laws that every life of a run keeps, checked at each change of its object against what processes really do."""

from __future__ import annotations

from collections import Counter
from typing import Any

from penstock.api import reasons
from penstock.api.bounds import MAX_HISTORY
from penstock.api.states import StateName, StateType, is_legal
from penstock_operator.cluster import ResourceType
from penstock_operator.core.views import RunView
from run_stage import PostedEvents

from .world import UNDER_WAY, World

Json = dict[str, Any]


class Laws:
    """`broken` says which were, for whoever made the change may catch what is raised there."""

    def __init__(self, world: World, posted: PostedEvents, retries: int) -> None:
        self.world, self.posted, self.retries = world, posted, retries
        self.ends = self.answers = 0
        self.broken: list[AssertionError] = []
        self.most = 0
        """A lowered limit holds for whoever is admitted afterwards: the highest one that somebody may still go by."""
        self.held_at_once: Counter[int] = Counter()
        self.entered: Counter[str] = Counter()
        world.cluster.changed = self.changed

    def changed(self, resource: ResourceType, before: Json | None, after: Json | None) -> None:
        """An object was written."""
        if resource.kind == "FlowRun" and after is not None:
            same = before is not None and before["metadata"]["uid"] == after["metadata"]["uid"]
            try:
                self._run(RunView(before if same and before else {}), RunView(after))
            except AssertionError as error:
                self.broken.append(error)

    def _run(self, before: RunView, after: RunView) -> None:
        told = f"{after.name}: {_shown(before)} -> {_shown(after)}"
        added = [entry for entry in after.history if entry["seq"] > before.seq]
        assert [entry["seq"] for entry in added] == list(range(before.seq + 1, after.seq + 1)), told
        current = before.type
        for entry in added:
            self.entered[f"{entry['type']} {entry['reason']}"] += 1
            assert is_legal(current, StateType(entry["type"])), told
            current = StateType(entry["type"])
        assert after.type is current, told
        assert after.seq >= before.seq, told
        assert after.attempt >= before.attempt, told
        assert len(after.history) <= MAX_HISTORY, told
        assert not (before.settled and not after.settled), told
        types = [{c["type"] for c in run.status.get("conditions") or ()} for run in (before, after)]
        assert types[0] <= types[1], f"a condition was taken away: {told}"
        assert before.status.get("infraRetries", 0) <= after.status.get("infraRetries", 0) <= self.retries, told
        awaits = [entry for entry in after.history if entry["name"] == StateName.AWAITING_RETRY]
        retried = [entry for entry in awaits if entry["reason"] != reasons.SUSPEND_REQUESTED]  # which holds one back
        assert len(retried) <= self.retries, told
        if before.type is not None and before.type.terminal:
            assert after.state == before.state, told
        if after.settled and not before.settled:
            self._settled(after, told)
        for entry in added:
            if entry["writer"] == "operator" and StateType(entry["type"]).terminal:
                self._ended(after, told)
            elif entry["type"] == "Running" and not after.in_parent:
                self._claimed(after, told)
        self._answered(before, after, added, told)
        if after.attempt > before.attempt and not after.in_parent and "task" not in after.spec:
            self._launched(after, told)
        if after.attempt > before.attempt and not after.in_parent:
            assert not self._executing(after), f"launched beside user code that runs: {told}"

    def _launched(self, run: RunView, told: str) -> None:
        """There was a slot: what holds one is every run whose attempt has begun, and is not gone."""
        if self.world.limit is None:
            return
        holders = [body["metadata"]["name"] for body in self.world.objects("FlowRun") if self._holds(RunView(body))]
        holders += self._left_behind()
        most = max(self.world.limit, self.most)
        assert len(holders) <= most, f"{holders} hold slots, and there are {most}: {told}"
        self.held_at_once[len(holders)] += 1

    def _left_behind(self) -> list[str]:
        """Runs that are deleted, and that have something that runs or may."""
        left = {process.assignment.uid: process for process in self.world.processes.values()}
        return [
            f"{process.assignment.name}, which is deleted,"
            for uid, process in left.items()
            if uid in self.world.deleted and self.world.holds_pods(uid)
        ]

    def _holds(self, run: RunView) -> bool:
        if run.in_parent or run.settled:
            return False
        goes_on = run.type in UNDER_WAY
        suspended = run.state.get("name") == StateName.SUSPENDED
        return (goes_on and not suspended) or self.world.holds_pods(run.uid)

    def _settled(self, run: RunView, told: str) -> None:
        self.ends += 1
        assert run.type is not None, told
        assert run.type.terminal, told
        missing = [e["seq"] for e in run.history if (run.uid, e["seq"]) not in self.posted.posted]
        assert not missing, f"settled without the Events of {missing}: {told}"

    def _ended(self, run: RunView, told: str) -> None:
        """The operator says that a run has ended: then no process of it runs user code any more."""
        uid = run.parent["uid"] if run.in_parent else run.uid
        if run.in_parent and not self._exists(uid):
            return  # the parent was deleted, and what it owns is deleted with it
        attempt = run.of_attempt if run.in_parent else None
        running = [
            process.pod
            for process in self.world.of_run(uid)
            if process.executing
            and not (process.given_up or process.silent)
            and attempt in (None, process.assignment.attempt)
        ]
        assert not running, f"ended while {running} executes user code: {told}"

    def _answered(self, before: RunView, after: RunView, added: list[Json], told: str) -> None:
        """An answer is taken at most once, while its pause is open, as somebody gave it; and it lets the run go."""
        old, new = before.status.get("answers") or [], after.status.get("answers") or []
        assert new[: len(old)] == old, f"an answer is lost or changed: {told}"
        taken, pauses = new[len(old) :], [answer["pause"] for answer in new]
        assert len(set(pauses)) == len(pauses), f"answered twice: {pauses}: {told}"
        assert len(taken) <= 1, told
        for answer in taken:
            self.answers += 1
            open_one = before.status.get("pause") or {}
            assert answer["pause"] == open_one.get("id"), f"{answer} is not of {open_one}: {told}"
            given = [given["input"] for given in self.world.answers[after.uid] if given["pause"] == answer["pause"]]
            if "schema" in open_one:
                assert answer["input"] in given, f"{answer} was not given: {told}"
                assert isinstance(answer["input"].get("approved"), bool), f"{answer} does not fit: {told}"
            assert [entry["reason"] for entry in added] == [reasons.RESUMED], told
        left = before.state.get("name") == StateName.SUSPENDED and after.state.get("name") == StateName.RESUMING
        if left:
            assert not self.world.holds_pods(after.uid), f"goes on beside its old pod: {told}"
            asked = before.state.get("reason") == reasons.SUSPEND_REQUESTED
            assert taken or asked, f"resumed by nobody: {told}"

    def _exists(self, uid: str) -> bool:
        return any(body["metadata"]["uid"] == uid for body in self.world.objects("FlowRun"))

    def _claimed(self, run: RunView, told: str) -> None:
        others = [process for process in self._executing(run) if process.claims != (run.claimed_uid, run.attempt)]
        assert not others, f"claimed beside {[process.pod for process in others]}: {told}"

    def _executing(self, run: RunView) -> list[Any]:
        return [process for process in self.world.of_run(run.uid) if process.executing and not process.given_up]


def _shown(run: RunView) -> Json:
    """What matters of a status."""
    short = {key: run.status.get(key) for key in ("attempt", "pod", "infraRetries", "settled", "observedSeq")}
    entries = [f"{e['seq']} {e['type']} {e['reason']} by {e['writer']}" for e in run.history]
    return {**{key: value for key, value in short.items() if value is not None}, "state": run.state, "history": entries}
