"""Keys and paths: one to one, and never out of the folder."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.results.keys import LONGEST, path_of

KEYS = st.text() | st.text(alphabet="./=a%2E", max_size=12) | st.text(alphabet="ab", min_size=140, max_size=200)


@given(one=KEYS, other=KEYS)
@example("..", "=2E=2E")
@example("", "=")
@example(".a", "=2Ea")
@example("a/", "a/=")
@example("a b", "a=20b")
def test_different_keys_have_different_paths(one: str, other: str) -> None:
    assert (path_of(one) == path_of(other)) == (one == other)


@given(key=KEYS)
@example("../../etc/passwd")
@example("/etc/passwd")
@example("a//b/./c")
def test_a_path_stays_in_its_folder(key: str) -> None:
    path = path_of(key)
    names = path.split("/")
    assert not any(name == "" or name.startswith(".") for name in names)
    assert all(len(name) <= LONGEST + 65 for name in names)
    assert path.isascii()
    assert not set(path) & set('\\:*?"<>| %\0')


def test_plain_keys_are_readable() -> None:
    assert path_of("2f6c-1/load_table.v2") == "2f6c-1/load_table.v2"
