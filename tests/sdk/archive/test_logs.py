"""The object of one log: what its lines say, where it goes, and that it never holds more than it may."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.archive import logs, record
from penstock.archive.logs import BLOCK, LogAddress, LogTail

UID = "0a1b2c3d-0000-4000-8000-000000000001"
WHERE = LogAddress("2026-01-01", "team", "etl-1", UID, 2)
OF = {"schema": 1, "namespace": "team", "run": "etl-1", "run_uid": UID, "attempt": 2}


def read(packed: bytes) -> list[dict[str, Any]]:
    return list(record.unpack(packed))


def fed(text: bytes, at_most: int = logs.MAX_BYTES, piece: int = 1000) -> LogTail:
    """A log that comes in pieces."""
    tail = LogTail(WHERE, at_most)
    for start in range(0, len(text), piece):
        if tail.feed(text[start : start + piece]):
            tail.seal()
    return tail


def numbered(count: int) -> bytes:
    return b"".join(b"2026-01-01T06:00:00.%09dZ line %d\n" % (n, n) for n in range(count))


@pytest.mark.parametrize(
    ("address", "path"),
    [
        (WHERE, f"logs/date=2026-01-01/team/etl-1-{UID}-2.jsonl.gz"),
        (WHERE._replace(pod="x7k2p"), f"logs/date=2026-01-01/team/etl-1-{UID}-2-x7k2p.jsonl.gz"),
    ],
)
def test_where_a_log_goes_and_that_it_is_found_again(address: LogAddress, path: str) -> None:
    assert address.path == path
    assert logs.parse_file("2026-01-01", "team", path.rpartition("/")[2]) == address
    assert address.checked() == address


@pytest.mark.parametrize(
    "other",
    [
        {"run": "../other/etl"},
        {"run": ""},
        {"uid": "x"},
        {"uid": ""},
        {"attempt": 0},
        {"pod": "../x"},
        {"pod": "X"},
        {"date": "today"},
    ],
)
def test_what_could_mean_another_place_is_no_address(other: dict[str, Any]) -> None:
    assert WHERE._replace(**other).checked() is None


@pytest.mark.parametrize("file", ["README.md", f"etl-1-{UID}.jsonl.gz", f"etl-1-{UID}-0.jsonl.gz", "a-1.jsonl.gz"])
def test_files_of_others_are_no_logs(file: str) -> None:
    assert logs.parse_file("2026-01-01", "team", file) is None


def test_a_line_says_whose_it_is_when_it_was_and_what_it_was() -> None:
    text = b'2026-01-01T06:00:01.5Z {"ts": 1}\n2026-01-01T06:00:02+01:00 \n'
    assert read(fed(text).packed()) == [
        {"kind": "Log", **OF, "time": "2026-01-01T06:00:01.5Z", "text": '{"ts": 1}'},
        {"kind": "Log", **OF, "time": "2026-01-01T06:00:02+01:00", "text": ""},
    ]


def test_lines_without_a_time_have_that_of_the_line_before_and_the_last_needs_no_end() -> None:
    found = read(fed(b"early\n2026-01-01T06:00:01Z x\n\xff\xfe\rlate").packed())
    assert [(line["time"], line["text"]) for line in found] == [
        (None, "early"),
        ("2026-01-01T06:00:01Z", "x"),
        ("2026-01-01T06:00:01Z", "��\rlate"),
    ]


def test_an_empty_log_is_an_object_without_lines() -> None:
    packed = LogTail(WHERE).packed()
    assert gzip.decompress(packed) == b""
    assert read(packed) == []


def test_of_a_long_log_the_end_is_kept_and_the_first_line_says_what_is_not() -> None:
    text = numbered(60_000)
    tail = fed(text, at_most=4 * BLOCK, piece=7000)
    first, *rest = read(tail.packed("the log broke off"))
    kept = len(text) - int(first["text"].split()[2])
    assert first == {"kind": "LogCut", **OF, "time": None, "text": first["text"]}
    assert first["text"].endswith(" bytes of this log are not kept; the log broke off")
    assert 3 * BLOCK - 7000 < kept <= 4 * BLOCK + 7000
    assert [line["text"] for line in rest] == [f"line {n}" for n in range(60_000 - len(rest), 60_000)]


def test_a_line_longer_than_a_block_is_cut_into_several() -> None:
    text = b"2026-01-01T06:00:01Z " + b"x" * (2 * BLOCK)
    tail = fed(text)
    assert tail.size < BLOCK
    lines = read(tail.packed())
    assert "".join(line["text"] for line in lines) == "x" * (2 * BLOCK)
    assert {line["time"] for line in lines} == {"2026-01-01T06:00:01Z"}


def test_the_oldest_goes_first_and_never_the_last() -> None:
    tail = fed(numbered(20_000))
    before = tail.size
    assert tail.drop_oldest()
    assert tail.size < before
    while tail.drop_oldest():
        pass
    assert read(tail.packed())[-1]["text"] == "line 19999"


@given(st.binary(max_size=4000), st.integers(1, 500), st.integers(1, 2000))
def test_nothing_is_lost_or_invented_however_it_comes(text: bytes, piece: int, block: int) -> None:
    tail = LogTail(WHERE)
    for start in range(0, len(text), piece):
        tail.feed(text[start : start + piece])
        if start % block == 0:
            tail.seal()
    lines = read(tail.packed())
    assert tail.fed == len(text)
    assert len(lines) >= text.count(b"\n")
    assert all(line["kind"] == "Log" for line in lines)


def test_pandas_reads_it_like_the_records_of_runs(tmp_path: Path) -> None:
    """It is made of several gzip members, which readers must take as one."""
    file = tmp_path / "log.jsonl.gz"
    file.write_bytes(fed(numbered(10_000)).packed("cut"))
    table = pandas.read_json(file, lines=True, compression="gzip")
    assert len(table.query("kind == 'Log'")) == 10_000
    assert table["text"].iloc[-1] == "line 9999"
