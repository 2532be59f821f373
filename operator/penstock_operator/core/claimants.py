"""Runs that claim slots, read from their bodies: the cache keeps one of each, `reconcile.claims` decides on them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from penstock.api import labels
from penstock.api.bounds import MAX_SHOWN_CLAIMS
from penstock.api.states import StateType

from . import pauses
from .claims import Claim, Granted, Limit
from .views import Body, RunView, parse_time

LIVE = (StateType.RUNNING, StateType.CANCELLING, StateType.PAUSED)


@dataclass(frozen=True, slots=True)
class Claimant:
    """An attempt whose process holds slots or waits for some."""

    namespace: str
    name: str
    uid: str
    attempt: int
    pod_uid: str
    asked: Body
    """`status.claims`, by which news of it is told from what is known."""
    claims: tuple[Claim, ...] = field(compare=False)
    said: Mapping[int, Granted] = field(compare=False)
    """What was granted, by claim."""
    number: int = field(compare=False)
    """Number of the last write of grants."""

    def with_grants(self, grants: Mapping[int, Granted], number: int) -> Claimant:
        """As it is where these were granted, too."""
        claims = tuple(
            claim if (given := grants.get(claim.id)) is None else _granted(claim, given) for claim in self.claims
        )
        return replace(self, claims=claims, number=max(self.number, number))

    def ended(self) -> Claimant:
        """As it is once nobody can ask it any more, and its process may still run."""
        return replace(self, claims=tuple(replace(claim, ends=True) for claim in self.claims))


def claimant(body: Body) -> Claimant | None:
    """The run as one who claims; None where it claims nothing, or where its process has ended."""
    status = body.get("status") or {}
    asked = status.get("claims")
    if not asked or not asked["claims"]:
        return None
    run = RunView(body)
    pod = status.get("pod")
    if run.type not in LIVE or not pod or pauses.suspended(run) or asked["attempt"] != run.attempt:
        return None
    grants = status.get("grants") or {}
    mine = grants.get("attempt") == run.attempt
    said = (
        {g["id"]: Granted(g.get("granted", 0), g.get("keep"), g.get("refused")) for g in grants["grants"]}
        if mine
        else {}
    )
    claims = tuple(_granted(_claim(run.uid, claim), said.get(claim["id"], Granted(0))) for claim in asked["claims"])
    number = int(grants["number"]) if mine else 0
    return Claimant(run.namespace, run.name, run.uid, run.attempt, pod["uid"], asked, claims, said, number)


def _claim(run: str, claim: Body) -> Claim:
    names = tuple(dict.fromkeys(claim["names"]))
    returned, occupy = claim.get("returned", 0), claim.get("occupy", 1)
    return Claim(run, claim["id"], names, occupy, claim["want"], returned, since=claim["since"])


def _granted(claim: Claim, given: Granted) -> Claim:
    return replace(claim, granted=max(claim.granted, given.granted), refused=claim.refused or given.refused)


def limit(body: Body) -> Limit:
    """A ConcurrencyLimit of which code takes slots; of a rate, as it was used by what its status says."""
    spec, rate = body["spec"], (body.get("status") or {}).get("rate") or {}
    decay = float(spec.get("slotDecayPerSecond") or 0)
    name = body["metadata"]["name"]
    return Limit(name, spec["limit"], decay, float(rate.get("taken") or 0), parse_time(rate.get("time")))


def reset(body: Body) -> datetime | None:
    """When somebody last asked that a rate begin anew; anybody may have written there."""
    try:
        return parse_time((body["metadata"].get("annotations") or {}).get(labels.RESET_AT))
    except ValueError:
        return None


def patch(run: Claimant, grants: Mapping[int, Granted], number: int) -> list[Body]:
    """The JSON patch that writes all grants of a run."""
    written = [_written(id_, given) for id_, given in sorted(grants.items())]
    value: Body = {"attempt": run.attempt, "number": number, "grants": written}
    return [
        {"op": "test", "path": "/metadata/uid", "value": run.uid},
        {"op": "test", "path": "/status/attempt", "value": run.attempt},
        {"op": "test", "path": "/status/pod/uid", "value": run.pod_uid},
        {"op": "add", "path": "/status/grants", "value": value},
    ]


def _written(id_: int, given: Granted) -> Body:
    written: Body = {"id": id_, "granted": given.granted}
    if given.keep is not None:
        written["keep"] = given.keep
    if given.refused:
        written["refused"] = given.refused
    return written


def shown(body: Body, runs: Iterable[Claimant]) -> Body:
    """What the status of a limit says of slots held and waited for, and by whom: holders first, then by time."""
    rows: list[Body] = []
    name, rate = body["metadata"]["name"], bool(body["spec"].get("slotDecayPerSecond"))
    for run in runs:
        mine = [claim for claim in run.claims if name in claim.names]
        active, queued = sum(c.occupy * c.held for c in mine), sum(c.occupy * c.waiting for c in mine)
        active = 0 if rate else active
        if active or queued:
            since = min(claim.since for claim in mine)
            row: Body = {"run": run.name, "runUid": run.uid, "attempt": run.attempt, "since": since}
            rows.append({**row, "active": active, "queued": queued})
    rows.sort(key=lambda row: (not row["active"], row["since"], row["run"]))
    active, queued = sum(row["active"] for row in rows), sum(row["queued"] for row in rows)
    generation = body["metadata"].get("generation") or 0
    return {"observedGeneration": generation, "active": active, "queued": queued, "claims": rows[:MAX_SHOWN_CLAIMS]}
