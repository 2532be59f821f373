"""Resources of a namespace for people: over the SDK's client, with the rights of their kubeconfig.

Used by the command line, and by code outside of pods that asks for it with `PENSTOCK_API=cluster`.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..client import AlreadyExists, ApiError, Client, NotFound
from ..errors import InvalidResource, ResourceExists, ResourceNotFound, ResourceRefused
from . import KINDS, Body

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class ClusterResources:
    """The resources of the client's namespace."""

    update_interval = 1.0
    run: Body | None = None

    def __init__(self, client: Client) -> None:
        self._client = client
        self.place = f"namespace {client.namespace}"

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()

    def get(self, plural: str, name: str) -> Body | None:
        """The object, or None."""
        try:
            with self._translated(plural, name):
                return self._client.get(plural, name)
        except ResourceNotFound:
            return None

    def list(self, plural: str) -> list[Body]:
        """All of a kind."""
        with self._translated(plural, ""):
            return self._client.list(plural)

    def create(self, body: Body) -> Body:
        """Create an object. Raises ResourceExists."""
        with self._translated(KINDS[body["kind"]], body["metadata"]["name"]):
            return self._client.create(body)

    def change(self, plural: str, name: str, fields: Mapping[str, Any]) -> Body:
        """Set fields by JSON pointer. Raises ResourceNotFound."""
        operations = [{"op": "add", "path": path, "value": value} for path, value in fields.items()]
        with self._translated(plural, name):
            return self._client.patch(plural, name, operations)

    def delete(self, plural: str, name: str) -> bool:
        """Delete an object; whether it was there."""
        try:
            with self._translated(plural, name):
                self._client.delete(plural, name)
        except ResourceNotFound:
            return False
        return True

    @contextmanager
    def _translated(self, plural: str, name: str) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            if error.api_reason == "NotInstalled":
                raise
            raise ResourceNotFound(f"{plural}/{name} is not in {self.place}") from error
        except AlreadyExists as error:
            raise ResourceExists(f"{plural}/{name} exists in {self.place}") from error
        except ApiError as error:
            if error.status == 403:
                raise ResourceRefused(f"{plural}/{name}: {error}") from error
            if error.status in (400, 413, 422):
                raise InvalidResource(f"{plural}/{name}: {error}") from error
            raise
