"""The command line of the cluster, called by the Makefile."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from . import azurite, binaries, control_plane, images, kind, node, packages, supervisor
from .layout import ROOT, ClusterError, Layout
from .shell import say


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="penstock_cluster", description="A real Kubernetes for this checkout.")
    commands = parser.add_subparsers(dest="command", required=True)
    made = commands.add_parser("binaries", help="build the programs that are missing; print their folder")
    made.add_argument("--kwok", action="store_true", help="kwok too, which simulates nodes for tests of scale")
    made.add_argument("--kueue", action="store_true", help="Kueue too, whose queues Jobs and Pods of runs may be in")
    made.add_argument("--s3", action="store_true", help="an S3 server too, for the tests of the result storage")
    made.add_argument("--azure", action="store_true", help="an Azure Blob Storage server, likewise")
    made.add_argument(
        "--podman", action="store_true", help="Podman, for the tests of workers whose runs are containers"
    )
    commands.add_parser("base-image", help="build the base image when its recipe changed; print its name")
    up = commands.add_parser("up", help="bring the cluster of this checkout up")
    up.add_argument("--flavour", choices=("auto", "own", "kind"), default="auto")
    up.add_argument("--no-fsync", action="store_true", help="faster, but a power cut may lose what etcd confirmed")
    commands.add_parser("down", help="remove the cluster of this checkout and every trace of it")
    commands.add_parser("status", help="show the parts of the cluster; exit code 1 when one is down")
    plane = commands.add_parser("control-plane", help="etcd and kube-apiserver only; no root")
    plane.add_argument("action", choices=("up", "down"))
    plane.add_argument("--dir", required=True, type=Path)
    plane.add_argument("--fsync", action="store_true", help="let etcd wait for the disk")
    image = commands.add_parser("image", help="images of the node")
    actions = image.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="build with buildah on the base image")
    build.add_argument("--tag", required=True)
    build.add_argument("--file", default="Dockerfile", type=Path)
    build.add_argument("--context", default=".", type=Path)
    build.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE")
    build.add_argument("--load", action="store_true", help="load it into the cluster, too")
    load = actions.add_parser("load", help="load an archive (OCI or Docker) into the cluster")
    load.add_argument("archive", type=Path)
    kubectl = commands.add_parser("kubectl", help="kubectl with the cluster's kubeconfig")
    kubectl.add_argument("words", nargs=argparse.REMAINDER)
    inner = commands.add_parser("supervise")  # what `supervisor.start` calls
    inner.add_argument("folder", type=Path)
    return parser


def _control_plane(options: argparse.Namespace) -> None:
    if options.action == "down":
        control_plane.stop(options.dir)
        return
    start = time.monotonic()
    plane = control_plane.start(options.dir, fsync=options.fsync)
    say(f"control plane ready in {time.monotonic() - start:.1f} s; its API writes are logged in {plane.audit_log}")
    print(f"export KUBECONFIG={plane.kubeconfig}")


def _image(layout: Layout, options: argparse.Namespace) -> None:
    if options.action == "load":
        images.load(layout, options.archive)
        return
    pairs = [pair.partition("=") for pair in options.build_arg]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise ClusterError(f"--build-arg {wrong[0]}: write NAME=VALUE")
    arguments = {name: value for name, _, value in pairs}
    print(images.build(layout, options.tag, options.file, options.context, arguments, load_it=options.load))


def _kubectl(layout: Layout, words: list[str]) -> None:
    program = layout.state / "bin" / "kubectl"
    if not program.exists():
        raise ClusterError("no cluster: make cluster")
    os.execv(program, [str(program), "--kubeconfig", str(layout.kubeconfig), *words])


def _up(layout: Layout, options: argparse.Namespace) -> None:
    if kind.chosen(layout, options.flavour):
        kind.up(layout)
    else:
        node.up(layout, fsync=not options.no_fsync)


def main() -> None:
    """Parse and run; a `ClusterError` is one message and exit code 1."""
    options = _parser().parse_args()
    layout = Layout(ROOT)
    try:
        match options.command:
            case "binaries":
                if options.azure:
                    azurite.ensure()
                if options.podman:
                    packages.ensure(packages.PODMAN)
                extra = (
                    (binaries.KWOK, options.kwok),
                    (binaries.KUEUE, options.kueue),
                    (binaries.S3, options.s3),
                )
                print(binaries.ensure((*binaries.MODULES, *(module for module, wanted in extra if wanted))))
            case "base-image":
                print(images.base())
            case "up":
                _up(layout, options)
            case "down":
                (kind if kind.made(layout) else node).down(layout)
            case "status":
                sys.exit((kind if kind.made(layout) else node).status(layout))
            case "control-plane":
                _control_plane(options)
            case "image":
                _image(layout, options)
            case "kubectl":
                _kubectl(layout, options.words)
            case "supervise":
                supervisor.supervise(options.folder)
    except ClusterError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
