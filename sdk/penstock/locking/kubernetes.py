"""Locks among pods: a Lease of coordination.k8s.io for each key, renewed while it is held.

Whether a holder is gone is told by watching its Lease stand still for as long as it is valid, by our own clock, so
that clocks need not agree. A pod needs the verbs get, create, update, patch and delete on leases in its namespace.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, Protocol

from .protocol import LockManager, not_held

Body = dict[str, Any]
KEY = "penstock.dev/lock-key"
LONGEST_SHOWN = 1000  # characters of a key in the annotation that is for people


class LeaseClient(Protocol):
    """What is needed of a client; `penstock.client.Client` is one. Its errors have the HTTP status as `status`."""

    def get(self, kind: str, name: str) -> Body:
        """One object."""

    def create(self, body: Body) -> Body:
        """Create an object."""

    def merge(self, kind: str, name: str, change: Body) -> Body:
        """Merge-patch an object; refused with status 409 where its resourceVersion is another."""

    def delete(self, kind: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete an object, if it is of this version."""


class LeaseLockManager(LockManager):
    """Locks as Leases, each free again `lease_seconds` after its holder's process has ended."""

    def __init__(self, client: LeaseClient | None = None, *, lease_seconds: int = 30) -> None:
        if client is None:
            from ..client import Client
            from ..kubeconfig import access

            client = Client(access())
        self._client, self._seconds = client, lease_seconds
        self._table = Lock()
        self._held: dict[str, tuple[str, Body, float | None]] = {}  # key: holder, Lease, when to let go of it
        self._seen: dict[str, tuple[str, float]] = {}  # key: version of another's Lease, and since when
        self._stop = Event()
        self._renewer: Thread | None = None

    def try_lock(self, key: str, holder: str, hold_timeout: float | None) -> bool:
        """Create the Lease, or take over one whose holder is gone."""
        with self._table:
            if key in self._held:
                return self._held[key][0] == holder
        try:
            lease = self._take(key, holder)
        except Exception as error:
            if getattr(error, "status", None) == 409:  # somebody else was faster
                return False
            raise
        if lease is None:
            return False
        with self._table:
            self._seen.pop(key, None)
            self._held[key] = (holder, lease, None if hold_timeout is None else monotonic() + hold_timeout)
            if self._renewer is None:
                self._renewer = Thread(target=self._renew, name="penstock-leases", daemon=True)
                self._renewer.start()
        return True

    def _take(self, key: str, holder: str) -> Body | None:
        current = self._read(key)
        now = _now()
        spec = {
            "holderIdentity": holder,
            "leaseDurationSeconds": self._seconds,
            "acquireTime": now,
            "renewTime": now,
        }
        if current is None:
            meta = {"name": lease_name(key), "annotations": {KEY: key[:LONGEST_SHOWN]}}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec}
            return self._client.create(body)
        if not self._abandoned(key, current):
            return None
        version = current["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version}, "spec": spec}
        return self._client.merge("leases", lease_name(key), change)

    def _abandoned(self, key: str, lease: Body) -> bool:
        """Whether we have seen this version for longer than it is valid."""
        version = lease["metadata"]["resourceVersion"]
        with self._table:
            seen = self._seen.get(key)
            if seen is None or seen[0] != version:
                self._seen[key] = (version, monotonic())
                return False
            return monotonic() - seen[1] > (lease["spec"].get("leaseDurationSeconds") or self._seconds)

    def _read(self, key: str) -> Body | None:
        try:
            return self._client.get("leases", lease_name(key))
        except Exception as error:
            if getattr(error, "status", None) == 404:
                return None
            raise

    def _renew(self) -> None:
        while not self._stop.wait(self._seconds / 3):
            with self._table:
                held = list(self._held.items())
            for key, (holder, lease, until) in held:
                if until is not None and until <= monotonic():
                    self._let_go(key, holder)
                    continue
                version = lease["metadata"]["resourceVersion"]
                change = {"metadata": {"resourceVersion": version}, "spec": {"renewTime": _now()}}
                try:
                    renewed = self._client.merge("leases", lease_name(key), change)
                except Exception as error:
                    if getattr(error, "status", None) in (404, 409):
                        self._lost(key, holder)
                    continue  # anything else may pass before the lease ends
                with self._table:
                    if self._held.get(key, ("",))[0] == holder:
                        self._held[key] = (holder, renewed, until)

    def _lost(self, key: str, holder: str) -> None:
        from ..logging import get_logger

        with self._table:
            if self._held.get(key, ("",))[0] != holder:
                return
            del self._held[key]
        get_logger("locking").warning("the lock of %r was lost: its Lease was not renewed in time", key)

    def _let_go(self, key: str, holder: str) -> bool:
        with self._table:
            held = self._held.get(key)
            if held is None or held[0] != holder:
                return False
            del self._held[key]
        while True:
            try:
                lease = self._read(key)
                if lease is None or lease["spec"].get("holderIdentity") != holder:
                    return True
                version = lease["metadata"]["resourceVersion"]
                self._client.delete("leases", lease_name(key), resource_version=version)
            except Exception as error:
                if getattr(error, "status", None) == 409:  # a renewal came between
                    continue
                if getattr(error, "status", None) != 404:
                    raise
            return True

    def release_lock(self, key: str, holder: str) -> None:
        """Delete the Lease."""
        if not self._let_go(key, holder):
            raise not_held(key, holder)

    def is_locked(self, key: str) -> bool:
        """Whether there is a Lease that its holder has renewed lately, by its holder's clock."""
        lease = self._read(key)
        if lease is None or not lease["spec"].get("holderIdentity"):
            return False
        renewed = datetime.fromisoformat(lease["spec"]["renewTime"].replace("Z", "+00:00"))
        return datetime.now(UTC) < renewed + timedelta(seconds=lease["spec"]["leaseDurationSeconds"])

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """Whether this holder holds it, as far as this process knows."""
        with self._table:
            held = self._held.get(key)
            return held is not None and held[0] == holder and (held[2] is None or held[2] > monotonic())

    def close(self) -> None:
        """End the renewals; what is held is free after `lease_seconds`."""
        self._stop.set()
        if self._renewer is not None:
            self._renewer.join()

    def __reduce__(self) -> Any:
        return LeaseLockManager, ()


def lease_name(key: str) -> str:
    """The name of a key's Lease."""
    return f"penstock-lock-{sha256(key.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
