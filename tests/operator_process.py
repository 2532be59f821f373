"""Operators as processes of their own, as they run in production, for tests that kill, stop and wake them."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock_cluster.control_plane import ControlPlane

PATIENCE = 60.0
LEASE = "penstock-operator"


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class OperatorProcess:
    """`penstock-operator` on a control plane, as the administrator; leaving it kills it.

    `name` is its pod's, which stands in the Lease and, as its User-Agent, in the audit log.
    """

    def __init__(
        self, plane: ControlPlane, folder: Path, name: str, namespaces: str = "", lease: str = "", **environment: str
    ) -> None:
        self.name, self.log = name, folder / f"{name}.log"
        self.metrics_port, self.probe_port = free_port(), free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "KUBECONFIG": str(plane.kubeconfig),
            "POD_NAME": name,
            "PENSTOCK_OPERATOR_NAMESPACES": namespaces,
            "PENSTOCK_OPERATOR_LEASE": lease,
            "PENSTOCK_OPERATOR_LOG_FORMAT": "plain",
            "PENSTOCK_OPERATOR_METRICS_PORT": str(self.metrics_port),
            "PENSTOCK_OPERATOR_PROBE_PORT": str(self.probe_port),
            **environment,
        }
        self.process: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Begin; the log goes on where an earlier process of the name left it."""
        with self.log.open("ab") as log:
            words = [sys.executable, "-m", "penstock_operator.main"]
            self.process = subprocess.Popen(words, env=self._environment, stdout=log, stderr=log)

    def kill(self) -> None:
        """kill -9, awake or not."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def terminate(self) -> int:
        """End it as a kubelet does; its exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """SIGSTOP: it does nothing more, and its connections stay open."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def metric(self, name: str) -> float:
        """Sum of a metric over all its labels; 0 while nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
        except OSError:
            return 0.0
        return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))

    def healthy(self) -> bool:
        """Whether its probe says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.probe_port}/healthz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    @property
    def leads(self) -> bool:
        return self.metric("penstock_leader") == 1.0

    def until_it_leads(self) -> float:
        """Seconds until it led."""
        begun = time.monotonic()
        while not self.leads:
            assert self.alive, self.log.read_text()
            assert time.monotonic() - begun < PATIENCE, self.log.read_text()
            time.sleep(0.02)
        return time.monotonic() - begun

    def until_healthy(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.healthy():
            assert self.alive, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
