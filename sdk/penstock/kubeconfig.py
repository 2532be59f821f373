"""Where the API server is and who we are: from a kubeconfig, or from the account of the pod we are in.

Called by the command line, and by code that uses `Client` itself. Nothing is sent from here, but a login plugin of the
kubeconfig may. `auth-provider` plugins are the official `kubernetes` client's, which takes half a second to import;
all else is read here.
"""

from __future__ import annotations

import base64
import os
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .errors import PenstockError
from .exec_credentials import PluginFailed, credentials
from .settings import get_current_settings

Body = dict[str, Any]
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
NONE = "no cluster: set KUBECONFIG, or give --kubeconfig"


class ClusterUnavailable(PenstockError):
    """The API server cannot be reached, or nothing says where it is."""

    reason = "ClusterUnavailable"


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is, who we are, and the namespace that is meant when none is named."""

    server: str
    verify: ssl.SSLContext
    headers: Mapping[str, str]
    namespace: str
    proxy: str | None = None
    tls_server_name: str | None = None
    socket: str | None = None
    """Path of a unix socket that speaks for the API server: the agent's of a warm worker."""


def access(kubeconfig: str | None = None, context: str | None = None) -> Access:
    """Access by, in this order: `kubeconfig`, the agent of the worker we run in, KUBECONFIG, ~/.kube/config, the pod's
    account.

    Raises `ClusterUnavailable`, which names the file, the entry in it and the field.
    """
    agent = os.environ.get("PENSTOCK_API_SOCKET")
    if agent and kubeconfig is None and context is None:
        return _by_agent(agent)
    found, settings = _of_files(kubeconfig, context), get_current_settings()
    namespace = settings.namespace or found.namespace
    server = settings.api_server or found.server
    if found.headers.get("Authorization") and not _private(server):
        raise ClusterUnavailable(f"{server}: your credentials are not sent in the clear; use https://, or a tunnel")
    return replace(found, namespace=namespace, server=server)


def _private(server: str) -> bool:
    """Whether nobody reads along: by TLS, or on this machine."""
    url = urlsplit(server)
    if url.scheme == "https":
        return True
    try:
        return ip_address(url.hostname or "").is_loopback
    except ValueError:
        return url.hostname == "localhost"


def _of_files(kubeconfig: str | None, context: str | None) -> Access:
    named = [kubeconfig] if kubeconfig else os.environ.get("KUBECONFIG", "").split(os.pathsep)
    paths = [Path(os.path.expanduser(path)) for path in named if path]  # noqa: PTH111 - Path's raises without a home
    default = Path(os.path.expanduser("~/.kube/config"))  # noqa: PTH111
    if not paths and default.exists():
        paths = [default]
    if paths:
        return _from_kubeconfig(paths, context or get_current_settings().context)
    if context is None and (_service_account() / "token").exists():
        return _in_cluster()
    raise ClusterUnavailable(NONE)


def _by_agent(path: str) -> Access:
    namespace = os.environ.get("PENSTOCK_NAMESPACE") or "default"
    return Access("http://penstock-agent", _context(), {}, namespace, socket=path)


def _service_account() -> Path:
    """Where the pod's token is; PENSTOCK_SERVICE_ACCOUNT says otherwise, as for the runner."""
    return Path(os.environ.get("PENSTOCK_SERVICE_ACCOUNT") or SERVICE_ACCOUNT)


def _in_cluster() -> Access:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise ClusterUnavailable(f"{NONE} (there is a service account, but KUBERNETES_SERVICE_HOST is not set)")
    folder = _service_account()
    try:
        token = (folder / "token").read_text().strip()
        verify = _context(cafile=str(folder / "ca.crt"))
        namespace = (folder / "namespace").read_text().strip()
    except OSError as error:
        raise ClusterUnavailable(f"the pod's service account cannot be read: {error}") from error
    address = f"[{host}]" if ":" in host else host
    return Access(f"https://{address}:{port}", verify, {"Authorization": f"Bearer {token}"}, namespace)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A cluster, user or context of a kubeconfig: what it is called in messages, where its file is, what it says."""

    title: str
    folder: Path
    body: Body

    def text(self, field: str) -> str | None:
        value = self.body.get(field)
        return str(value) if value else None

    def path(self, field: str) -> str | None:
        """A file that the entry names, from the folder of its kubeconfig."""
        value = self.text(field)
        return str(self.folder / value) if value else None

    def read(self, field: str) -> bytes:
        """What the file holds that the entry names."""
        try:
            return Path(self.folder / self.body[field]).read_bytes()
        except OSError as error:
            raise self.bad(field, error) from error

    def bad(self, field: str, error: object) -> ClusterUnavailable:
        return ClusterUnavailable(f"kubeconfig {self.title}: {field}: {error}")

    @contextmanager
    def file(self, field: str) -> Iterator[str | None]:
        """The path of a credential; one that stands in the kubeconfig itself is a file only for this moment."""
        data = self.text(f"{field}-data")
        if not data:
            yield self.path(field)
            return
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.decoded(f"{field}-data"))
            file.flush()
            yield file.name

    def decoded(self, field: str) -> bytes:
        try:
            return base64.b64decode("".join(str(self.body[field]).split()), validate=True)
        except ValueError as error:
            raise self.bad(field, f"it is no base64: {error}") from error


def _from_kubeconfig(paths: Sequence[Path], context: str | None) -> Access:
    found, current = _merged(paths)
    current = context or current
    if not current and found["contexts"]:
        known = ", ".join(found["contexts"])
        raise ClusterUnavailable(f"kubeconfig {paths[0]} has no current-context: choose one with --context ({known})")
    if not current or current not in found["contexts"]:
        known = ", ".join(found["contexts"]) or "none"
        raise ClusterUnavailable(f"kubeconfig context {current!r} does not exist; there is {known}")
    chosen = found["contexts"][current]
    cluster = found["clusters"].get(chosen.text("cluster") or "")
    if cluster is None:
        raise chosen.bad("cluster", f"there is no cluster {chosen.text('cluster')!r} in {paths[0]}")
    named = chosen.text("user")
    user = found["users"].get(named) if named else _Entry("user", cluster.folder, {})
    if user is None:
        raise chosen.bad("user", f"there is no user {named!r} in {paths[0]}")
    server = cluster.text("server")
    if not server:
        raise cluster.bad("server", "it is missing")
    namespace = chosen.text("namespace") or "default"
    further = (namespace, cluster.text("proxy-url"), cluster.text("tls-server-name"))
    if user.body.get("exec"):
        user = _by_program(user, cluster)
    elif user.body.get("auth-provider"):
        user = _by_provider(paths, current, user)
    return Access(server, _verify(cluster, user), _headers(user), *further)


def _merged(paths: Sequence[Path]) -> tuple[dict[str, dict[str, _Entry]], str | None]:
    """Contexts, clusters and users by name, and the current context; the first file that has a name wins."""
    found: dict[str, dict[str, _Entry]] = {"contexts": {}, "clusters": {}, "users": {}}
    current: str | None = None
    existing = [path for path in paths if path.exists()]  # kubectl skips what is missing in a list of several
    for path in existing or paths[:1]:
        body = _read(path)
        current = current or body.get("current-context")
        for kind, entries in found.items():
            for item in body.get(kind) or []:
                if not isinstance(item, dict) or not item.get("name"):
                    raise ClusterUnavailable(f"kubeconfig {path}: {kind}: each entry needs a name")
                title = f"{kind[:-1]} {item['name']}"
                entries.setdefault(str(item["name"]), _Entry(title, path.parent, item.get(kind[:-1]) or {}))
    return found, current


def _read(path: Path) -> Body:
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError as error:
        raise ClusterUnavailable(f"kubeconfig {path} does not exist: set KUBECONFIG, or give --kubeconfig") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClusterUnavailable(f"kubeconfig {path} cannot be read: {error}") from error
    if not isinstance(body, dict):
        raise ClusterUnavailable(f"{path} is no kubeconfig: it holds a {type(body).__name__}")
    return body


def _headers(user: _Entry) -> dict[str, str]:
    token = user.read("tokenFile").decode().strip() if user.text("tokenFile") else user.text("token")
    if token:
        return {"Authorization": f"Bearer {token}"}
    if user.text("username"):
        pair = f"{user.text('username')}:{user.text('password') or ''}".encode()
        return {"Authorization": f"Basic {_encoded(pair)}"}
    return {}


def _verify(cluster: _Entry, user: _Entry) -> ssl.SSLContext:
    field = "certificate-authority"
    try:
        if cluster.text(f"{field}-data"):
            field += "-data"
            context = _context(cadata=cluster.decoded(field).decode())
        else:
            context = _context(cafile=cluster.path(field))
    except (OSError, ValueError) as error:
        raise cluster.bad(field, error) from error
    if cluster.body.get("insecure-skip-tls-verify"):
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    with user.file("client-certificate") as certificate, user.file("client-key") as key:
        try:
            if certificate:
                context.load_cert_chain(certificate, key)
        except OSError as error:
            raise user.bad("client-certificate, client-key", error) from error
    return context


def _context(cafile: str | None = None, cadata: str | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=cafile, cadata=cadata)
    # Python 3.13 asks for extensions that the certificates of many clusters do not have; kubectl does not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _by_program(user: _Entry, cluster: _Entry) -> _Entry:
    """The user as the program under `exec` says."""
    authority = cluster.path("certificate-authority")
    about = dict(cluster.body)
    if authority and user.body["exec"].get("provideClusterInfo") and not about.get("certificate-authority-data"):
        about["certificate-authority-data"] = _encoded(cluster.read("certificate-authority"))
    try:
        status = credentials(user.body["exec"], user.folder, about)
    except PluginFailed as error:
        raise user.bad("exec", error) from error
    found = {"token": status.get("token")}
    for name, field in (("client-certificate-data", "clientCertificateData"), ("client-key-data", "clientKeyData")):
        if status.get(field):
            found[name] = _encoded(status[field].encode())
    return _Entry(user.title, user.folder, found)


def _by_provider(paths: Sequence[Path], context: str, user: _Entry) -> _Entry:
    """The user as an `auth-provider` says, whose token it may renew in the kubeconfig."""
    import kubernetes

    configuration = kubernetes.client.Configuration()
    load: Any = kubernetes.config.load_kube_config
    try:
        load(os.pathsep.join(map(str, paths)), context, configuration)
    except Exception as error:  # a plugin fails in ways of its own
        raise user.bad("auth-provider", error) from error
    keys = configuration.api_key
    bearer = keys.get("BearerToken") or keys.get("authorization")  # its name in older versions
    if not bearer:
        raise user.bad("auth-provider", "it gave no token; log in again with its own program")
    return _Entry(user.title, user.folder, {"token": bearer.removeprefix("Bearer ")})


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
