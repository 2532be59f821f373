"""Login programs of kubeconfigs: how they are asked, what their answers mean, and what is said when they give none."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from penstock.exec_credentials import PluginFailed, credentials

Json = dict[str, Any]
API = "client.authentication.k8s.io/v1"
CLUSTER = {"server": "https://k.example", "certificate-authority-data": "QQ==", "certificate-authority": "ca.crt"}


def script(folder: Path, text: str, name: str = "login") -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return f"./{name}"


def answering(folder: Path, answer: Any) -> str:
    (folder / "answer").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    return script(folder, f"printenv > '{folder}/environment'; echo \"$@\" > '{folder}/words'; cat '{folder}/answer'")


def good(status: Json) -> Json:
    return {"apiVersion": API, "kind": "ExecCredential", "status": status}


def test_the_program_is_asked_as_the_kubeconfig_says(tmp_path: Path) -> None:
    """With its words, its environment beside our own, and the question in KUBERNETES_EXEC_INFO."""
    plugin = {
        "apiVersion": API,
        "command": answering(tmp_path, good({"token": "t", "expirationTimestamp": "2030-01-01T00:00:00Z"})),
        "args": ["get-token", 7],
        "env": [{"name": "PROFILE", "value": "team"}],
        "interactiveMode": "Never",
    }
    assert credentials(plugin, tmp_path, CLUSTER)["token"] == "t"
    assert (tmp_path / "words").read_text() == "get-token 7\n"
    environment = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    assert environment["PROFILE"] == "team"
    assert "PATH" in environment
    asked = json.loads(environment["KUBERNETES_EXEC_INFO"])
    assert asked == {"apiVersion": API, "kind": "ExecCredential", "spec": {"interactive": False}}


def test_the_cluster_is_told_where_that_is_wanted(tmp_path: Path) -> None:
    """With the configuration that the cluster's entry holds for such programs; a path would be of no use."""
    extension = {"name": "client.authentication.k8s.io/exec", "extension": {"audience": "a"}}
    cluster = {**CLUSTER, "extensions": [{"name": "other", "extension": {}}, extension]}
    plugin = {"apiVersion": API, "command": answering(tmp_path, good({"token": "t"})), "provideClusterInfo": True}
    credentials(plugin, tmp_path, cluster)
    environment = (tmp_path / "environment").read_text()
    asked = next(line for line in environment.splitlines() if line.startswith("KUBERNETES_EXEC_INFO="))
    assert json.loads(asked.partition("=")[2])["spec"]["cluster"] == {
        "server": "https://k.example",
        "certificate-authority-data": "QQ==",
        "config": {"audience": "a"},
    }


def test_a_bare_name_is_looked_up_in_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(tmp_path, good({"token": "t"}))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert credentials({"apiVersion": API, "command": "login"}, Path("/"), CLUSTER) == {"token": "t"}


def test_certificates_are_handed_on(tmp_path: Path) -> None:
    status = {"clientCertificateData": "C", "clientKeyData": "K"}
    assert credentials({"apiVersion": API, "command": answering(tmp_path, good(status))}, tmp_path, CLUSTER) == status


# What the program answers, and what is said of it.
ANSWERS: dict[str, tuple[Any, str]] = {
    "no JSON": ("please log in", "login answered with something that is no JSON"),
    "nothing": ("", "login answered with something that is no JSON"),
    "no object": ([1], f"login answered with no ExecCredential of {API}"),
    "no status": ({"apiVersion": API}, f"login answered with no ExecCredential of {API}"),
    "another version": (
        {"apiVersion": "client.authentication.k8s.io/v1beta1", "status": {"token": "t"}},
        f"login answered with no ExecCredential of {API}",
    ),
    "an empty status": (good({}), "login gave neither a token nor a certificate with its key"),
    "a certificate without its key": (good({"clientCertificateData": "C"}), "login gave neither a token nor"),
}


@pytest.mark.parametrize(("answer", "message"), ANSWERS.values(), ids=ANSWERS)
def test_answers_that_are_none_are_refused(answer: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(PluginFailed, match=message):
        credentials({"apiVersion": API, "command": answering(tmp_path, answer)}, tmp_path, CLUSTER)


def test_a_program_that_fails_says_so_itself(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = script(tmp_path, "echo 'your session is over: run login again' >&2; exit 3")
    with pytest.raises(PluginFailed, match=r"\./login ended with exit code 3"):
        credentials({"apiVersion": API, "command": command}, tmp_path, CLUSTER)
    assert "your session is over" in capfd.readouterr().err


def test_a_program_that_is_missing_is_named_with_the_kubeconfigs_hint(tmp_path: Path) -> None:
    plugin = {"apiVersion": API, "command": "no-such-login", "installHint": "Install it from example.com.\n"}
    with pytest.raises(PluginFailed, match=r"no-such-login cannot be started: No such.*\. Install it from example"):
        credentials(plugin, tmp_path, CLUSTER)


@pytest.mark.parametrize("missing", ["command", "apiVersion"])
def test_an_entry_that_says_too_little_is_refused(missing: str, tmp_path: Path) -> None:
    plugin = {"apiVersion": API, "command": "x"}
    del plugin[missing]
    with pytest.raises(PluginFailed, match="command and apiVersion must be given"):
        credentials(plugin, tmp_path, CLUSTER)


def test_a_program_that_must_ask_needs_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stdin").open("w+") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        plugin = {"apiVersion": API, "command": "login", "interactiveMode": "Always"}
        with pytest.raises(PluginFailed, match="login asks questions, and there is no terminal"):
            credentials(plugin, tmp_path, CLUSTER)
