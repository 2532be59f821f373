"""A git server on loopback: git's own `http-backend` behind Python's HTTP server; with a password where wanted."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Self
from urllib.parse import urlsplit

IDENTITY = {
    **{f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}


class GitServer:
    """Repositories below a folder, at `url`/NAME.git; with a password, to who gives it as basic authentication only."""

    def __init__(self, folder: Path, password: str | None = None, username: str = "x-access-token") -> None:
        self.folder, self.authorized = folder, 0
        expected = base64.b64encode(f"{username}:{password}".encode()).decode() if password else None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                if expected is not None:
                    if self.headers.get("Authorization") != f"Basic {expected}":
                        self.send_response(401)
                        self.send_header("WWW-Authenticate", 'Basic realm="git"')
                        self.send_header("Content-Length", "0")
                        self.end_headers()
                        return
                    outer.authorized += 1
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                environment = {
                    **os.environ,
                    **IDENTITY,
                    "GIT_PROJECT_ROOT": str(folder),
                    "GIT_HTTP_EXPORT_ALL": "1",
                    "PATH_INFO": parts.path,
                    "QUERY_STRING": parts.query,
                    "REQUEST_METHOD": self.command,
                    "CONTENT_TYPE": self.headers.get("Content-Type") or "",
                    "CONTENT_LENGTH": str(len(body)),
                    "GIT_PROTOCOL": self.headers.get("Git-Protocol") or "",
                    "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding") or "",
                }
                # It says in its answer what it does not do, and exits with 1 besides.
                done = subprocess.run(["git", "http-backend"], input=body, env=environment, stdout=PIPE, stderr=DEVNULL)
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
                self.send_response(int(headers.pop("Status", "200").split()[0]))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = answer  # noqa: N815 - as http.server has it

            def log_message(self, format: str, *words: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def url(self, name: str, host: str = "127.0.0.1") -> str:
        """The URL of a repository."""
        return f"http://{host}:{self.port}/{name}.git"

    def repository(self, name: str) -> Repository:
        """A new repository, empty."""
        path = self.folder / f"{name}.git"
        git("init", "--quiet", "--bare", "--initial-branch", "main", path)
        return Repository(path, self.folder / f"{name}-work")


class Repository:
    """A bare repository and a work tree to fill it from."""

    def __init__(self, path: Path, work: Path) -> None:
        self.path, self.work = path, work
        git("init", "--quiet", "--initial-branch", "main", work)
        git("remote", "add", "origin", path, cwd=work)

    def commit(self, files: Mapping[str, str], branch: str = "main", tag: str | None = None) -> str:
        """The commit that these files make upon what is there, pushed to a branch."""
        for name, text in files.items():
            file = self.work / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        git("add", "--all", cwd=self.work)
        git("commit", "--quiet", "--message", "A change", cwd=self.work)
        if tag:
            git("tag", "--annotate", "--message", tag, tag, cwd=self.work)
        git("push", "--quiet", "--force", "--tags", "origin", f"HEAD:refs/heads/{branch}", cwd=self.work)
        return git("rev-parse", "HEAD", cwd=self.work).strip()

    def forget(self, commit: str) -> None:
        """Take the history back by the last commit, and let go of it for good."""
        git("reset", "--quiet", "--hard", f"{commit}~1", cwd=self.work)
        git("push", "--quiet", "--force", "origin", "HEAD:refs/heads/main", cwd=self.work)
        git("reflog", "expire", "--expire=now", "--all", cwd=self.path)
        git("gc", "--quiet", "--prune=now", cwd=self.path)


def git(*words: str | Path, cwd: Path | None = None) -> str:
    """What git says."""
    environment = {**os.environ, **IDENTITY}
    done = subprocess.run(["git", *words], cwd=cwd, env=environment, capture_output=True, text=True, check=True)
    return done.stdout
