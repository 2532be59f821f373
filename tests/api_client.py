"""A small client of a real API server for tests: raw objects in and out, and refusals as values to assert on."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from penstock.api import kinds, labels

Json = dict[str, Any]

_CORE = {
    "Node": "nodes",
    "Namespace": "namespaces",
    "ServiceAccount": "serviceaccounts",
    "Pod": "pods",
    "ConfigMap": "configmaps",
}
_GROUPS = {
    "Job": ("batch/v1", "jobs"),
    "ControllerRevision": ("apps/v1", "controllerrevisions"),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "ClusterRole": ("rbac.authorization.k8s.io/v1", "clusterroles"),
    "ClusterRoleBinding": ("rbac.authorization.k8s.io/v1", "clusterrolebindings"),
    "Event": ("events.k8s.io/v1", "events"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Role": ("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings"),
    "ValidatingAdmissionPolicy": ("admissionregistration.k8s.io/v1", "validatingadmissionpolicies"),
    "ValidatingAdmissionPolicyBinding": ("admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings"),
    **{kind.about.kind: (labels.API_VERSION, kind.about.plural) for kind in kinds.ALL},
}


class Refused(Exception):
    """The API server said no: its code, reason and message."""

    def __init__(self, answer: httpx.Response) -> None:
        status = answer.json()
        self.code: int = answer.status_code
        self.reason: str = status.get("reason", "")
        self.message: str = status.get("message", "")
        self.fields = [cause.get("field", "") for cause in (status.get("details") or {}).get("causes") or []]
        super().__init__(f"{self.code} {self.reason}: {self.message}")


def _path(kind: str, namespace: str | None, name: str | None, subresource: str | None) -> str:
    version, plural = ("v1", _CORE[kind]) if kind in _CORE else _GROUPS[kind]
    parts = ["api" if version == "v1" else "apis", version]
    parts += ["namespaces", namespace] if namespace else []
    parts += [plural, *([name] if name else []), *([subresource] if subresource else [])]
    return "/" + "/".join(parts)


class ApiClient:
    """One identity's connection: the administrator's of a kubeconfig with files, or a bearer token's."""

    def __init__(self, kubeconfig: Path, token: str | None = None) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.kubeconfig = kubeconfig
        context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        if token is None:
            context.load_cert_chain(user["client-certificate"], user["client-key"])
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        # Several threads share it: a connection that is idle for too long may be closed by one while another takes it.
        limits = httpx.Limits(keepalive_expiry=None)
        self.http = httpx.Client(
            base_url=cluster["server"], verify=context, headers=headers, timeout=30, trust_env=False, limits=limits
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def request(self, method: str, path: str, **options: Any) -> Json:
        """The answer's body; `Refused` on any code but success."""
        answer = self.http.request(method, path, **options)
        if answer.is_error:
            raise Refused(answer)
        body: Json = answer.json()
        return body

    def create(self, body: Json, *, subresource: str | None = None, dry_run: bool = False) -> Json:
        """Create `body` in its own namespace; a subresource is posted to the object it names."""
        metadata = body["metadata"]
        name = metadata["name"] if subresource else None
        path = _path(body["kind"], metadata.get("namespace"), name, subresource)
        return self.request("POST", path, json=body, params={"dryRun": "All"} if dry_run else {})

    def get(self, kind: str, namespace: str | None, name: str) -> Json:
        return self.request("GET", _path(kind, namespace, name, None))

    def list(self, kind: str, namespace: str | None, **parameters: str) -> Json:
        return self.request("GET", _path(kind, namespace, None, None), params=parameters)

    def table(self, kind: str, namespace: str) -> Json:
        """The list as `kubectl get` asks for it: columnDefinitions and rows."""
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        return self.request("GET", _path(kind, namespace, None, None), headers={"Accept": accept})

    def merge(self, kind: str, namespace: str | None, name: str, patch: Json, subresource: str | None = None) -> Json:
        """JSON merge patch, as `kubectl patch --type merge`."""
        return self._patch("merge-patch", kind, namespace, name, patch, subresource, False)

    def patch(
        self,
        kind: str,
        namespace: str | None,
        name: str,
        operations: Sequence[Json],
        subresource: str | None = None,
        dry_run: bool = False,
    ) -> Json:
        """JSON patch."""
        return self._patch("json-patch", kind, namespace, name, operations, subresource, dry_run)

    def apply(self, body: Json) -> Json:
        """Server-side apply."""
        path = _path(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"], None)
        options = {"fieldManager": "tests", "force": "true"}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        return self.request("PATCH", path, content=json.dumps(body), params=options, headers=headers)

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        self.request("DELETE", _path(kind, namespace, name, None), params={"gracePeriodSeconds": "0"})

    def _patch(
        self,
        form: str,
        kind: str,
        namespace: str | None,
        name: str,
        patch: Any,
        subresource: str | None,
        dry_run: bool,
    ) -> Json:
        return self.request(
            "PATCH",
            _path(kind, namespace, name, subresource),
            content=json.dumps(patch),
            params={"dryRun": "All"} if dry_run else {},
            headers={"Content-Type": f"application/{form}+json"},
        )
