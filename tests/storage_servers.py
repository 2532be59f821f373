"""Servers of object storage on loopback, real ones: each is started with credentials of its own, and ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

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
            words,
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # for the server may be a child of a program that starts it
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
            os.killpg(self._process.pid, signal.SIGKILL)
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


class GoogleFront:
    """An S3 server as Google Cloud Storage's clients ask for one: the same XML API, with other credentials.

    Each request goes on as it came, but for its token, in place of which it is signed for the S3 server. So the answers
    are a real server's, in S3's dialect; of Google's own nothing is played.
    """

    TOKEN: Mapping[str, object] = {"disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}

    def __init__(self, behind: S3Server) -> None:
        self._behind = behind

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                own = ("authorization", "connection", "host")
                headers = {name: value for name, value in self.headers.items() if name.lower() not in own}
                signed = _signed(self.command, self.path, body, behind)
                connection = http.client.HTTPConnection("127.0.0.1", behind.port)
                connection.request(self.command, self.path, body, {**headers, **signed})
                answer = connection.getresponse()
                content = answer.read()
                connection.close()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("connection", "transfer-encoding", "content-length", "date", "server"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_PUT = do_POST = do_DELETE = forward  # noqa: N815 - as http.server has it

            def log_message(self, format: str, *words: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def account(self) -> str:
        """A key of a service account whose tokens nobody is asked for."""
        return json.dumps({**self.TOKEN, "gcs_base_url": self.url})

    def bucket(self) -> str:
        """The URL of a bucket of its own."""
        name = self._behind.bucket().removeprefix("s3://").partition("/")[0]
        return f"gs://{name}/some/prefix?endpoint={self.url}"


def _signed(method: str, target: str, body: bytes, server: S3Server) -> dict[str, str]:
    """The headers of a request that S3's signature (version 4) consists of."""
    path, _, query = target.partition("?")
    parts = sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)
    now, digest = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(body).hexdigest()
    headers = {"host": f"127.0.0.1:{server.port}", "x-amz-content-sha256": digest, "x-amz-date": now}
    names = ";".join(headers)
    resource = [method, quote(unquote(path)), "&".join(parts)]
    lines = [*resource, *(f"{name}:{value}" for name, value in headers.items()), "", names, digest]
    scope = [now[:8], "us-east-1", "s3", "aws4_request"]
    request = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    key = f"AWS4{server.SECRET}".encode()
    for part in (*scope, "\n".join(["AWS4-HMAC-SHA256", now, "/".join(scope), request])):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = f"Credential={server.KEY}/{'/'.join(scope)}, SignedHeaders={names}, Signature={key.hex()}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}"}
