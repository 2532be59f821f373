"""Which files a run is given, and what fixes its code once it is known."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.api.delivery import GivenFile, given_files, pinned

SHA, COMMIT = "sha256:" + "a" * 64, "b" * 40
FILES: dict[str, tuple[dict[str, Any], list[GivenFile]]] = {
    "in the image": ({"code": {"kind": "image"}}, []),
    "from git": ({"code": {"kind": "git", "url": "https://git.example/x"}}, []),
    "source": ({"code": {"kind": "source", "configMap": "c"}}, [GivenFile("c", "flow.py", "PENSTOCK_CODE")]),
    "a bundle": ({"code": {"kind": "bundle", "configMap": "c"}}, [GivenFile("c", "flow.bundle", "PENSTOCK_CODE")]),
    "requirements": (
        {"code": {"kind": "image"}, "requirements": {"configMap": "r"}},
        [GivenFile("r", "requirements.txt", "PENSTOCK_REQUIREMENTS")],
    ),
}


@pytest.mark.parametrize(("resolved", "files"), FILES.values(), ids=FILES)
def test_files_that_a_run_is_given(resolved: dict[str, Any], files: list[GivenFile]) -> None:
    assert list(given_files(resolved)) == files


def test_a_run_that_has_found_its_code_is_pinned_to_it() -> None:
    git = {"code": {"kind": "git", "ref": "main"}, "entrypoint": "f:f"}
    assert pinned(git, {"commit": COMMIT}) == {"code": {"kind": "git", "ref": COMMIT}, "entrypoint": "f:f"}
    assert pinned({"code": {"kind": "archive"}}, {"digest": SHA})["code"] == {"kind": "archive", "digest": SHA}
    assert pinned(git, None) == git
    assert git["code"] == {"kind": "git", "ref": "main"}
