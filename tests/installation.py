"""Penstock as a user has it: kubectl and the command, on the node of `make cluster`, in a namespace of the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = "penstock-e2e"
IMAGE = "localhost/penstock:dev"


@dataclass(frozen=True)
class Penstock:
    """What a user has: kubectl and the penstock command, in one namespace."""

    namespace: str
    environment: dict[str, str]

    def command(self, *words: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program with this cluster's kubeconfig."""
        done = subprocess.run(
            words, cwd=ROOT, env=self.environment, input=stdin, text=True, capture_output=True, timeout=120, check=False
        )
        if check and done.returncode:
            pytest.fail(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Output of kubectl in the tests' namespace."""
        program = str(ROOT / ".cluster/bin/kubectl")
        return self.command(program, "--namespace", self.namespace, *words, stdin=stdin, check=check).stdout

    def cli(self, *words: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `penstock`."""
        return self.command(sys.executable, "-m", "penstock.cli", *words, stdin=stdin, check=check)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """One object as it is now."""
        body: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "--output", "json"))
        return body

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects as a user would."""
        documents = "\n".join(json.dumps(body) for body in objects)
        self.kubectl("apply", "--filename", "-", stdin=documents)

    def delete(self, *objects: dict[str, Any], wait: bool = False) -> None:
        """Delete objects that a test made; absent is fine. With `wait` they are gone then, after a minute at most."""
        how = ("--timeout=60s",) if wait else ("--wait=false",)
        for body in objects:
            self.kubectl("delete", body["kind"], body["metadata"]["name"], "--ignore-not-found", *how)

    def wait(
        self, kind: str, name: str, until: Callable[[dict[str, Any]], bool], seconds: float = 90.0
    ) -> dict[str, Any]:
        """The object once `until` holds; fails with what was last seen."""
        deadline = time.monotonic() + seconds
        while True:
            body = self.get(kind, name)
            if until(body):
                return body
            if time.monotonic() > deadline:
                pytest.fail(f"{kind}/{name} after {seconds:.0f} s: {json.dumps(body.get('status'), indent=1)}")
            time.sleep(0.3)

    def settled(self, name: str, seconds: float = 90.0) -> dict[str, Any]:
        """The run once the operator has done all that follows from its end."""
        return self.wait("flowrun", name, lambda run: bool(run.get("status", {}).get("settled")), seconds)


@pytest.fixture(scope="session")
def penstock() -> Iterator[Penstock]:
    """Penstock in a namespace that enforces the restricted Pod Security Standard."""
    kubeconfig = ROOT / ".cluster/kubeconfig"
    if not kubeconfig.exists():
        pytest.fail("no cluster: run `make install` first, or leave these tests out with -m 'not e2e'")
    user = Penstock(NAMESPACE, {**os.environ, "KUBECONFIG": str(kubeconfig), "PENSTOCK_NAMESPACE": NAMESPACE})
    kubectl, helm = str(ROOT / ".cluster/bin/kubectl"), str(ROOT / ".cluster/bin/helm")
    user.apply(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
    )
    chart = user.command(
        helm,
        "template",
        "penstock",
        "charts/penstock",
        *("--show-only", "templates/runs.yaml", "--set", f"runs.namespaces={{{NAMESPACE}}}"),
        "--skip-schema-validation",
    ).stdout
    user.command(kubectl, "apply", "--filename", "-", stdin=chart)
    user.kubectl("delete", "flowruns,flowdeployments,flows", "--all", "--wait=true")
    yield user
    user.command(kubectl, "delete", "namespace", NAMESPACE, "--wait=false")
