"""What tests of the runner share: certificates, and the folder of a service account as the kubelet mounts it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopback_api import LoopbackApi
from loopback_pod import Pod
from penstock_cluster import certificates


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority and the certificate of an API server at 127.0.0.1."""
    folder = tmp_path_factory.mktemp("pki")
    certificates.issue(folder, {"apiserver": certificates.wanted("127.0.0.1")["apiserver"]})
    return folder


@pytest.fixture
def account(pki: Path, tmp_path: Path) -> Path:
    """The folder of a service account: `ca.crt` and `token`."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    shutil.copy(pki / "ca.crt", folder / "ca.crt")
    (folder / "token").write_text("the-token\n")
    return folder


@pytest.fixture
def pod(pki: Path, account: Path) -> Iterator[Pod]:
    """A launched run, and its pod."""
    with LoopbackApi(pki) as server:
        pod = Pod(server, account)
        yield pod
        pod.close()
