"""The same cluster by kind, for people who have Docker. Not run on the machines Penstock is developed on."""

from __future__ import annotations

import shutil
from pathlib import Path

from .layout import ROOT, ClusterError, Layout
from .shell import progress, quiet, run, say


def available() -> bool:
    """Whether a Docker engine answers and kind is installed."""
    return bool(shutil.which("kind")) and quiet("docker", "info")


def chosen(layout: Layout, flavour: str) -> bool:
    """Whether `up` uses kind: where the cluster is kind's already, where asked, or where it can."""
    own = (layout.state / "parts.json").exists()
    if (flavour == "kind" and own) or (flavour == "own" and made(layout)):
        raise ClusterError("this checkout has a cluster of the other flavour: make cluster-down first")
    if flavour == "kind" and not available():
        raise ClusterError("kind was asked for: it needs a Docker engine that answers and `kind` on PATH")
    return made(layout) or flavour == "kind" or (flavour == "auto" and not own and available())


def made(layout: Layout) -> bool:
    """Whether this checkout's cluster was made by kind."""
    return (layout.state / "kind").exists()


def up(layout: Layout) -> None:
    """Create the cluster by kind-config.yaml."""
    say(f"cluster: kind, in Docker ({layout.namespace})")
    programs = {name: shutil.which(name) for name in ("kubectl", "helm")}
    if missing := [name for name, path in programs.items() if path is None]:
        raise ClusterError(f"{' and '.join(missing)} not on PATH: install, for the demo and the tests call them")
    (layout.state / "bin").mkdir(parents=True, exist_ok=True)
    (layout.state / "kind").touch()
    if layout.namespace not in run("kind", "get", "clusters").split():
        config = ("--config", ROOT / "kind-config.yaml", "--wait", "120s")
        with progress("creating the cluster"):
            run("kind", "create", "cluster", "--name", layout.namespace, *config, "--kubeconfig", layout.kubeconfig)
    for name, path in programs.items():
        link = layout.state / "bin" / name
        link.unlink(missing_ok=True)
        link.symlink_to(str(path))
    print(f"export KUBECONFIG={layout.kubeconfig}\nexport PATH={layout.state / 'bin'}:$PATH")


def down(layout: Layout) -> None:
    """Delete the cluster."""
    run("kind", "delete", "cluster", "--name", layout.namespace)
    shutil.rmtree(layout.state, ignore_errors=True)
    say(f"the cluster of this checkout is gone ({layout.namespace})")


def status(layout: Layout) -> int:
    """Print the nodes; 0 when the cluster answers."""
    print(f"kind cluster {layout.namespace}, kubeconfig {layout.kubeconfig}")
    print(run(layout.state / "bin" / "kubectl", "--kubeconfig", layout.kubeconfig, "get", "nodes"), end="")
    return 0


def load(layout: Layout, archive: Path) -> None:
    """Load an image archive."""
    run("kind", "load", "image-archive", archive, "--name", layout.namespace)
