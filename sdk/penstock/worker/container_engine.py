"""What a worker needs of Docker or Podman: their HTTP API on a unix socket, which is one and the same.

Called by `containers`. It knows of images and containers, and nothing of runs (docs.docker.com/reference/api/engine).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import httpx

from ..errors import PenstockError

Json = dict[str, Any]
Pull = Literal["always", "missing", "never"]
SECONDS = 30.0  # of an ordinary request
OUT, ERR = 1, 2  # streams of a container, as the engine numbers them


class EngineError(PenstockError):
    """The engine cannot be reached, or refuses."""

    reason = "EngineError"


def socket_path(environment: Mapping[str, str] = os.environ) -> str:
    """Where the engine listens: DOCKER_HOST, or the first of Docker's and Podman's usual places. Raises EngineError."""
    host = environment.get("DOCKER_HOST", "")
    if host:
        if not host.startswith("unix://"):
            raise EngineError(
                f"DOCKER_HOST={host}: runs share a folder with their worker, so the engine must be on this machine; "
                "give it a unix:// socket"
            )
        return host.removeprefix("unix://")
    runtime = environment.get("XDG_RUNTIME_DIR")
    places = [
        "/var/run/docker.sock",
        *([f"{runtime}/podman/podman.sock"] if runtime else []),
        "/run/podman/podman.sock",
    ]
    for place in places:
        if Path(place).is_socket() and os.access(place, os.R_OK | os.W_OK):
            return place
    raise EngineError(
        f"there is no Docker or Podman at {', '.join(places)}: start one (podman system service --time 0 unix://PATH), "
        "and set DOCKER_HOST=unix://PATH where it listens elsewhere"
    )


def pulled(image: str) -> dict[str, str]:
    """What a pull asks for: without a tag an engine would take all there are."""
    name, colon, tag = image.rpartition(":")
    if "@" in image:
        return {"fromImage": image}
    return {"fromImage": name, "tag": tag} if colon and "/" not in tag else {"fromImage": image, "tag": "latest"}


class Engine:
    """The engine behind a unix socket. All methods raise EngineError."""

    def __init__(self, path: str) -> None:
        # Each container holds two connections for as long as it lives: there must be room for one that ends it.
        transport = httpx.AsyncHTTPTransport(uds=path, limits=httpx.Limits(max_connections=None))
        self._path = path
        self._http = httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=SECONDS, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def is_rootless(self) -> bool:
        """Whether root of a container is the user of this process."""
        options = (await self._json("GET", "/info")).get("SecurityOptions") or []
        return any("rootless" in option for option in options)

    async def have_image(self, image: str, pull: Pull) -> None:
        """See to it that the image is there."""
        if pull != "always" and (await self._ask("GET", f"/images/{image}/json", may_miss=True)) is not None:
            return
        if pull == "never":
            raise EngineError(f"image {image} is not there, and --pull never was asked for")
        answer = await self._request("POST", "/images/create", params=pulled(image), timeout=None)
        said = [line for line in answer.text.splitlines() if '"error"' in line]
        if said:
            raise EngineError(f"image {image} cannot be pulled: {said[-1][:500]}")

    async def create(self, name: str, body: Json) -> str:
        """Make a container; its id."""
        made = await self._json("POST", "/containers/create", params={"name": name}, json=body)
        return str(made["Id"])

    async def start(self, id_: str) -> None:
        """Start it."""
        await self._request("POST", f"/containers/{id_}/start")

    async def kill(self, id_: str, signal: str) -> None:
        """Send a signal to its first process; nothing where it has ended."""
        await self._request("POST", f"/containers/{id_}/kill", params={"signal": signal}, fine=(404, 409, 500))

    async def wait(self, id_: str) -> int:
        """The exit code, once it has ended."""
        ended = await self._json("POST", f"/containers/{id_}/wait", timeout=None)
        return int(ended["StatusCode"])

    async def was_killed_for_memory(self, id_: str) -> bool:
        """Whether the kernel killed it for want of memory, as far as the engine knows."""
        found = await self._ask("GET", f"/containers/{id_}/json", may_miss=True)
        return bool(((found or {}).get("State") or {}).get("OOMKilled"))

    async def remove(self, id_: str) -> None:
        """Leave nothing of it, whether it runs or not."""
        await self._request("DELETE", f"/containers/{id_}", params={"force": "true", "v": "true"}, fine=(404, 409))

    async def labelled(self, label: str) -> Sequence[tuple[str, str]]:
        """All containers with that label: id and value."""
        filters = f'{{"label": ["{label}"]}}'
        answer = await self._request("GET", "/containers/json", params={"all": "true", "filters": filters})
        return [(str(found["Id"]), str((found.get("Labels") or {}).get(label, ""))) for found in answer.json()]

    async def output(self, id_: str) -> AsyncIterator[tuple[int, bytes]]:
        """What it writes, from its first byte to its last: stream and bytes."""
        wanted = {"follow": "true", "stdout": "true", "stderr": "true"}
        rest = b""
        try:
            async with self._http.stream("GET", f"/containers/{id_}/logs", params=wanted, timeout=None) as answer:
                if answer.is_error:
                    raise EngineError(f"its output cannot be read: {answer.status_code}")
                async for data in answer.aiter_raw():
                    rest += data
                    while len(rest) >= 8 and len(rest) >= (end := 8 + int.from_bytes(rest[4:8], "big")):
                        yield rest[0], rest[8:end]
                        rest = rest[end:]
        except httpx.HTTPError as error:
            raise EngineError(f"its output breaks off: {error!r}") from error

    async def _json(self, method: str, path: str, **options: Any) -> Json:
        found = await self._ask(method, path, **options)
        return found or {}

    async def _ask(self, method: str, path: str, *, may_miss: bool = False, **options: Any) -> Json | None:
        answer = await self._request(method, path, fine=(404,) if may_miss else (), **options)
        if answer.status_code == 404:
            return None
        try:
            found: Json = answer.json()
        except ValueError as error:
            raise EngineError(f"{method} {path}: the answer is no JSON") from error
        return found

    async def _request(self, method: str, path: str, *, fine: Sequence[int] = (), **options: Any) -> httpx.Response:
        try:
            answer = await self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise EngineError(f"the container engine at {self._path} does not answer: {error!r}") from error
        if answer.is_error and answer.status_code not in fine:
            try:
                message = str(answer.json()["message"])
            except (ValueError, KeyError, TypeError):
                message = answer.text
            raise EngineError(message[:500] or f"{method} {path}: {answer.status_code}")
        return answer
