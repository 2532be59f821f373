"""A bundle stands in the Flow where it fits, else in object storage, else nowhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock import flow
from penstock.api.flow import MAX_BUNDLE
from penstock.bundling import bundled
from penstock.code import bundle
from penstock.errors import DefinitionError
from penstock.settings import temporary_settings

DATA = os.urandom(200_000)


@flow
def small() -> int:
    return 1


@pytest.fixture(autouse=True)
def cache(tmp_path: Path) -> Iterator[None]:
    with temporary_settings(code_cache=str(tmp_path / "cache")):
        yield


def large() -> object:
    data = DATA

    @flow
    def large() -> int:
        return len(data)

    return large


def test_a_small_one_is_in_the_flow() -> None:
    made = bundled(small).bundle
    assert made is not None
    assert made.data is not None
    assert len(made.data) < MAX_BUNDLE
    assert (made.url, made.python_version.count(".")) == (None, 2)


def test_a_large_one_is_put_into_storage_by_its_digest(tmp_path: Path) -> None:
    with temporary_settings(code_storage=f"file://{tmp_path}/bundles"):
        made = bundled(large()).bundle  # type: ignore[arg-type]
    assert made is not None
    assert made.data is None
    assert made.url is not None
    assert made.digest is not None
    data = bundle.fetch(made.url, made.digest, {})
    assert len(data) > 200_000
    assert [path.name for path in (tmp_path / "bundles").iterdir()] == [f"{made.digest.removeprefix('sha256:')}.bundle"]


def test_where_there_is_none_the_remedies_are_told() -> None:
    with pytest.raises(DefinitionError, match=r"has 2\d\d KiB in base64, a Flow holds 160\. .*PENSTOCK_CODE_STORAGE"):
        bundled(large())  # type: ignore[arg-type]
