"""Which place resources are kept in, as the environment says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from penstock import resources
from penstock.api import labels
from penstock.client import ClusterUnavailable
from penstock.errors import InvalidSettings
from penstock.resources.local import LocalResources
from penstock.resources.pod import PodResources

POD = {
    labels.ENV_NAMESPACE: "team",
    labels.ENV_RUN: "etl-1",
    labels.ENV_RUN_UID: "run-uid",
    labels.ENV_ATTEMPT: "2",
    labels.ENV_SEQ: "3",
    labels.ENV_ENTRYPOINT: "flow:etl",
    labels.ENV_POD_NAME: "etl-1-2",
    labels.ENV_POD_UID: "pod-uid",
    "KUBERNETES_SERVICE_HOST": "127.0.0.1",
}


@pytest.fixture(autouse=True)
def outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (*POD, "PENSTOCK_API"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("word", [None, "", "local"])
def test_outside_of_pods_it_is_the_users_files(word: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if word is not None:
        monkeypatch.setenv("PENSTOCK_API", word)
    found = resources.current()
    assert isinstance(found, LocalResources)
    assert found.place == str(Path(found.place))
    assert found.place.endswith("/home")
    assert resources.current() is found


def test_another_home_is_another_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = resources.current()
    monkeypatch.setenv("PENSTOCK_HOME", str(tmp_path / "other"))
    assert resources.current() is not before


def test_in_a_runs_pod_it_is_the_runs_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever PENSTOCK_API says: a run has one identity."""
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PENSTOCK_API", "local")
    found = resources.current()
    assert isinstance(found, PodResources)
    assert found.place == "namespace team"
    assert found.run == {"name": "etl-1", "uid": "run-uid", "attempt": 2}


def test_the_cluster_is_that_of_the_kubeconfig(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PENSTOCK_API", "cluster")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ClusterUnavailable, match="does not exist"):
        resources.current()


def test_an_unknown_place_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PENSTOCK_API", "server")
    with pytest.raises(InvalidSettings, match="PENSTOCK_API: must be one of local, cluster, not 'server'"):
        resources.current()


@pytest.mark.parametrize("module", ["artifacts", "variables"])
def test_what_a_run_pays_for_is_little(module: str, tmp_path: Path) -> None:
    code = f"from penstock.{module} import *\nfrom penstock import resources\nresources.current()\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}import sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
        env={**POD, "HOME": str(tmp_path)},
    )
    heavy = {"pydantic", "asyncio", "httpx", "kubernetes", "yaml", "click", "http.client", "penstock.client"}
    assert heavy.isdisjoint(done.stdout.split())
