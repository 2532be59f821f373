"""Posts events.k8s.io/v1 Events with names derived from (run, seq): sent twice is AlreadyExists, which is done.

Events are best effort: what cannot be sent in a few tries is dropped and counted. Nothing rests on them. A state that
a run may only pass through is held back until it has lasted (`core.run_events`): who leads next finds in the history
what was held back when this process ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from penstock.api import labels, names
from penstock.api.states import StateType

from ..backoff import backoff, spread
from ..cluster import EVENTS, AlreadyExists, ApiError, Cluster, Unavailable
from ..core import changes, run_events
from ..core.run_events import LASTS
from ..core.views import RunView, parse_time, with_microseconds

logger = logging.getLogger(__name__)

Body = dict[str, Any]

WORKERS, TRIES, QUEUE = 6, 3, 10_000
FIRST_WAIT = 0.3  # seconds between tries
MAX_NOTE, MAX_REASON = 1024, 128  # bytes
WARNINGS = frozenset({"Failed", "Crashed"})
REMEMBERED = 20_000
KEPT = timedelta(hours=1)  # that Kubernetes keeps an Event
OVERLAP = timedelta(minutes=1)  # before a leader's last renewal of which it may not have sent all Events
PATIENCE = 10.0  # seconds a run waits for its Events before it is settled without them


def event(run: Body, entry: Body, instance: str) -> Body:
    """The Event of one history entry of a run."""
    meta = run["metadata"]
    resolved = (run.get("status") or {}).get("resolved") or {}
    flow = resolved.get("flow") or (run.get("spec") or {}).get("flowRef") or {}  # a subflow has nothing resolved
    found = {
        labels.MANAGED_BY: labels.MANAGED_BY_VALUE,
        labels.RUN: meta["name"],
        labels.FLOW: flow.get("name", "")[:63].rstrip("-."),
        labels.DEPLOYMENT: (resolved.get("deployment") or {}).get("name"),
        labels.POOL: (resolved.get("pool") or {}).get("name"),
    }
    name = entry.get("name") or entry["type"]
    refined = f" ({name})" if name != entry["type"] else ""
    note = entry.get("message") or entry.get("reason") or entry["type"]
    ended = parse_time(entry["time"]) if StateType(entry["type"]).terminal else None
    length = changes.duration(RunView(run), ended) if ended else None
    ran = f" after {length}" if length else ""
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": names.event(meta["name"], meta["uid"], entry["seq"]),
            "namespace": meta["namespace"],
            "labels": {key: value for key, value in found.items() if value},
        },
        "eventTime": with_microseconds(entry["time"]),  # events.k8s.io takes no others
        "type": "Warning" if entry["type"] in WARNINGS else "Normal",
        "reason": f"FlowRun{entry['type']}",
        "action": _within(entry.get("reason") or entry["type"], MAX_REASON),
        "note": _within(f"{entry['type']}{refined}{ran}: {note}", MAX_NOTE),
        "reportingController": f"{labels.GROUP}/operator",
        "reportingInstance": _within(instance, MAX_REASON),
        "regarding": {
            "apiVersion": labels.API_VERSION,
            "kind": "FlowRun",
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
    }


def untold_since(now: datetime, led_until: datetime | None) -> datetime:
    """From when on changes of runs may be without their Event, for one who begins to post at `now`.

    Who led before has posted what came before it ended; and nobody wants to hear now of what is older than any Event.
    """
    oldest = now - KEPT
    return oldest if led_until is None else max(oldest, min(led_until, now) - OVERLAP)


def _within(text: str, size: int) -> str:
    """`text` cut to so many bytes of UTF-8, which is what the API server counts."""
    return text.encode()[:size].decode(errors="ignore")


class EventPoster:
    """Implements `reconcile.sources.Events`."""

    def __init__(self, cluster: Cluster, instance: str) -> None:
        self._cluster, self._instance = cluster, instance
        self.dropped = 0
        self._since: datetime | None = None
        self.clear()

    def clear(self) -> None:
        """Forget what is queued and held back, and what was posted; `run` must not run."""
        self._queue: asyncio.Queue[tuple[str, Body]] = asyncio.Queue(QUEUE)
        self._open: dict[str, int] = defaultdict(int)
        self._idle: dict[str, asyncio.Event] = {}
        self._decided: dict[str, int] = {}  # uid -> seq up to which each was posted, or never will be
        self._held: dict[str, tuple[Body, Body]] = {}  # uid -> a run and the entry of the state it is in
        self._ripens: asyncio.Queue[tuple[float, str, int]] = asyncio.Queue()  # in the order of their times

    def begin(self, since: datetime) -> None:
        """Post nothing of what is older: after a restart, that would be thousands of Events that are there already."""
        self._since = since

    def tell(self, run: Body) -> None:
        uid, status = run["metadata"]["uid"], run.get("status") or {}
        history, decided = status.get("history"), self._decided.get(uid, status.get("observedSeq") or 0)
        if not history or history[-1]["seq"] <= decided:  # at most looks there is nothing new
            return
        tell, held = run_events.telling(history, decided)
        for entry in tell:
            self._post(run, entry)
        if held is not None and not self._is_old(held) and (uid in self._held or len(self._held) < QUEUE):
            self._decide(uid, held["seq"] - 1)
            self._hold(run, held)
            return
        self._held.pop(uid, None)
        self._decide(uid, history[-1]["seq"])
        if held is not None:
            self._post(run, held)

    def _decide(self, uid: str, seq: int) -> None:
        if len(self._decided) > REMEMBERED:
            self._decided.clear()
        self._decided[uid] = seq

    def _is_old(self, entry: Body) -> bool:
        return self._since is not None and (parse_time(entry["time"]) or self._since) < self._since

    def _hold(self, run: Body, entry: Body) -> None:
        uid, known = run["metadata"]["uid"], self._held.get(run["metadata"]["uid"])
        self._held[uid] = (run, entry)
        if known is None or known[1]["seq"] != entry["seq"]:
            self._ripens.put_nowait((time.monotonic() + LASTS.total_seconds(), uid, entry["seq"]))

    def _post(self, run: Body, entry: Body) -> None:
        if self._is_old(entry):
            return
        uid = run["metadata"]["uid"]
        try:
            self._queue.put_nowait((uid, event(run, entry, self._instance)))
        except asyncio.QueueFull:
            self.dropped += 1
            return
        self._open[uid] += 1

    async def flush(self, run_uid: str) -> None:
        if self._open.get(run_uid):
            idle = self._idle.setdefault(run_uid, asyncio.Event())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await idle.wait()
        self._decided.pop(run_uid, None)
        self._held.pop(run_uid, None)

    async def sent(self) -> None:
        """Return when everything queued was sent or given up."""
        await self._queue.join()

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())
            group.create_task(self._ripen())

    async def _ripen(self) -> None:
        """Post of what was held back what has lasted."""
        while True:
            due, uid, seq = await self._ripens.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            held = self._held.get(uid)
            if held is not None and held[1]["seq"] == seq:
                run, entry = self._held.pop(uid)
                self._decide(uid, seq)
                try:
                    self._post(run, entry)
                except Exception:  # one that cannot be told, as of a time that is none, stops no other
                    logger.exception("no event of run %s/%s", run["metadata"]["namespace"], run["metadata"]["name"])
                    self.dropped += 1

    async def _work(self) -> None:
        while True:
            uid, body = await self._queue.get()
            try:
                await self._send(body)
            finally:
                self._open[uid] -= 1
                if not self._open[uid]:
                    del self._open[uid]
                    idle = self._idle.pop(uid, None)
                    if idle:
                        idle.set()
                self._queue.task_done()

    async def _send(self, body: Body) -> None:
        for attempt in range(TRIES):
            try:
                await self._cluster.create(EVENTS, body["metadata"]["namespace"], body)
            except AlreadyExists:
                return
            except Unavailable as error:
                wait = backoff(attempt + 1, FIRST_WAIT, PATIENCE)
                await asyncio.sleep(max(spread(error.retry_after or 0.0), wait))
            except ApiError as error:
                logger.warning("event %s: %s", body["metadata"]["name"], error)
                break
            except Exception:  # one that cannot be sent stops no other
                logger.exception("event %s cannot be sent", body["metadata"]["name"])
                break
            else:
                return
        self.dropped += 1
