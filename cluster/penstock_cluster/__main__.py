"""The command line of the cluster, called by the Makefile."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from . import binaries, control_plane, images, kind, node, supervisor
from .layout import ROOT, ClusterError, Layout
from .shell import run, say


def _control_plane(options: argparse.Namespace) -> None:
    folder = Path(options.dir)
    if options.action == "down":
        control_plane.ControlPlane(folder.resolve(), "").stop()
        return
    start = time.monotonic()
    plane = control_plane.start(folder)
    say(f"control plane ready in {time.monotonic() - start:.1f} s")
    print(f"export KUBECONFIG={plane.kubeconfig}")


def _image(options: argparse.Namespace) -> None:
    if options.action == "load":
        images.load(_layout(), options.tag, Path(options.archive))
        return
    arguments = dict(pair.partition("=")[::2] for pair in options.build_arg)
    images.build(_layout(), options.tag, Path(options.file), Path(options.context), arguments, load_it=options.load)


def _layout() -> Layout:
    return Layout(ROOT)


def main() -> None:
    """Parse and run; a `ClusterError` is one message and exit code 1."""
    parser = argparse.ArgumentParser(prog="penstock_cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("binaries", help="build the programs that are missing; print their folder")
    commands.add_parser("base-image", help="build the base image when its recipe changed")
    up = commands.add_parser("up", help="bring the cluster of this checkout up")
    up.add_argument("--flavour", choices=("auto", "own", "kind"), default="auto")
    commands.add_parser("down", help="remove the cluster of this checkout and every trace of it")
    commands.add_parser("status", help="show the parts of the cluster")
    plane = commands.add_parser("control-plane", help="etcd and kube-apiserver only")
    plane.add_argument("action", choices=("up", "down"))
    plane.add_argument("--dir", required=True)
    image = commands.add_parser("image", help="images of the node")
    actions = image.add_subparsers(dest="action", required=True)
    build = actions.add_parser("build", help="build with buildah on the base image")
    build.add_argument("--tag", required=True)
    build.add_argument("--file", default="Dockerfile")
    build.add_argument("--context", default=".")
    build.add_argument("--build-arg", action="append", default=[])
    build.add_argument("--load", action="store_true", help="load it into the cluster, too")
    load = actions.add_parser("load", help="load an OCI archive into the cluster")
    load.add_argument("tag")
    load.add_argument("archive")
    kubectl = commands.add_parser("kubectl", help="kubectl with the cluster's kubeconfig")
    kubectl.add_argument("words", nargs=argparse.REMAINDER)
    inner = commands.add_parser("supervise")
    inner.add_argument("folder")
    options = parser.parse_args()
    try:
        match options.command:
            case "binaries":
                print(binaries.ensure())
            case "base-image":
                print(images.base())
            case "up":
                (kind.up if kind.chosen(options.flavour) else node.up)(_layout())
            case "down":
                (kind.down if kind.made(_layout()) else node.down)(_layout())
            case "status":
                sys.exit(node.status(_layout()))
            case "control-plane":
                _control_plane(options)
            case "image":
                _image(options)
            case "kubectl":
                print(run(binaries.ensure() / "kubectl", "--kubeconfig", _layout().kubeconfig, *options.words), end="")
            case "supervise":
                supervisor.supervise(Path(options.folder))
    except ClusterError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
