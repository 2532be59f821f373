"""Certificates, as the tests of the runner have them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock_cluster import certificates


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority and the certificate of an API server at 127.0.0.1."""
    folder = tmp_path_factory.mktemp("pki")
    certificates.issue(folder, {"apiserver": certificates.wanted("127.0.0.1")["apiserver"]})
    return folder
