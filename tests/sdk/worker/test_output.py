from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.logs import render
from penstock.worker.output import END, ERR, MAX_LINE, OUT, Tagged, ended

NOW = 1_767_247_200.5
RECORD = {
    "ts": "2026-01-01T06:00:00.000Z",
    "level": "WARNING",
    "logger": "x",
    "message": "m",
    "run": "run",
    "attempt": 2,
}


def tagged(*data: bytes, stream: str = OUT) -> list[Any]:
    lines = Tagged(stream, "run", "uid", 2)
    found = [line for piece in data for line in lines.feed(piece, NOW)] + lines.close(NOW)
    assert all(line.endswith(b"\n") for line in found)
    return [json.loads(line) for line in found]


def test_a_printed_line_becomes_a_record_of_its_run() -> None:
    assert tagged(b"hello\n") == [
        {
            "ts": "2026-01-01T06:00:00.500Z",
            "level": "INFO",
            "logger": "penstock.stdout",
            "message": "hello",
            "run": "run",
            "attempt": 2,
            "runUid": "uid",
        }
    ]
    assert tagged(b"oh\n", stream=ERR)[0]["logger"] == "penstock.stderr"


def test_a_record_stays_what_it_is() -> None:
    assert tagged(json.dumps({**RECORD, "task": "double-0"}).encode() + b"\n") == [
        {**RECORD, "task": "double-0", "runUid": "uid"}
    ]


def test_no_line_says_it_is_another_runs() -> None:
    (record,) = tagged(json.dumps({**RECORD, "run": "other", "attempt": 7, "runUid": "x"}).encode() + b"\n")
    assert (record["run"], record["attempt"], record["runUid"]) == ("run", 2, "uid")


def test_the_end_of_an_attempt_is_the_workers_to_tell() -> None:
    (record,) = tagged(json.dumps({**RECORD, END: 0}).encode() + b"\n")
    assert END not in record
    assert json.loads(ended("run", "uid", 2, 3, NOW))[END] == 3


def test_what_looks_like_a_record_and_is_none_is_printed_as_it_is() -> None:
    lines = [b"{", b"{}", b'{"ts": 1, "level": "INFO", "message": "m"}', b"{" * 100_000]
    for line in lines:
        assert tagged(line + b"\n")[0]["message"].startswith(line[:MAX_LINE].decode()[:1])
        assert tagged(line + b"\n")[0]["logger"] == "penstock.stdout"


def test_a_line_without_an_end_is_cut_and_nothing_is_lost() -> None:
    data = b"x" * (2 * MAX_LINE + 5)
    found = tagged(data[:1000], data[1000:])
    assert "".join(record["message"] for record in found) == data.decode()
    assert max(len(record["message"]) for record in found) == MAX_LINE


@given(st.lists(st.binary(max_size=50), max_size=10))
def test_pieces_give_the_lines_of_the_whole(pieces: list[bytes]) -> None:
    assert tagged(*pieces) == tagged(b"".join(pieces))


def test_records_are_rendered_as_those_of_pods() -> None:
    (line,) = Tagged(OUT, "run", "uid", 1).feed(b"hello\n", NOW)
    assert render(line.decode()).rstrip().endswith("hello")
