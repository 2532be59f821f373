"""Archives are fetched, verified and unpacked; what is not safe or not there says so. S3 itself: tests/integration."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock.code import archives
from penstock.code.archives import fetch
from penstock.errors import CodeUnavailable
from penstock.settings import temporary_settings

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path) -> Iterator[None]:
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield


def tar(path: Path, *members: Member, mode: str = "w:gz") -> str:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload] # the mode is a variable
        for info, content in members:
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return f"file://{path}"


def member(name: str, content: bytes = b"", **fields: object) -> Member:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def zipped(path: Path, names: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return f"file://{path}"


MAKERS: dict[str, Callable[[Path], str]] = {
    "tar.gz": lambda path: tar(path, member("pkg/__init__.py"), member("./flow.py", b"x = 1")),
    "tar.xz": lambda path: tar(path, member("pkg/__init__.py"), member("flow.py", b"x = 1"), mode="w:xz"),
    "tar": lambda path: tar(path, member("pkg/__init__.py"), member("flow.py", b"x = 1"), mode="w"),
    "zip": lambda path: zipped(path, {"pkg/__init__.py": b"", "flow.py": b"x = 1"}),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_an_archive_is_unpacked_and_its_digest_known(tmp_path: Path, make: Callable[[Path], str]) -> None:
    path = tmp_path / "code"
    folder, digest = fetch(make(path), None, {})
    assert digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert (folder / "flow.py").read_text() == "x = 1"
    assert (folder / "pkg/__init__.py").read_text() == ""


def test_a_tar_that_ends_with_a_wheel_is_no_zip(tmp_path: Path) -> None:
    zipped(tmp_path / "lib.whl", {"lib/__init__.py": b""})
    wheel = member("vendor/lib.whl", (tmp_path / "lib.whl").read_bytes())
    folder, _ = fetch(tar(tmp_path / "code", member("flow.py", b"x = 1"), wheel, mode="w"), None, {})
    assert (folder / "flow.py").read_bytes() == b"x = 1"
    assert (folder / "vendor/lib.whl").is_file()


def test_with_its_digest_it_is_not_fetched_again(tmp_path: Path) -> None:
    url = MAKERS["tar.gz"](tmp_path / "code")
    folder, digest = fetch(url, None, {})
    (tmp_path / "code").unlink()
    assert fetch(url, digest, {}) == (folder, digest)


def test_what_was_fetched_is_not_given_to_who_names_another_place(tmp_path: Path) -> None:
    url = MAKERS["tar.gz"](tmp_path / "code")
    _, digest = fetch(url, None, {})
    with pytest.raises(CodeUnavailable, match="there is no such object"):
        fetch(f"{url}-of-another", digest, {})


def test_another_archive_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    url = MAKERS["tar.gz"](tmp_path / "code")
    asked = "sha256:" + "0" * 64
    with pytest.raises(CodeUnavailable, match=r"spec\.code\.archive\.url: .* and not sha256:000.* it was replaced"):
        fetch(url, asked, {})


HARMFUL: dict[str, tuple[Callable[[Path], str], str]] = {
    "a path that goes up": (lambda path: tar(path, member("../evil.py")), "outside of its folder"),
    "an absolute path": (lambda path: tar(path, member("/tmp/evil.py")), "outside of its folder"),
    "a path that goes up in a zip": (lambda path: zipped(path, {"../evil.py": b""}), "outside of its folder"),
    "a symbolic link": (
        lambda path: tar(path, member("up", type=tarfile.SYMTYPE, linkname="/etc"), member("up/passwd")),
        "has a link 'up'",
    ),
    "a hard link": (lambda path: tar(path, member("x", type=tarfile.LNKTYPE, linkname="/etc/passwd")), "has a link"),
    "a device": (lambda path: tar(path, member("null", type=tarfile.CHRTYPE)), "has a special file"),
    "a text": (lambda path: f"file://{path}" if path.write_text("x" * 2000) else "", "is no tar"),
    "half a tar": (
        lambda path: f"file://{path}" if path.write_bytes(_tar_bytes()[: len(_tar_bytes()) // 2]) else "",
        "is no tar",
    ),
}


def _tar_bytes() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo("flow.py")
        content = bytes(hash((n, 7)) & 0xFF for n in range(50_000))
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


@pytest.mark.parametrize(("make", "message"), HARMFUL.values(), ids=HARMFUL)
def test_what_cannot_be_unpacked_safely_is_not(tmp_path: Path, make: Callable[[Path], str], message: str) -> None:
    with pytest.raises(CodeUnavailable, match=message):
        fetch(make(tmp_path / "code"), None, {})
    assert not list((tmp_path / "cache" / "archive").glob("[!.]*"))


def test_there_is_a_bound_to_what_is_fetched_and_to_what_it_becomes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = tar(tmp_path / "bomb", member("zeros", bytes(2 << 20)))
    monkeypatch.setattr(archives, "Tree", lambda folder, what: _small(folder, what))
    with pytest.raises(CodeUnavailable, match="more than 1 MiB unpacked"):
        fetch(url, None, {})
    monkeypatch.setattr(archives, "MAX_BYTES", 100)
    with pytest.raises(CodeUnavailable, match="more than"):
        fetch(url, None, {})


def _small(folder: Path, what: str) -> object:
    from penstock.code.trees import Tree

    return Tree(folder, what, max_bytes=1 << 20)


URLS = {
    "nothing there": ("file:///nowhere/x.zip", "there is no such object"),
    "another scheme": ("ftp://host/x.zip", "there is no code ftp://"),
    "no bucket": ("s3:///x.zip", "names no bucket"),
    "credentials": ("s3://key:secret@bucket/x.zip", "has credentials in it"),
}


@pytest.mark.parametrize(("url", "message"), URLS.values(), ids=URLS)
def test_a_place_that_gives_none_is_named(url: str, message: str) -> None:
    with pytest.raises(CodeUnavailable, match=message) as caught:
        fetch(url, None, {})
    assert caught.value.reason == "CodeUnavailable"
