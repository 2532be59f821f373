"""What every result store keeps to, wherever its records are. Subclasses give the fixture `store`."""

from __future__ import annotations

import pickle
import threading
import time

import pytest

from penstock.errors import MissingResult
from penstock.results import ResultStore


class StoreContract:
    """Tests for one store that is empty at first."""

    def test_a_value_comes_back_and_the_last_writer_wins(self, store: ResultStore) -> None:
        assert not store.exists("k")
        store.write("k", {"a": (1, 2)})
        assert (store.read("k"), store.exists("k")) == ({"a": (1, 2)}, True)
        store.write("k", None)
        assert store.read("k") is None

    def test_what_is_not_there(self, store: ResultStore) -> None:
        with pytest.raises(MissingResult, match=r"no result at .*/nothing.*: it was never written"):
            store.read("nothing")
        assert store.find("nothing") is None
        store.delete("nothing")
        store.write("nothing", 1)
        store.delete("nothing")
        assert not store.exists("nothing")

    @pytest.mark.parametrize("key", ["a/b/c", "a b", "ä:?*", "../up", "/root", "x" * 300, ".hidden", "a=2Fb", "100%"])
    def test_any_text_is_a_key(self, store: ResultStore, key: str) -> None:
        store.write(key, key)
        store.write(f"{key}2", "other")
        assert store.read(key) == key
        assert store.reference(key).get() == key

    def test_an_expired_record_is_as_good_as_none(self, store: ResultStore) -> None:
        store.write("old", 1, expiration=time.time() - 1)
        store.write("new", 1, expiration=time.time() + 3600)
        assert (store.exists("old"), store.find("old"), store.exists("new")) == (False, None, True)
        with pytest.raises(MissingResult, match="expired"):
            store.read("old")

    def test_large_values(self, store: ResultStore) -> None:
        """Larger than what an object store takes in one part, and than what `exists` looks at."""
        value = bytes(range(256)) * 50_000
        store.write("large", value)
        assert store.exists("large")
        assert store.read("large") == value

    def test_a_header_larger_than_what_is_looked_at(self, store: ResultStore) -> None:
        key = "k" * 40_000
        store.write(key, 1)
        assert store.exists(key)
        assert store.read(key) == 1

    def test_readers_see_whole_records_while_others_write(self, store: ResultStore) -> None:
        values = [str(n) * 20_000 for n in range(4)]
        store.write("k", values[0])

        def write(value: str) -> None:
            for _ in range(10):
                store.write("k", value)

        threads = [threading.Thread(target=write, args=(value,)) for value in values]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            assert store.read("k") in values
        for thread in threads:
            thread.join()

    def test_a_pickled_store_is_the_same_place(self, store: ResultStore) -> None:
        store.write("k", 7)
        again = pickle.loads(pickle.dumps(store))
        assert (again.read("k"), again.url, repr(again)) == (7, store.url, repr(store))
