"""Locks by Leases, against a real API server."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from lock_contract import LockContract
from penstock.client import Client
from penstock.kubeconfig import access
from penstock.locking.kubernetes import KEY, LeaseLockManager, lease_name
from penstock.locking.protocol import LockManager


@pytest.fixture
def clients(control_plane: Any, namespace: str) -> Iterator[Any]:
    """Makes clients of one namespace, each as another pod would have it."""
    made: list[Client] = []

    def make() -> Client:
        made.append(Client(access(str(control_plane.kubeconfig)), namespace))
        return made[-1]

    yield make
    for client in made:
        client.__exit__()


@pytest.fixture
def managers(clients: Any) -> Iterator[Any]:
    made: list[LeaseLockManager] = []

    def make(seconds: int = 30) -> LeaseLockManager:
        made.append(LeaseLockManager(clients(), lease_seconds=seconds))
        return made[-1]

    yield make
    for manager in made:
        manager.close()


class TestLeases(LockContract):
    """Two managers of one namespace; what their holders hold for too long is let go when it would be renewed."""

    @pytest.fixture
    def locks(self, managers: Any) -> LockManager:
        return managers(3)

    @pytest.fixture
    def others(self, managers: Any) -> LockManager:
        return managers(3)


def test_the_lease_tells_who_holds_what(clients: Any, managers: Any) -> None:
    client, locks = clients(), managers()
    key = f"any/key {uuid.uuid4()}"
    locks.acquire_lock(key, "me")
    lease = client.get("leases", lease_name(key))
    assert lease["spec"]["holderIdentity"] == "me"
    assert lease["spec"]["leaseDurationSeconds"] == 30
    assert lease["metadata"]["annotations"][KEY] == key
    locks.release_lock(key, "me")
    assert client.list("leases") == []


def test_a_lock_outlives_its_lease_while_its_holder_lives(managers: Any) -> None:
    locks, others = managers(1), managers(1)
    assert locks.acquire_lock("k", "me")
    assert not others.acquire_lock("k", "you", acquire_timeout=2.5)
    assert locks.is_lock_holder("k", "me")
    locks.release_lock("k", "me")


def test_a_lock_of_a_process_that_is_gone_is_taken_over(managers: Any, caplog: pytest.LogCaptureFixture) -> None:
    dead, others = managers(1), managers(1)
    assert dead.acquire_lock("k", "dead")
    dead.close()
    assert others.acquire_lock("k", "you", acquire_timeout=60)
    assert others.is_lock_holder("k", "you")
    others.release_lock("k", "you")


def test_a_lock_that_was_taken_away_is_known_to_be_lost(clients: Any, managers: Any) -> None:
    """Somebody deletes the Lease: the next renewal finds out."""
    locks = managers(1)
    locks.acquire_lock("k", "me")
    clients().delete("leases", lease_name("k"))
    gone = threading.Event()
    for _ in range(600):
        if not locks.is_lock_holder("k", "me"):
            break
        gone.wait(0.05)
    assert not locks.is_lock_holder("k", "me")
    with pytest.raises(ValueError, match="not held"):
        locks.release_lock("k", "me")


def test_deleting_with_a_version_spares_a_changed_object(clients: Any) -> None:
    client = clients()
    body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"}, "spec": {}}
    version = client.create(body)["metadata"]["resourceVersion"]
    client.merge("leases", "l", {"spec": {"holderIdentity": "x"}})
    with pytest.raises(Exception, match=r"[Pp]recondition") as caught:
        client.delete("leases", "l", resource_version=version)
    assert caught.value.status == 409  # type: ignore[attr-defined]
    client.delete("leases", "l", resource_version=client.get("leases", "l")["metadata"]["resourceVersion"])
