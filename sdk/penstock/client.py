"""The SDK's network code outside of pods: a small client of the API server on httpx. Imported by what needs a cluster.

Credentials come from the kubeconfig, or from the pod's service account. Certificates, tokens and passwords are read
here; kubeconfigs with an exec or auth-provider plugin go through the official `kubernetes` client, which knows them
all but takes half a second to import.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from .api import labels
from .exceptions import PenstockError

Body = dict[str, Any]
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
FIELD_MANAGER = "penstock"


class ClusterUnavailable(PenstockError):
    """The API server cannot be reached, or nothing says where it is."""

    reason = "ClusterUnavailable"


class ApiError(PenstockError):
    """The API server refused."""

    reason = "ApiError"

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status, self.api_reason = status, reason


class NotFound(ApiError):
    """There is no such object."""

    reason = "NotFound"


class AlreadyExists(ApiError):
    """The name is taken."""

    reason = "AlreadyExists"


class Access:
    """Where the API server is, who we are, and the namespace that is meant when none is named."""

    def __init__(self, server: str, verify: ssl.SSLContext | bool, headers: Mapping[str, str], namespace: str) -> None:
        self.server, self.verify, self.headers, self.namespace = server, verify, headers, namespace


def access(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Access by an explicit kubeconfig, KUBECONFIG, ~/.kube/config or the pod's account. Raises ClusterUnavailable."""
    paths = [path for path in (kubeconfig or os.environ.get("KUBECONFIG") or "").split(os.pathsep) if path]
    default = Path.home() / ".kube/config"
    if not paths and (_service_account() / "token").exists() and context is None:
        return _in_cluster()
    if not paths and default.exists():
        paths = [str(default)]
    if not paths:
        raise ClusterUnavailable("no cluster: set KUBECONFIG, or give --kubeconfig")
    return _from_kubeconfig(paths, context)


def _service_account() -> Path:
    """Where the pod's token is; PENSTOCK_SERVICE_ACCOUNT says otherwise, as for the runner."""
    return Path(os.environ.get("PENSTOCK_SERVICE_ACCOUNT") or SERVICE_ACCOUNT)


def _in_cluster() -> Access:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    folder = _service_account()
    token = (folder / "token").read_text().strip()
    verify = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    namespace = (folder / "namespace").read_text().strip()
    return Access(f"https://{host}:{port}", verify, {"Authorization": f"Bearer {token}"}, namespace)


def _from_kubeconfig(paths: list[str], context: str | None) -> Access:
    found: dict[str, dict[str, Body]] = {"contexts": {}, "clusters": {}, "users": {}}
    current = context
    for path in paths:
        file = Path(path).expanduser()
        try:
            body = yaml.safe_load(file.read_text()) or {}
        except FileNotFoundError as error:
            raise ClusterUnavailable(
                f"kubeconfig {file} does not exist: set KUBECONFIG, or give --kubeconfig"
            ) from error
        except (OSError, yaml.YAMLError) as error:
            raise ClusterUnavailable(f"kubeconfig {file} cannot be read: {error}") from error
        current = current or body.get("current-context")
        for kind, items in found.items():
            for item in body.get(kind) or []:
                items.setdefault(item["name"], {**(item.get(kind[:-1]) or {}), "_folder": str(file.parent)})
    if not current or current not in found["contexts"]:
        known = ", ".join(found["contexts"]) or "none"
        raise ClusterUnavailable(f"kubeconfig context {current!r} does not exist; there is {known}")
    chosen = found["contexts"][current]
    cluster, user = found["clusters"].get(chosen.get("cluster") or ""), found["users"].get(chosen.get("user") or "", {})
    if cluster is None:
        raise ClusterUnavailable(
            f"kubeconfig context {current} names cluster {chosen.get('cluster')!r}, which is not there"
        )
    namespace = chosen.get("namespace") or "default"
    if "exec" in user or "auth-provider" in user:
        return _by_plugin(paths, current, cluster, namespace)
    headers = {}
    if user.get("token") or user.get("tokenFile"):
        headers["Authorization"] = f"Bearer {user.get('token') or Path(user['tokenFile']).read_text().strip()}"
    elif user.get("username"):
        pair = f"{user['username']}:{user.get('password', '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
    return Access(cluster["server"], _verify(cluster, user), headers, namespace)


def _verify(cluster: Body, user: Body) -> ssl.SSLContext:
    authority = cluster.get("certificate-authority-data")
    context = ssl.create_default_context(
        cafile=_path(cluster, "certificate-authority"),
        cadata=base64.b64decode(authority).decode() if authority else None,
    )
    if cluster.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with _file(user, "client-certificate") as certificate, _file(user, "client-key") as key:
        if certificate:
            context.load_cert_chain(certificate, key)
    return context


def _path(body: Body, name: str) -> str | None:
    return str(Path(body["_folder"]) / body[name]) if body.get(name) else None


@contextmanager
def _file(body: Body, name: str) -> Iterator[str | None]:
    """The path of a credential; one that stands in the kubeconfig itself is a file only for this moment."""
    data = body.get(f"{name}-data")
    if not data:
        yield _path(body, name)
        return
    with tempfile.NamedTemporaryFile() as file:
        file.write(base64.b64decode(data))
        file.flush()
        yield file.name


def _by_plugin(paths: list[str], context: str, cluster: Body, namespace: str) -> Access:
    import kubernetes

    configuration = kubernetes.client.Configuration()
    load: Any = kubernetes.config.load_kube_config
    load(os.pathsep.join(paths), context, configuration)
    headers = {}
    bearer = configuration.get_api_key_with_prefix("authorization")
    if bearer:
        headers["Authorization"] = bearer
    user = {"_folder": "/", "client-certificate": configuration.cert_file, "client-key": configuration.key_file}
    return Access(configuration.host, _verify(cluster, user), headers, namespace)


def path(kind: str, namespace: str, name: str | None = None, subresource: str | None = None) -> str:
    """URL path of Penstock's resources by plural, and of pods, Secrets, Events and Leases."""
    root = {
        "pods": "/api/v1",
        "secrets": "/api/v1",
        "events": "/apis/events.k8s.io/v1",
        "leases": "/apis/coordination.k8s.io/v1",
    }.get(kind, f"/apis/{labels.API_VERSION}")
    parts = [root, "namespaces", namespace, kind, *(part for part in (name, subresource) if part)]
    return "/".join(parts)


class Client:
    """Requests to one namespace; use as a context manager. Every refusal is an `ApiError` with the server's words."""

    def __init__(self, access: Access, namespace: str | None = None) -> None:
        self.namespace = namespace or access.namespace
        self._http = httpx.Client(
            base_url=access.server, verify=access.verify, headers=dict(access.headers), timeout=30, trust_env=False
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, kind: str, name: str) -> Body:
        """One object. Raises NotFound."""
        return self._json("GET", path(kind, self.namespace, name))

    def list(self, kind: str, *, label_selector: str = "", field_selector: str = "") -> list[Body]:
        """All objects of a kind, by pages."""
        items: list[Body] = []
        token = ""
        while True:
            query = {
                "labelSelector": label_selector,
                "fieldSelector": field_selector,
                "limit": "500",
                "continue": token,
            }
            body = self._json("GET", path(kind, self.namespace), params={k: v for k, v in query.items() if v})
            items += body.get("items") or []
            token = body["metadata"].get("continue") or ""
            if not token:
                return items

    def apply(self, body: Body, *, dry_run: bool = False) -> Body:
        """Server-side apply: we own the fields we name, and take them over."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        where = path(f"{body['kind'].lower()}s", self.namespace, body["metadata"]["name"])
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self._json("PATCH", where, params=query, content=json.dumps(body), headers=headers)

    def create(self, body: Body) -> Body:
        """Create an object. Raises AlreadyExists."""
        return self._json("POST", path(f"{body['kind'].lower()}s", self.namespace), json=body)

    def merge(self, kind: str, name: str, change: Body) -> Body:
        """Merge-patch an object."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self._json("PATCH", path(kind, self.namespace, name), content=json.dumps(change), headers=headers)

    def patch(self, kind: str, name: str, operations: Sequence[Body]) -> Body:
        """JSON-patch an object."""
        headers = {"Content-Type": "application/json-patch+json"}
        where = path(kind, self.namespace, name)
        return self._json("PATCH", where, content=json.dumps(operations), headers=headers)

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
            with self._http.stream("GET", path(kind, self.namespace), params=query, timeout=seconds + 10) as answer:
                if answer.status_code >= 400:
                    return
                for line in answer.iter_lines():
                    event = json.loads(line)
                    if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
                        yield event
                    elif event["type"] == "ERROR":
                        return
        except httpx.HTTPError:
            return

    def logs(self, pod: str, container: str, *, follow: bool = False) -> Iterator[str]:
        """Lines of a container's log."""
        query = {"container": container, **({"follow": "true"} if follow else {})}
        where = path("pods", self.namespace, pod, "log")
        try:
            with self._http.stream("GET", where, params=query, timeout=None if follow else 60) as answer:
                if answer.status_code >= 400:
                    answer.read()
                    raise _error(answer)
                yield from answer.iter_lines()
        except httpx.HTTPError as error:
            raise ClusterUnavailable(f"the log of pod {pod} broke off: {error}") from error

    def _json(self, method: str, where: str, **request: Any) -> Body:
        try:
            answer = self._http.request(method, where, **request)
        except httpx.HTTPError as error:
            raise ClusterUnavailable(f"the API server at {self._http.base_url} cannot be reached: {error}") from error
        if answer.status_code >= 400:
            raise _error(answer)
        body: Body = answer.json()
        return body


def _error(answer: httpx.Response) -> ApiError:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    message, reason = body.get("message") or f"HTTP {answer.status_code}", body.get("reason") or ""
    kind: type[ApiError] = {"NotFound": NotFound, "AlreadyExists": AlreadyExists}.get(reason, ApiError)
    if answer.status_code == 404 and "the server could not find" in message:
        return NotFound(404, "Penstock's resources are not in this cluster: install its chart first", "NotInstalled")
    return kind(answer.status_code, message, reason)
