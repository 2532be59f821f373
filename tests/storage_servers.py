"""Servers of object storage on loopback, real ones: each is started with credentials of its own, and ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from pathlib import Path

import httpx

from penstock_cluster import azurite, binaries


class StorageServer:
    """A process that answers on a port of loopback."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        """The words that start it, and what its environment has besides."""
        raise NotImplementedError

    def bucket(self) -> str:
        """The URL of a bucket of its own."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and return when it answers."""
        words, environment = self.command()
        self._process = subprocess.Popen(
            words, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self._process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class S3Server(StorageServer):
    """S3, whose buckets are folders."""

    KEY, SECRET = "AKIDTEST", "not-a-secret-of-anyone"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder / "buckets"
        self._sidecar = folder / "metadata"
        for path in (self.folder, self._sidecar):
            path.mkdir()
        self._program = binaries.ensure((binaries.S3,)) / "versitygw"

    def command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        words = (
            *(self._program, "--port", f"127.0.0.1:{self.port}", "--quiet"),
            *("posix", "--sidecar", str(self._sidecar), str(self.folder)),
        )
        return words, {"ROOT_ACCESS_KEY": self.KEY, "ROOT_SECRET_KEY": self.SECRET}

    def bucket(self) -> str:
        name = f"b-{uuid.uuid4().hex[:12]}"
        (self.folder / name).mkdir()
        return f"s3://{name}/some/prefix?endpoint=http://127.0.0.1:{self.port}"


class AzureServer(StorageServer):
    """Azure Blob Storage, in memory, of one account."""

    ACCOUNT, KEY = "penstock", base64.b64encode(b"not-a-secret-of-anyone").decode()

    def __init__(self) -> None:
        super().__init__()
        self._program = azurite.ensure()
        self.endpoint = f"http://127.0.0.1:{self.port}/{self.ACCOUNT}"

    def command(self) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        words = (
            *(*self._program, "--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
            *("--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        )
        return words, {"AZURITE_ACCOUNTS": f"{self.ACCOUNT}:{self.KEY}"}

    def bucket(self) -> str:
        """The library under test makes no containers: this request is signed by hand."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        resource = f"/{self.ACCOUNT}/{self.ACCOUNT}/{name}\nrestype:container"
        lines = ["PUT", *[""] * 11, *(f"{key}:{value}" for key, value in headers.items()), resource]
        signature = hmac.new(base64.b64decode(self.KEY), "\n".join(lines).encode(), hashlib.sha256).digest()
        headers["Authorization"] = f"SharedKey {self.ACCOUNT}:{base64.b64encode(signature).decode()}"
        httpx.put(f"{self.endpoint}/{name}?restype=container", headers=headers, trust_env=False).raise_for_status()
        return f"az://{name}/some/prefix?endpoint={self.endpoint}"
