"""Where an engine is looked for, and what a pull asks it for; the engine itself is that of the integration tests."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from penstock.worker.container_engine import Engine, EngineError, pulled, socket_path


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        ("flows", {"fromImage": "flows", "tag": "latest"}),
        ("flows:7", {"fromImage": "flows", "tag": "7"}),
        ("registry.example/flows:7", {"fromImage": "registry.example/flows", "tag": "7"}),
        ("registry.example:5000/flows", {"fromImage": "registry.example:5000/flows", "tag": "latest"}),
        ("registry.example:5000/flows:7", {"fromImage": "registry.example:5000/flows", "tag": "7"}),
        ("flows@sha256:0123", {"fromImage": "flows@sha256:0123"}),
        ("flows:7@sha256:0123", {"fromImage": "flows:7@sha256:0123"}),
    ],
)
def test_a_pull_names_one_image(image: str, asked: dict[str, str]) -> None:
    assert pulled(image) == asked


def test_an_engine_is_where_the_environment_says() -> None:
    assert socket_path({"DOCKER_HOST": "unix:///x/docker.sock"}) == "/x/docker.sock"


def test_an_engine_on_another_machine_is_refused() -> None:
    with pytest.raises(EngineError, match="must be on this machine"):
        socket_path({"DOCKER_HOST": "tcp://10.0.0.1:2375"})


def test_podman_of_a_user_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # for the path of a socket has 107 bytes at most
    place = tmp_path / "podman" / "podman.sock"
    place.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("podman/podman.sock")
        found = socket_path({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found in (str(place), "/var/run/docker.sock")  # Docker's comes first, where it is


def test_an_engine_that_does_not_answer_is_named() -> None:
    async def ask() -> None:
        async with Engine("/nowhere/engine.sock") as engine:
            await engine.is_rootless()

    with pytest.raises(EngineError, match=r"the container engine at /nowhere/engine\.sock does not answer"):
        asyncio.run(ask())
