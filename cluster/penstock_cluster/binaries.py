"""The programs of the cluster, built from Go modules into the cache, again only when their versions change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from .layout import ROOT, ClusterError, cache
from .shell import locked, progress, run, say

KUBERNETES = "v1.36.3"
_VERSION = " ".join(
    f"-X {package}.gitVersion={KUBERNETES} -X {package}.gitMajor=1 -X {package}.gitMinor=36 "
    f"-X {package}.gitTreeState=clean"
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
)


@dataclass(frozen=True, slots=True)
class Module:
    """A go.mod of tools and the programs that are built from it."""

    folder: str
    packages: dict[str, str]  # program -> package
    ldflags: str = ""


MODULES = (
    Module(
        ".",
        {
            "etcd": "go.etcd.io/etcd/server/v3",
            **{
                name: f"k8s.io/kubernetes/cmd/{name}"
                for name in (
                    "kube-apiserver",
                    "kube-controller-manager",
                    "kube-scheduler",
                    "kubelet",
                    "kube-proxy",
                    "kubectl",
                )
            },
        },
        _VERSION,
    ),
    Module("coredns", {"coredns": "github.com/coredns/coredns"}),
    Module("helm", {"helm": "helm.sh/helm/v4/cmd/helm"}),
)


KUBERNETES_ONLY = MODULES[:1]
KWOK = Module("kwok", {"kwok": "sigs.k8s.io/kwok/cmd/kwok"})
S3 = Module("versitygw", {"versitygw": "github.com/versity/versitygw/cmd/versitygw"})  # for tests of the result storage
KUEUE = Module("kueue", {"kueue": "sigs.k8s.io/kueue/cmd/kueue"})
EVERY = (*MODULES, KWOK, S3, KUEUE)


def key(module: Module, go_version: str) -> str:
    """Changes when the module's versions, its flags or the compiler do."""
    found = hashlib.sha256(f"{go_version}\0{module.ldflags}\0{sorted(module.packages)}".encode())
    for name in ("go.mod", "go.sum"):
        found.update((ROOT / "cluster" / module.folder / name).read_bytes())
    return found.hexdigest()[:16]


def ensure(modules: tuple[Module, ...] = MODULES) -> Path:
    """Build what is missing of some modules; the folder that holds the programs of all that were built."""
    if not shutil.which("go"):
        raise ClusterError("go is not on PATH: install Go 1.26 or newer (https://go.dev/dl)")
    go_version = run("go", "env", "GOVERSION", cwd=ROOT / "cluster").strip()
    keys = {module.folder: key(module, go_version) for module in EVERY}
    folder = cache() / "bin" / hashlib.sha256("".join(keys.values()).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with locked("binaries"):
        for module in modules:
            built = cache() / "bin" / keys[module.folder]
            if not (built / ".done").exists():
                _build(module, built)
            for program in module.packages:
                link = folder / program
                if not link.exists():
                    link.unlink(missing_ok=True)
                    link.symlink_to(built / program)
    return folder


def source_of(module: Module, name: str) -> Path:
    """The folder with the source of a Go module that a `Module` pins, for what its authors ship beside programs."""
    told: dict[str, str] = json.loads(run("go", "mod", "download", "-json", name, cwd=ROOT / "cluster" / module.folder))
    return Path(told["Dir"])


def _build(module: Module, into: Path) -> None:
    into.mkdir(parents=True, exist_ok=True)
    source = ROOT / "cluster" / module.folder
    programs = ", ".join(module.packages)
    with progress(f"building {programs} (minutes when the Go caches are cold)"):
        run(
            *("go", "build", "-ldflags", f"-s -w {module.ldflags}".strip(), "-o", f"{into}/"),
            *module.packages.values(),
            cwd=source,
            env={**os.environ, "GOFLAGS": "-buildvcs=false"},
        )
    if (into / "server").exists():  # etcd's main package is called so
        (into / "server").rename(into / "etcd")
    (into / ".done").touch()
    say(f"built {programs}")
