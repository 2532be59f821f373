"""Install or upgrade Penstock in the cluster of KUBECONFIG from this checkout: CRDs first, then the Helm release.

Called by `make install`. Helm installs CRDs once and never upgrades them, so they are applied here. The pods of the
operator carry a digest of the sources, so that a new image under an old tag still rolls them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ("sdk/penstock", "operator/penstock_operator", "requirements/image.txt", "Dockerfile")


def run(*command: str) -> None:
    """Run a program, its output hidden unless it fails."""
    done = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed with {done.returncode}:\n{done.stdout}")


def digest_of_sources() -> str:
    """Hash over everything that goes into the image."""
    found = hashlib.sha256()
    for name in SOURCES:
        path = ROOT / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            found.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:16]


def main() -> None:
    """Apply the CRDs, install the chart, wait until the operator is available."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", required=True, help="image of operator and runs, with its tag")
    parser.add_argument("--helm", default="helm")
    parser.add_argument("--kubectl", default="kubectl")
    parser.add_argument("--namespace", default="penstock-system")
    parser.add_argument("--set", action="append", default=[], help="further chart values, key=value")
    options = parser.parse_args()
    started = time.monotonic()
    repository, _, tag = options.image.rpartition(":")

    print("==> applying CRDs", file=sys.stderr)
    run(options.kubectl, "apply", "-f", "crds/")
    run(options.kubectl, "wait", "--for=condition=Established", "--timeout=30s", "-f", "crds/")

    print("==> installing the chart", file=sys.stderr)
    release = ("penstock", "--namespace", options.namespace)
    listed = subprocess.run(
        [options.helm, "status", *release, "--output", "json"], capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        status = json.loads(listed.stdout)
        if status["info"]["status"].startswith("pending"):  # an install that was cut off; helm would refuse another
            first = status["version"] == 1
            run(options.helm, "uninstall" if first else "rollback", *release)
    values = [
        f"image.repository={repository}",
        f"image.tag={tag}",
        rf"operator.podAnnotations.penstock\.dev/sources={digest_of_sources()}",
        *options.set,
    ]
    run(
        *(options.helm, "upgrade", "--install", "penstock", "charts/penstock", "--skip-crds"),
        *("--namespace", options.namespace, "--create-namespace", "--wait", "--timeout", "180s"),
        *(word for value in values for word in ("--set-string", value)),
    )
    print(f"==> Penstock is installed ({time.monotonic() - started:.0f} s)", file=sys.stderr)


if __name__ == "__main__":
    main()
