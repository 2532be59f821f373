"""The SDK's network code outside of pods: a small client of the API server on httpx. Imported by what needs a cluster.

Who we are and where the server is, `kubeconfig` says; what the objects mean, the caller knows.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import quote

import httpx

from .api import labels
from .errors import PenstockError
from .kubeconfig import Access, ClusterUnavailable
from .yaml_text import dump

Body = dict[str, Any]
FIELD_MANAGER = "penstock"
PAGE = 500  # objects in one answer to a list
BUSY_TRIES = 5  # requests in all, where the server is too busy (429)
BUSY_SECONDS = 5.0  # at most between two of them


class ApiError(PenstockError):
    """The API server refused."""

    reason = "ApiError"

    def __init__(self, status: int, message: str, reason: str = "", causes: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.status, self.api_reason = status, reason
        self.causes = causes
        """Fields that are at fault, and why, as far as the server says."""


class NotFound(ApiError):
    """There is no such object."""

    reason = "NotFound"


class AlreadyExists(ApiError):
    """The name is taken."""

    reason = "AlreadyExists"


class Conflict(ApiError):
    """Somebody else has changed it, or has said the fields in `causes` otherwise."""

    reason = "Conflict"


def path(kind: str, namespace: str, name: str | None = None, subresource: str | None = None) -> str:
    """URL path of Penstock's resources by plural, and of pods, Secrets, Events and Leases."""
    root = {
        "pods": "/api/v1",
        "secrets": "/api/v1",
        "events": "/apis/events.k8s.io/v1",
        "leases": "/apis/coordination.k8s.io/v1",
        "controllerrevisions": "/apis/apps/v1",
    }.get(kind, f"/apis/{labels.API_VERSION}")
    if name == "":
        raise ValueError(f"an empty name would mean all {kind}")
    parts = [root, "namespaces", quote(namespace, safe=""), kind]
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)


class Client:
    """Requests to one namespace; use as a context manager. Every refusal is an `ApiError` with the server's words."""

    def __init__(self, access: Access, namespace: str | None = None) -> None:
        self.namespace = namespace or access.namespace
        self._server = access.server
        # In a request's extensions; the URL stays the server's.
        self._extensions = {"sni_hostname": access.tls_server_name} if access.tls_server_name else {}
        try:
            self._http = httpx.Client(
                base_url=access.server,
                verify=access.verify,
                headers=dict(access.headers),
                timeout=30,
                trust_env=False,
                proxy=access.proxy,
                transport=httpx.HTTPTransport(uds=access.socket) if access.socket else None,
            )
        except (httpx.InvalidURL, ValueError, ImportError) as error:
            raise ClusterUnavailable(
                f"kubeconfig: server {access.server}, proxy-url {access.proxy}: {error}"
            ) from error

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def get(self, kind: str, name: str) -> Body:
        """One object. Raises NotFound."""
        return self._json("GET", path(kind, self.namespace, name))

    def names(self, kind: str) -> list[str]:
        """Names of all objects of a kind, the newest first; only their metadata is sent."""
        headers = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
        found = [body["metadata"] for body in self._pages(kind, {}, headers)]
        found.sort(key=lambda about: (about["creationTimestamp"], about["name"]), reverse=True)
        return [about["name"] for about in found]

    def list(self, kind: str, *, label_selector: str = "", field_selector: str = "") -> list[Body]:
        """All objects of a kind, by pages."""
        return list(self._pages(kind, {"labelSelector": label_selector, "fieldSelector": field_selector}))

    def _pages(self, kind: str, query: dict[str, str], headers: dict[str, str] | None = None) -> Iterator[Body]:
        token = ""
        while True:
            given = {**query, "limit": str(PAGE), "continue": token}
            params = {key: value for key, value in given.items() if value}
            body = self._json("GET", path(kind, self.namespace), params=params, headers=headers)
            yield from body.get("items") or []
            token = body["metadata"].get("continue") or ""
            if not token:
                return

    def apply(self, body: Body, *, dry_run: bool = False, manager: str = FIELD_MANAGER, force: bool = True) -> Body:
        """Server-side apply: `manager` owns the fields that are named, and no longer those that it named before.

        With `force` it takes over what others have said otherwise; without, that is a `Conflict`.
        """
        query = {"fieldManager": manager, "force": str(force).lower(), **({"dryRun": "All"} if dry_run else {})}
        where = path(f"{body['kind'].lower()}s", self.namespace, body["metadata"]["name"])
        headers = {"Content-Type": "application/apply-patch+yaml"}
        # The server reads this as YAML, for which JSON's escapes of characters such as emoji are errors.
        return self._json("PATCH", where, params=query, content=dump([body]), headers=headers)

    def create(self, body: Body) -> Body:
        """Create an object. Raises AlreadyExists."""
        return self._json("POST", path(f"{body['kind'].lower()}s", self.namespace), json=body)

    def merge(self, kind: str, name: str, change: Body) -> Body:
        """Merge-patch an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._json("PATCH", path(kind, self.namespace, name), content=json.dumps(change), headers=headers)

    def patch(
        self, kind: str, name: str, operations: Sequence[Body], *, manager: str = "", dry_run: bool = False
    ) -> Body:
        """JSON-patch an object, as field manager `manager` where one is given."""
        asked = {"fieldManager": manager, "dryRun": "All" if dry_run else ""}
        params = {key: value for key, value in asked.items() if value}
        headers = {"Content-Type": "application/json-patch+json"}
        where = path(kind, self.namespace, name)
        return self._json("PATCH", where, params=params, content=json.dumps(operations), headers=headers)

    def delete(self, kind: str, name: str, *, resource_version: str | None = None) -> None:
        """Delete an object; with `resource_version`, only if it is of this version."""
        options = {} if resource_version is None else {"json": {"preconditions": {"resourceVersion": resource_version}}}
        self._json("DELETE", path(kind, self.namespace, name), **options)

    def watch(self, kind: str, name: str, resource_version: str, seconds: int) -> Iterator[Body]:
        """Watch events of one object, for so long; ends without an error when the connection is cut."""
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={name}",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(seconds),
        }
        try:
            with self._stream(path(kind, self.namespace), query, seconds + 10) as answer:
                if answer.status_code in _PASSING or answer.status_code >= 500:
                    return
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                for line in _lines(answer):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        return
                    if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                        yield event
        except (httpx.HTTPError, json.JSONDecodeError):  # the latter: the last line was cut
            return

    def logs(self, pod: str, container: str, *, follow: bool = False) -> Iterator[str]:
        """Lines of a container's log."""
        query = {"container": container, **({"follow": "true"} if follow else {})}
        where = path("pods", self.namespace, pod, "log")
        try:
            with self._stream(where, query, None if follow else 60) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                for line in _lines(answer):
                    yield line.decode(errors="replace")
        except httpx.HTTPError as error:
            raise ClusterUnavailable(f"the log of pod {pod} broke off: {_said(error)}") from error

    def _stream(
        self, where: str, query: dict[str, str], timeout: float | None
    ) -> AbstractContextManager[httpx.Response]:
        return self._http.stream("GET", where, params=query, timeout=timeout, extensions=self._extensions)

    def _json(self, method: str, where: str, **request: Any) -> Body:
        for _ in range(BUSY_TRIES):
            try:
                answer = self._http.request(method, where, extensions=self._extensions, **request)
            except httpx.HTTPError as error:
                raise ClusterUnavailable(
                    f"the API server at {self._server} cannot be reached: {_said(error)}"
                ) from error
            wait = _busy(answer)
            if wait is None:
                break
            time.sleep(wait)
        if answer.status_code >= 400:
            raise _error(answer)
        body = _object(answer)
        if body is None:
            kind = answer.headers.get("content-type", "nothing")
            raise ClusterUnavailable(f"{self._server} is no API server: it answers {answer.status_code} with {kind}")
        return body


_PASSING = (408, 410, 429)  # refusals that a later request need not meet


def _busy(answer: httpx.Response) -> float | None:
    """Seconds after which an overloaded server, which did nothing yet, wants to be asked again."""
    after = answer.headers.get("retry-after", "")
    return min(float(after), BUSY_SECONDS) if answer.status_code == 429 and after.isdecimal() else None


def _lines(answer: httpx.Response) -> Iterator[bytes]:
    """Lines as they come. httpx's own would also end at the other line separators of Unicode, which texts may hold."""
    rest = b""
    for part in answer.iter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__


def _object(answer: httpx.Response) -> Body | None:
    try:
        body = answer.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _error(answer: httpx.Response) -> ApiError:
    body = _object(answer)
    if answer.status_code == 404 and labels.API_VERSION in answer.url.path and not (body and body.get("details")):
        # Not the object is missing but its kind, or the whole group; a missing object's answer says which.
        return NotFound(404, "Penstock's resources are not in this cluster: install its chart first", "NotInstalled")
    message, reason = (body or {}).get("message") or f"HTTP {answer.status_code}", (body or {}).get("reason") or ""
    if answer.status_code == 401:
        message += ": the API server does not know these credentials; they may have expired"
    kinds: dict[str, type[ApiError]] = {"NotFound": NotFound, "AlreadyExists": AlreadyExists, "Conflict": Conflict}
    told = ((body or {}).get("details") or {}).get("causes") or []
    causes = [(str(cause.get("field", "")), str(cause.get("message", ""))) for cause in told]
    return kinds.get(reason, ApiError)(answer.status_code, message, reason, causes)
