"""Code from a real git server on loopback: what a ref means, private repositories, and what is told of failures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from git_server import GitServer, git
from penstock.code import patience
from penstock.code.git import fetch, meant
from penstock.errors import CodeUnavailable
from penstock.settings import temporary_settings


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(patience, "PATIENCE", 0.0)
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "repositories").mkdir()
    with GitServer(tmp_path / "repositories") as server:
        yield server


REFS = {
    b"refs/heads/main": b"1",
    b"refs/heads/v1": b"2",
    b"refs/tags/v1": b"3",
    b"refs/tags/v1^{}": b"4",
    b"HEAD": b"1",
}
MEANT = {
    "the default branch": ("HEAD", b"1"),
    "a branch": ("main", b"1"),
    "a tag goes before a branch, and means its commit": ("v1", b"4"),
    "a whole name": ("refs/heads/v1", b"2"),
    "half of one": ("heads/v1", b"2"),
    "none": ("v2", None),
}


@pytest.mark.parametrize(("ref", "commit"), MEANT.values(), ids=MEANT)
def test_what_a_ref_means(ref: str, commit: bytes | None) -> None:
    assert meant(ref, REFS) == commit


def test_branches_tags_and_commits(server: GitServer) -> None:
    repository = server.repository("flows")
    first = repository.commit({"jobs/etl.py": "x = 1"}, tag="v1")
    second = repository.commit({"jobs/etl.py": "x = 2", "run.sh": "#!/bin/sh"})
    url = server.url("flows")
    for ref, commit, text in (
        ("HEAD", second, "x = 2"),
        ("main", second, "x = 2"),
        ("v1", first, "x = 1"),
        (second, second, "x = 2"),
    ):
        folder, found = fetch(url, ref, {})
        assert (found, (folder / "jobs/etl.py").read_text()) == (commit, text)
    assert not (folder / ".git").exists()


def test_a_commit_that_no_branch_ends_at_is_had_all_the_same(server: GitServer) -> None:
    """So a run keeps to its commit when the branch moves on."""
    repository = server.repository("flows")
    commits = [repository.commit({"etl.py": f"x = {n}"}) for n in range(3)]
    folder, found = fetch(server.url("flows"), commits[1], {})
    assert (found, (folder / "etl.py").read_text()) == (commits[1], "x = 1")


def test_a_commit_is_had_without_the_server_once_it_was_fetched(server: GitServer, tmp_path: Path) -> None:
    commit = server.repository("flows").commit({"etl.py": "x = 1"})
    folder, _ = fetch(server.url("flows"), "main", {})
    git("update-ref", "-d", "refs/heads/main", cwd=tmp_path / "repositories" / "flows.git")
    assert fetch(server.url("flows"), commit, {}) == (folder, commit)


def test_what_was_fetched_is_not_given_to_who_names_another_place(server: GitServer) -> None:
    commit = server.repository("flows").commit({"etl.py": "x = 1"})
    fetch(server.url("flows"), commit, {})
    with pytest.raises(CodeUnavailable, match="there is no repository at"):
        fetch(server.url("nothing"), commit, {})


def test_links_and_submodules_are_left_out(server: GitServer) -> None:
    repository = server.repository("flows")
    repository.commit({"etl.py": "x = 1"})
    (repository.work / "up").symlink_to("/etc")
    git("update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},vendored", cwd=repository.work)
    repository.commit({"more.py": ""})
    folder, _ = fetch(server.url("flows"), "main", {})
    assert sorted(path.name for path in folder.iterdir()) == ["etl.py", "more.py"]


def test_a_private_repository_wants_its_token(tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    with GitServer(tmp_path / "private", password="t0ken") as server:
        commit = server.repository("flows").commit({"etl.py": "x = 1"})
        url = server.url("flows")
        with pytest.raises(CodeUnavailable, match=r"spec\.code\.git\.secretRef: .* it wants credentials"):
            fetch(url, "main", {})
        with pytest.raises(CodeUnavailable, match=r"secretRef: .* password \(or token\) is not taken") as caught:
            fetch(url, "main", {"token": "another"})
        assert "another" not in f"{caught.value!r}{caught.value.__cause__!r}"
        assert server.authorized == 0
        assert fetch(url, "main", {"token": "t0ken"})[1] == commit
        assert server.authorized > 0
        with pytest.raises(CodeUnavailable, match="it wants credentials"):
            fetch(url, commit, {})  # though it is kept: not by who had none
    with GitServer(tmp_path / "private", password="t0ken", username="reader") as server:
        credentials = {"username": "reader", "password": "t0ken"}
        assert fetch(server.url("flows"), "main", credentials)[1] == commit


# dulwich leaves the answer that refuses it to the garbage collector, and the answer's socket with it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:unclosed:ResourceWarning")
def test_what_is_not_there_is_named_with_its_field(server: GitServer) -> None:
    repository = server.repository("flows")
    gone = [repository.commit({"etl.py": f"x = {n}"}) for n in range(2)][1]
    repository.forget(gone)
    url = server.url("flows")
    with pytest.raises(CodeUnavailable, match=rf"spec\.code\.git\.ref: v9 is neither branch nor tag of {url}"):
        fetch(url, "v9", {})
    with pytest.raises(CodeUnavailable, match=rf"spec\.code\.git\.ref: commit {gone} is not in {url} \(any more\)"):
        fetch(url, gone, {})
    with pytest.raises(CodeUnavailable, match=r"spec\.code\.git\.url: there is no repository at"):
        fetch(server.url("nothing"), "main", {})


def test_a_server_that_is_away_may_be_back(server: GitServer) -> None:
    with pytest.raises(CodeUnavailable, match=r"spec\.code\.git\.url: .*") as caught:
        fetch("http://127.0.0.1:9/flows.git", "main", {})
    assert caught.value.transient
