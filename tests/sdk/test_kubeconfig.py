"""Every form of access that kubectl knows, on a real server: who arrives there, and what is said if nobody does."""

from __future__ import annotations

import base64
import json
import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from https_server import HttpsServer, Request, authority
from penstock import kubeconfig
from penstock.client import Client
from penstock.kubeconfig import Access, ClusterUnavailable, access
from penstock.settings import temporary_settings

Json = dict[str, Any]


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def server(pki: Path) -> Iterator[HttpsServer]:
    with HttpsServer(pki) as server:
        yield server


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without a kubeconfig, outside of any cluster."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path / "no-account")


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def config(where: HttpsServer, pki: Path, user: Json | None = None, **cluster: Any) -> Json:
    """A kubeconfig of one context."""
    about = {"server": where.url, "certificate-authority": str(pki / "ca.crt"), **cluster}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {key: value for key, value in about.items() if value is not None}}],
        "users": [{"name": "u", "user": user or {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
        "current-context": "x",
    }


def written(folder: Path, body: Any, name: str = "config") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(body if isinstance(body, str) else yaml.safe_dump(body))
    return str(path)


def program(folder: Path, status: Json) -> Json:
    """An `exec` of a program in this folder that answers with the status, and keeps what it was asked."""
    answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
    (folder / "answer.json").write_text(json.dumps(answer))
    path = folder / "login"
    path.write_text('#!/bin/sh\ncd "$(dirname "$0")"\necho "$KUBERNETES_EXEC_INFO" > asked.json\ncat answer.json\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"apiVersion": answer["apiVersion"], "command": "./login", "interactiveMode": "Never"}


def arrives(server: HttpsServer, found: Access) -> Request:
    """The request that a client with this access makes, as the server sees it."""
    with Client(found) as client:
        client.get("flowruns", "r")
    return server.last


class TestWhoArrives:
    """The credentials of a kubeconfig are those that the server sees."""

    def test_a_token(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        seen = arrives(server, access(written(tmp_path, config(server, pki, {"token": "secret"}))))
        assert seen.headers["authorization"] == "Bearer secret"
        assert seen.subject is None
        assert seen.path == "/apis/penstock.dev/v1alpha1/namespaces/team/flowruns/r"

    def test_a_token_file_beside_the_kubeconfig(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """Relative paths are the kubeconfig's, wherever the command is run."""
        (tmp_path / "token").write_text("from-file\n")
        seen = arrives(server, access(written(tmp_path, config(server, pki, {"tokenFile": "token"}))))
        assert seen.headers["authorization"] == "Bearer from-file"

    def test_the_token_file_wins_over_the_token(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """As for kubectl: the file is the one that is renewed."""
        (tmp_path / "token").write_text("new")
        user = {"tokenFile": str(tmp_path / "token"), "token": "old"}
        seen = arrives(server, access(written(tmp_path, config(server, pki, user))))
        assert seen.headers["authorization"] == "Bearer new"

    @pytest.mark.parametrize("where", ["http://10.0.0.1:8080", "http://localhost.example", "http://127.example"])
    def test_no_token_in_the_clear(self, where: str, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        path = written(tmp_path, config(server, pki, {"token": "secret"}))
        with (
            temporary_settings(api_server=where),
            pytest.raises(ClusterUnavailable, match="not sent in the clear; use https") as refused,
        ):
            access(path)
        assert "secret" not in str(refused.value)

    @pytest.mark.parametrize("where", ["http://127.0.0.1:8001", "http://[::1]:8001", "http://localhost:8001"])
    def test_but_on_this_machine(self, where: str, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        path = written(tmp_path, config(server, pki, {"token": "secret"}))
        with temporary_settings(api_server=where):
            assert access(path).server == where

    def test_a_name_and_a_password(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        seen = arrives(server, access(written(tmp_path, config(server, pki, {"username": "me", "password": "pass"}))))
        assert seen.headers["authorization"] == "Basic " + base64.b64encode(b"me:pass").decode()

    def test_a_certificate_in_files_beside_the_kubeconfig(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        for name in ("client.crt", "client.key", "ca.crt"):
            (tmp_path / name).write_bytes((pki / name).read_bytes())
        user = {"client-certificate": "client.crt", "client-key": "client.key"}
        body = config(server, pki, user, **{"certificate-authority": "ca.crt"})
        seen = arrives(server, access(written(tmp_path, body)))
        assert seen.subject == "somebody"
        assert "authorization" not in seen.headers

    def test_a_certificate_inside_the_kubeconfig(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        user = {
            "client-certificate-data": encoded(pki / "client.crt"),
            "client-key-data": encoded(pki / "client.key"),
        }
        inside = {"certificate-authority": None, "certificate-authority-data": encoded(pki / "ca.crt")}
        assert arrives(server, access(written(tmp_path, config(server, pki, user, **inside)))).subject == "somebody"

    def test_nobody(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """A context without a user is anonymous, which the server may allow."""
        body = config(server, pki)
        del body["contexts"][0]["context"]["user"]
        seen = arrives(server, access(written(tmp_path, body)))
        assert (seen.subject, seen.headers.get("authorization")) == (None, None)

    def test_a_programs_token(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """What the clouds log in with: a program beside the kubeconfig that prints an ExecCredential."""
        user = {"exec": program(tmp_path, {"token": "from-program"})}
        found = access(written(tmp_path, config(server, pki, user)))
        assert arrives(server, found).headers["authorization"] == "Bearer from-program"
        assert found.namespace == "team"

    def test_a_programs_certificate(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        status = {
            "clientCertificateData": (pki / "client.crt").read_text(),
            "clientKeyData": (pki / "client.key").read_text(),
        }
        user = {"exec": program(tmp_path, status)}
        assert arrives(server, access(written(tmp_path, config(server, pki, user)))).subject == "somebody"

    def test_a_program_is_told_of_its_cluster(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """With the authority's certificate itself, for the program stands elsewhere."""
        user = {"exec": {**program(tmp_path, {"token": "t"}), "provideClusterInfo": True}}
        access(written(tmp_path, config(server, pki, user)))
        told = json.loads((tmp_path / "asked.json").read_text())["spec"]["cluster"]
        assert told == {"server": server.url, "certificate-authority-data": encoded(pki / "ca.crt")}

    def test_a_providers_token(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """`auth-provider`: the official client knows it; a token that has not expired is taken as it is."""
        claims = base64.urlsafe_b64encode(json.dumps({"exp": 4_000_000_000}).encode()).decode().rstrip("=")
        token = f"e30.{claims}.signature"
        user = {"auth-provider": {"name": "oidc", "config": {"id-token": token}}}
        found = access(written(tmp_path, config(server, pki, user)))
        assert arrives(server, found).headers["authorization"] == f"Bearer {token}"

    def test_the_account_of_a_pod(
        self, server: HttpsServer, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        account = tmp_path / "account"
        account.mkdir()
        (account / "token").write_text("pods-own\n")
        (account / "ca.crt").write_bytes((pki / "ca.crt").read_bytes())
        (account / "namespace").write_text("inside")
        monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", account)
        host, port = server.url.removeprefix("https://").split(":")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
        found = access()
        assert arrives(server, found).headers["authorization"] == "Bearer pods-own"
        assert found.namespace == "inside"

    def test_an_ipv6_cluster_has_brackets(self, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "token").write_text("t")
        (tmp_path / "ca.crt").write_bytes((pki / "ca.crt").read_bytes())
        (tmp_path / "namespace").write_text("n")
        monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
        assert access().server == "https://[fd00::1]:443"


class TestWhereTo:
    """Server, trust, and the way there."""

    def test_a_server_with_a_path(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """As behind a gateway for several clusters."""
        body = config(server, pki, None, server=f"{server.url}/clusters/c-1")
        seen = arrives(server, access(written(tmp_path, body)))
        assert seen.path == "/clusters/c-1/apis/penstock.dev/v1alpha1/namespaces/team/flowruns/r"

    def test_an_unknown_authority_is_not_trusted(self, server: HttpsServer, tmp_path: Path) -> None:
        other = authority(tmp_path / "other")
        found = access(written(tmp_path, config(server, other)))
        with Client(found) as client, pytest.raises(ClusterUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            client.get("flowruns", "r")
        assert server.requests == []

    def test_unless_that_is_switched_off(self, server: HttpsServer, tmp_path: Path) -> None:
        other = authority(tmp_path / "other")
        body = config(server, other, **{"insecure-skip-tls-verify": True})
        assert arrives(server, access(written(tmp_path, body))).method == "GET"

    def test_a_server_of_another_name(self, tmp_path: Path) -> None:
        """`tls-server-name`: the certificate is that of a name, the connection goes to an address."""
        pki = authority(tmp_path / "named", "DNS:kubernetes.example")
        with HttpsServer(pki) as server:
            plain = access(written(tmp_path, config(server, pki)))
            with Client(plain) as client, pytest.raises(ClusterUnavailable, match="IP address mismatch"):
                client.get("flowruns", "r")
            body = config(server, pki, **{"tls-server-name": "kubernetes.example"})
            assert arrives(server, access(written(tmp_path, body))).method == "GET"

    def test_a_proxy(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        """`proxy-url`: nothing goes to the server directly, so a proxy that is not there says so."""
        body = config(server, pki, **{"proxy-url": "http://127.0.0.1:1"})
        with Client(access(written(tmp_path, body))) as client, pytest.raises(ClusterUnavailable, match="refused"):
            client.get("flowruns", "r")
        assert server.requests == []

    def test_certificates_need_no_more_than_kubectl_asks_for(
        self, server: HttpsServer, pki: Path, tmp_path: Path
    ) -> None:
        found = access(written(tmp_path, config(server, pki)))
        assert not found.verify.verify_flags & ssl.VERIFY_X509_STRICT


class TestWhichFile:
    """--kubeconfig, then KUBECONFIG, then ~/.kube/config, then the pod's account."""

    def test_the_given_file_wins(
        self, server: HttpsServer, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", written(tmp_path, config(server, pki, {"token": "of-environment"}), "env"))
        given = written(tmp_path, config(server, pki, {"token": "given"}), "given")
        assert access(given).headers == {"Authorization": "Bearer given"}
        assert access().headers == {"Authorization": "Bearer of-environment"}

    def test_home_comes_before_the_pods_account(
        self, server: HttpsServer, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A kubeconfig in a pod was put there on purpose."""
        (tmp_path / "account").mkdir()
        (tmp_path / "account" / "token").write_text("pods-own")
        monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path / "account")
        written(tmp_path / "home", config(server, pki, {"token": "home"}), ".kube/config")
        assert access().headers == {"Authorization": "Bearer home"}

    def test_of_several_the_first_that_has_a_name_wins(
        self, server: HttpsServer, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = config(server, pki, {"token": "first"})
        second = config(server, pki, {"token": "second"})
        second["contexts"].append({"name": "y", "context": {"cluster": "c", "user": "v"}})
        second["users"].append({"name": "v", "user": {"token": "only-there"}})
        second["current-context"] = "y"
        paths = [written(tmp_path, first, "first"), written(tmp_path, second, "second")]
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(paths))
        assert access().headers == {"Authorization": "Bearer first"}
        other = access(context="y")
        assert (other.headers, other.namespace) == ({"Authorization": "Bearer only-there"}, "default")

    def test_of_several_missing_ones_are_skipped(
        self, server: HttpsServer, pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        paths = [str(tmp_path / "missing"), written(tmp_path, config(server, pki, {"token": "there"})), ""]
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join(paths))
        assert access().headers == {"Authorization": "Bearer there"}

    def test_a_tilde_is_the_home(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        written(tmp_path / "home", config(server, pki, {"token": "home"}), "mine")
        assert access("~/mine").headers == {"Authorization": "Bearer home"}

    def test_the_kubeconfig_may_be_json(self, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
        assert access(written(tmp_path, json.dumps(config(server, pki)))).namespace == "team"


# What is wrong, the change of `config` that makes it so (`clusters.server` is the only cluster's), and what is said.
BROKEN: dict[str, tuple[Json, str]] = {
    "the context is not there": ({"current-context": "other"}, "context 'other' does not exist; there is x"),
    "no context is chosen": ({"current-context": ""}, r"no current-context: choose one with --context \(x\)"),
    "there are no contexts": ({"contexts": []}, "context 'x' does not exist; there is none"),
    "the cluster is not there": ({"clusters": []}, "context x: cluster: there is no cluster 'c'"),
    "the user is not there": ({"users": []}, "context x: user: there is no user 'u'"),
    "an entry has no name": ({"users": [{"user": {}}]}, "users: each entry needs a name"),
    "the server is missing": ({"clusters.server": None}, "cluster c: server: it is missing"),
    "the server is no address": ({"clusters.server": "https://[::1"}, r"server https://\[::1"),
    "the server has no scheme": ({"clusters.server": "localhost:1"}, "localhost:1 cannot be reached"),
    "the proxy is none": ({"clusters.proxy-url": "ftp://127.0.0.1"}, "proxy-url ftp://127.0.0.1"),
    "the authority's file is missing": (
        {"clusters.certificate-authority": "missing.crt"},
        "cluster c: certificate-authority: .*No such file",
    ),
    "the authority is no base64": (
        {"clusters.certificate-authority-data": "%%%"},
        "cluster c: certificate-authority-data: ",
    ),
    "the authority is no certificate": (
        {"clusters.certificate-authority-data": base64.b64encode(b"no certificate").decode()},
        "cluster c: certificate-authority-data: ",
    ),
    "the certificate's file is missing": (
        {"users.client-certificate": "missing.crt", "users.client-key": "missing.key"},
        "user u: client-certificate, client-key: .*No such file",
    ),
    "the certificate is no base64": (
        {"users.client-certificate-data": "x", "users.client-key-data": "x"},
        "user u: client-certificate-data: it is no base64",
    ),
    "the token's file is missing": ({"users.tokenFile": "missing"}, "user u: tokenFile: .*No such file.*missing"),
    "the login program is not installed": (
        {"users.exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "no-such-program"}},
        "user u: exec: no-such-program cannot be started: No such file",
    ),
    "the provider was never logged in to": (
        {"users.auth-provider": {"name": "oidc", "config": {}}},
        "user u: auth-provider: .*Expected key id-token",
    ),
    "nobody knows the provider": (
        {"users.auth-provider": {"name": "gone", "config": {}}},
        "user u: auth-provider: it gave no token; log in again",
    ),
}


@pytest.mark.parametrize(("changes", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_named(changes: Json, message: str, server: HttpsServer, pki: Path, tmp_path: Path) -> None:
    """The entry of the kubeconfig and its field, in one error that commands show as one line."""
    body = config(server, pki)
    for path, value in changes.items():
        kind, _, field = path.partition(".")
        if field:
            body[kind][0][kind[:-1]][field] = value
        else:
            body[kind] = value
    with pytest.raises(ClusterUnavailable, match=message), Client(access(written(tmp_path, body))) as client:
        client.get("flowruns", "r")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "cannot be read: .*"),
        ("- a\n- b\n", "is no kubeconfig: it holds a list"),
        ("just text", "is no kubeconfig: it holds a str"),
        ("", "context None does not exist; there is none"),
    ],
)
def test_a_file_that_is_no_kubeconfig_is_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterUnavailable, match=message):
        access(written(tmp_path, text))


def test_a_missing_file_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "missing does not exist: set KUBECONFIG, or give --kubeconfig"
    with pytest.raises(ClusterUnavailable, match=message):
        access(str(tmp_path / "missing"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ClusterUnavailable, match=message):
        access()


def test_without_anything_there_is_no_cluster() -> None:
    with pytest.raises(ClusterUnavailable, match="no cluster: set KUBECONFIG, or give --kubeconfig"):
        access()


def test_a_context_is_none_of_the_pods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a context does not mean the account of the pod."""
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
    with pytest.raises(ClusterUnavailable, match="no cluster"):
        access(context="x")


def test_an_account_without_a_cluster_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("t")
    monkeypatch.setattr(kubeconfig, "SERVICE_ACCOUNT", tmp_path)
    with pytest.raises(ClusterUnavailable, match="KUBERNETES_SERVICE_HOST is not set"):
        access()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(ClusterUnavailable, match=r"service account cannot be read: .*No such file"):
        access()


def test_a_run_in_a_worker_asks_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever kubeconfig the machine has; one that is named is meant."""
    monkeypatch.setenv("PENSTOCK_API_SOCKET", "/s/api")
    monkeypatch.setenv("PENSTOCK_NAMESPACE", "team")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    found = access()
    assert (found.socket, found.namespace, found.headers) == ("/s/api", "team", {})
    with pytest.raises(ClusterUnavailable, match="missing does not exist"):
        access(str(tmp_path / "missing"))
