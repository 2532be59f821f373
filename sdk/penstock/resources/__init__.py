"""The seam between artifacts, variables and blocks and the place where they are kept.

`current()` chooses the place: in a run's pod the API server, as the run's service account; elsewhere files in the
folder of the setting `home`, or, where the setting `api` says so, the cluster of the kubeconfig. Bodies are Kubernetes
manifests in all of them. What the bodies mean is their modules' part; nothing here knows it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Protocol

from ..api import labels
from ..settings import get_current_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

Body = dict[str, Any]
KINDS = {"Artifact": "artifacts", "Variable": "variables", "Block": "blocks", "Secret": "secrets"}


class Resources(Protocol):
    """Objects of one namespace, by plural and name."""

    place: str
    """Where they are, for messages."""
    update_interval: float
    """Seconds that updates of one progress artifact are apart at least; 0 where writing costs nothing."""
    run: Body | None
    """Name and uid of the FlowRun whose pod this is."""

    def close(self) -> None:
        """Let go of connections."""

    def get(self, plural: str, name: str) -> Body | None:
        """The object, or None."""

    def list(self, plural: str) -> list[Body]:
        """All of a kind."""

    def create(self, body: Body) -> Body:
        """Create an object; as it is then. Raises ResourceExists."""

    def change(self, plural: str, name: str, fields: Mapping[str, Any]) -> Body:
        """Set fields by JSON pointer, each replaced whole; the object as it is then. Raises ResourceNotFound."""

    def delete(self, plural: str, name: str) -> bool:
        """Delete an object; whether it was there."""


def body_of(kind: str, name: str, spec: Body) -> Body:
    """The manifest of an object."""
    labelled = {labels.MANAGED_BY: labels.MANAGED_BY_VALUE}
    return {
        "apiVersion": labels.API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "labels": labelled},
        "spec": spec,
    }


def in_pod() -> bool:
    """Whether this process belongs to a run's pod that the operator made."""
    return labels.ENV_RUN in os.environ and labels.ENV_POD_UID in os.environ


_current: tuple[tuple[int, str], Resources] | None = None


def current() -> Resources:
    """Where this process keeps its resources. A forked child gets connections of its own."""
    global _current
    choice = _choice()
    known = (os.getpid(), choice)
    if _current is None or _current[0] != known:
        if _current is not None and _current[0][0] == os.getpid():
            _current[1].close()
        _current = (known, _open(choice))
    return _current[1]


def _choice() -> str:
    """What decides of the place, so that a change of the environment is seen."""
    if in_pod():
        return f"pod {os.environ[labels.ENV_POD_UID]}"
    if get_current_settings().api == "cluster":
        return f"cluster {os.environ.get('KUBECONFIG')} {os.environ.get(labels.ENV_NAMESPACE)}"
    from .local import home

    return f"local {home()}"


def _open(choice: str) -> Resources:
    if choice.startswith("pod "):
        from ..runner.assignment import Assignment
        from ..runner.connection import Api
        from .pod import PodResources

        return PodResources(Api.from_environment(), Assignment())
    if choice.startswith("local "):
        from .local import LocalResources, home

        return LocalResources(home())
    from ..client import Client
    from ..kubeconfig import access
    from .cluster import ClusterResources

    return ClusterResources(Client(access()))
