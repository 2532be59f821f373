"""The same cluster by kind, for people who have Docker. Not run on the machines Penstock is developed on."""

from __future__ import annotations

import shutil
from pathlib import Path

from .layout import ROOT, ClusterError, Layout
from .shell import quiet, run, say


def available() -> bool:
    """Whether a Docker engine answers and kind is installed."""
    return bool(shutil.which("kind")) and bool(shutil.which("docker")) and quiet("docker", "info")


def chosen(flavour: str) -> bool:
    """Whether `up` uses kind: where asked, or where it can when nothing was asked."""
    if flavour == "kind" and not available():
        raise ClusterError("kind was asked for, but a Docker engine and `kind` are not both here")
    return flavour == "kind" or (flavour == "auto" and available())


def made(layout: Layout) -> bool:
    """Whether this checkout's cluster was made by kind."""
    return (layout.state / "kind").exists()


def up(layout: Layout) -> None:
    """Create the cluster by kind-config.yaml."""
    say(f"cluster: kind ({layout.namespace})")
    layout.state.mkdir(exist_ok=True)
    if layout.namespace not in run("kind", "get", "clusters").split():
        config = ROOT / "kind-config.yaml"
        run(
            "kind",
            "create",
            "cluster",
            "--name",
            layout.namespace,
            "--config",
            config,
            "--kubeconfig",
            layout.kubeconfig,
        )
    (layout.state / "kind").touch()
    (layout.state / "bin").mkdir(exist_ok=True)
    for name in ("kubectl", "helm"):
        program, link = shutil.which(name), layout.state / "bin" / name
        if program is None:
            raise ClusterError(f"{name} is not on PATH: install it")
        link.unlink(missing_ok=True)
        link.symlink_to(program)
    print(f"export KUBECONFIG={layout.kubeconfig}")


def down(layout: Layout) -> None:
    """Delete the cluster."""
    run("kind", "delete", "cluster", "--name", layout.namespace)
    shutil.rmtree(layout.state, ignore_errors=True)


def load(layout: Layout, archive: Path) -> None:
    """Load an image archive."""
    run("kind", "load", "image-archive", archive, "--name", layout.namespace)
