"""What tests of the command line share: the command, files of flows, and a server for what needs one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command_line import CommandLine, loading_flows
from https_server import Cluster, authority


@pytest.fixture
def penstock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[CommandLine]:
    """The command, in an empty folder, for somebody without a cluster."""
    for name in ("KUBECONFIG", "PENSTOCK_NAMESPACE", "PENSTOCK_DEBUG", "NO_COLOR", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with loading_flows(monkeypatch, tmp_path):
        yield CommandLine(monkeypatch, capsys)


@pytest.fixture
def write(penstock: CommandLine) -> Callable[[str, str], Path]:
    """Write a file of flows into the folder."""

    def write(name: str, text: str) -> Path:
        path = Path(name)
        path.write_text(text)
        return path

    return write


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def cluster(pki: Path, penstock: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cluster]:
    """A server that KUBECONFIG leads to, namespace `team`."""
    with Cluster(pki) as server:
        config = {
            "clusters": [
                {"name": "c", "cluster": {"server": server.url, "certificate-authority": str(pki / "ca.crt")}}
            ],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "team"}}],
            "current-context": "x",
        }
        (tmp_path / "kubeconfig").write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
        yield server
