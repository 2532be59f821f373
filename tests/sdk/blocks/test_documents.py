"""Where blocks are read and written: a run reads its mount and writes nothing; sizes are bounded."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from penstock.api import labels, names
from penstock.blocks import documents
from penstock.blocks.documents import Document
from penstock.errors import InvalidResource, ResourceNotFound, ResourceRefused
from penstock.resources import body_of
from penstock.resources.local import LocalResources


@pytest.fixture
def local(tmp_path: Path) -> LocalResources:
    return LocalResources(tmp_path / "home")


@pytest.fixture
def mount(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of mounted blocks, in a pod without an API server: nothing is asked of one."""
    folder = tmp_path / "mount"
    folder.mkdir()
    for name, value in ((labels.ENV_RUN, "etl-1"), (labels.ENV_POD_UID, "u"), (labels.ENV_BLOCKS, str(folder))):
        monkeypatch.setenv(name, value)
    return folder


def mounted(folder: Path, name: str, content: Any, **secrets: bytes) -> None:
    """As the kubelet lays it out."""
    (folder / name).mkdir()
    (folder / name / labels.BLOCK_FILE).write_text(json.dumps(content))
    if secrets:
        (folder / name / labels.BLOCK_SECRETS).mkdir()
    for path, value in secrets.items():
        (folder / name / labels.BLOCK_SECRETS / path).write_bytes(value)


def test_a_run_reads_what_is_mounted(mount: Path) -> None:
    mounted(mount, "prod", {"type": "warehouse", "data": {"host": "db"}}, password=b"\xff")
    mounted(mount, "plain", {"type": "t", "data": {}})
    assert documents.read("prod") == Document("warehouse", {"host": "db"}, {"password": b"\xff"})
    assert documents.read("plain") == Document("t", {}, {})


def test_a_run_reads_nothing_else(mount: Path) -> None:
    with pytest.raises(ResourceNotFound, match=r"block other is not mounted: declare it .*@flow\(blocks=\['other'\]\)"):
        documents.read("other")


def test_a_run_writes_and_deletes_none(mount: Path) -> None:
    mounted(mount, "prod", {"type": "t", "data": {}})
    with pytest.raises(ResourceRefused, match=r"a run writes no blocks, .*; save it from outside"):
        documents.write("prod", Document("t", {}, {}), True)
    with pytest.raises(ResourceRefused, match="a run deletes no blocks; delete it from outside"):
        documents.remove("prod")


def test_secrets_made_by_hand_are_read_by_their_references(local: LocalResources) -> None:
    spec = {"type": "t", "secrets": {"a": {"name": "mine", "key": "x"}, "b.c": {"name": "other", "key": "y"}}}
    local.create(body_of("Block", "prod", spec))
    with pytest.raises(ResourceNotFound, match="block prod: Secret mine of field a is not in"):
        documents.read("prod", local)
    for name, key in (("mine", "x"), ("other", "z")):
        data = {key: base64.b64encode(key.encode()).decode()}
        local.create({"kind": "Secret", "metadata": {"name": name}, "data": data})
    with pytest.raises(ResourceNotFound, match=r"block prod: Secret other has no key y for field b\.c"):
        documents.read("prod", local)
    local.change("secrets", "other", {"/data/y": base64.b64encode(b"y").decode()})
    assert documents.read("prod", local).secrets == {"a": b"x", "b.c": b"y"}


def test_secrets_that_others_made_stay_when_the_block_goes(local: LocalResources) -> None:
    local.create(body_of("Block", "prod", {"type": "t", "secrets": {"a": {"name": "mine", "key": "x"}}}))
    local.create({"kind": "Secret", "metadata": {"name": "mine"}, "data": {}})
    assert documents.remove("prod", where=local)
    assert local.get("secrets", "mine") is not None


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (Document("t", {"a": "x" * 65_536}, {}), "data has 65545 bytes of JSON, and may have 65536"),
        (Document("t", {}, {"a": b"x" * 524_289}), "1 secrets of 524289 bytes together"),
        (Document("t", {}, {f"f{n}": b"" for n in range(65)}), "65 secrets of 0 bytes together, and there may be 64"),
    ],
    ids=["much data", "a large secret", "many secrets"],
)
def test_sizes_are_refused_with_the_remedy(document: Document, said: str, local: LocalResources) -> None:
    with pytest.raises(InvalidResource, match=f"block prod: {said}"):
        documents.write("prod", document, False, local)
    assert local.get("blocks", "prod") is None


def test_a_document_shows_no_secrets() -> None:
    assert "h4rd" not in repr(Document("t", {}, {"a": b"h4rd"}))


def test_a_block_without_secrets_has_no_secret(local: LocalResources) -> None:
    documents.write("prod", Document("t", {}, {}), False, local)
    assert local.get("secrets", names.block_secret("prod")) is None
