"""The record of a run: what stands in it, that it is always the same, and that nothing of a damaged page is lost."""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

import builders
from penstock.api import taskrecords
from penstock.archive import record
from penstock.archive.record import Address

Json = dict[str, Any]
UID = "0a1b2c3d-0000-4000-8000-00000000000f"


def ended(name: str = "etl-1", uid: str = UID, ended: str = "2026-01-01T06:59:59.5Z", state: str = "Completed") -> Json:
    run = builders.flow_run(state, startTime="2026-01-01T06:00:00Z", endTime=ended, settled=True)
    run["metadata"] |= {"name": name, "uid": uid, "managedFields": [{"manager": "someone"}]}
    return run


def page(data: str | None, number: int = 0) -> Json:
    body: Json = {"kind": "TaskRunPage", "metadata": {"name": f"p-{number}"}, "run": {"name": "etl-1", "uid": UID}}
    body |= {"attempt": 2, "number": number, "records": 1, "summary": [{"task": "load", "states": {"Completed": 1}}]}
    return body if data is None else {**body, "data": data, "encoding": taskrecords.ENCODING}


def row(**changes: Any) -> SimpleNamespace:
    values = {"id": "t-1", "task": "load", "key": "load-k", "name": "load-0", "state": "COMPLETED"}
    values |= {"state_name": "Completed", "attempts": 1, "created": 1_767_250_800.25, "started": 1_767_250_801.0}
    values |= {"ended": None, "upstream": [], "cache_key": None, "message": None}
    return SimpleNamespace(**{**values, **changes})


EVENT = {"kind": "Event", "metadata": {"name": "e", "managedFields": []}, "reason": "FlowRunCompleted"}


@pytest.mark.parametrize(
    ("end", "day"),
    [
        ("2026-01-01T23:59:59.999Z", "2026-01-01"),
        ("2026-01-02T00:30:00+02:00", "2026-01-01"),
        ("2026-01-01t12:00:00z", "2026-01-01"),
    ],
)
def test_the_utc_day_of_its_end_and_its_uid_make_the_place(end: str, day: str) -> None:
    found = record.address(ended(ended=end))
    assert found.path == f"runs/date={day}/team/etl-1-{UID}.jsonl.gz"
    assert record.parse_file(day, "team", found.path.rpartition("/")[2]) == found


def test_a_run_that_never_started_stands_under_its_last_state() -> None:
    run = builders.flow_run("Cancelled")
    assert record.address(run).date == run["status"]["state"]["time"][:10]


@pytest.mark.parametrize(
    "file", ["etl-1.jsonl.gz", f"etl-1-{UID}.json", f"-{UID}.jsonl.gz", f"ETL-{UID}.jsonl.gz", UID]
)
def test_other_files_are_no_records(file: str) -> None:
    assert record.parse_file("2026-01-01", "team", file) is None


def test_names_with_dashes_are_told_apart() -> None:
    assert record.parse_file("d", "n", f"a-b-1-{UID}.jsonl.gz") == Address("d", "n", "a-b-1", UID)


def test_the_run_comes_first_then_its_task_runs_then_its_events() -> None:
    data = taskrecords.encode([row(), row(id="t-2", name="load-1", started=None)])
    lines = list(record.unpack(record.pack(record.lines(ended(), [page(data)], [EVENT]))))
    assert [line["kind"] for line in lines] == ["FlowRun", "TaskRunPage", "TaskRun", "TaskRun", "Event"]
    assert {(line["schema"], line["namespace"], line["run"], line["run_uid"]) for line in lines} == {
        (1, "team", "etl-1", UID)
    }
    first, summary, task = lines[:3]
    told = {key: first[key] for key in ("deployment", "flow", "pool", "state", "attempts", "started", "ended")}
    assert told == {
        "deployment": "etl",
        "flow": "etl",
        "pool": "default",
        "state": "Completed",
        "attempts": 1,
        "started": "2026-01-01T06:00:00Z",
        "ended": "2026-01-01T06:59:59.5Z",
    }
    assert first["object"]["status"]["settled"] is True
    assert "data" not in summary["object"]
    assert summary["object"]["summary"] == [{"task": "load", "states": {"Completed": 1}}]
    assert task["object"]["id"] == "t-1"
    assert task["object"]["attempt"] == 2
    assert (task["object"]["created"], task["object"]["ended"]) == ("2026-01-01T07:00:00.250+00:00", None)
    assert "managedFields" not in json.dumps(lines)


def test_written_twice_it_is_the_same_bytes() -> None:
    packed = [record.pack(record.lines(ended(), [page(None)], [EVENT])) for _ in range(2)]
    assert packed[0] == packed[1]


def _bomb() -> str:
    body = {"table": ["x" * 6_000_000], "origin": 0, "columns": {"id": [""]}, "cache_key": {}, "message": {}}
    return base64.b64encode(zlib.compress(json.dumps(body).encode(), 9)).decode()


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("no base64", id="no base64"),
        pytest.param(_bomb(), id="far larger than it looks"),
        pytest.param(taskrecords.encode([row(created=1e15, started=1e15)]), id="a time that no calendar has"),
    ],
)
def test_a_page_that_cannot_be_read_is_kept_as_it_is(data: str) -> None:
    """Pods write pages; what one of them wrote wrongly keeps no run from being archived."""
    lines = list(record.unpack(record.pack(record.lines(ended(), [page(data), page(None, 1)], []))))
    assert [line["kind"] for line in lines] == ["FlowRun", "TaskRunPage", "TaskRunPage"]
    assert lines[1]["object"]["data"] == data


def test_texts_with_line_ends_and_half_characters_stay_one_line() -> None:
    run = ended()
    run["status"]["state"]["message"] = "a\nb\u2028c"
    data = taskrecords.encode([row(message="\ud800")])
    text = gzip.decompress(record.pack(record.lines(run, [page(data)], [])))
    assert text.count(b"\n") == 3
    lines = list(record.unpack(gzip.compress(text)))
    assert lines[0]["object"]["status"]["state"]["message"] == "a\nb\u2028c"
    assert lines[2]["object"]["message"] == "\ud800"


def test_the_first_line_is_read_from_the_first_bytes() -> None:
    run = ended()
    run["spec"]["parameters"] = {"noise": [str(hash(n)) for n in range(2000)]}
    data = record.pack(record.lines(run, [page(None, n) for n in range(3)], []))
    first = record.head(data)
    assert first is not None
    assert first["object"]["spec"] == run["spec"]
    assert record.head(data[:100]) is None


def test_damage_is_told() -> None:
    data = record.pack([{"kind": "FlowRun", "noise": [str(hash((n, "x"))) for n in range(500)]}])
    for read in (lambda broken: list(record.unpack(broken)), record.head):
        with pytest.raises(ValueError, match="damaged record"):
            read(b"\x00" + data)
    with pytest.raises(ValueError, match="damaged record"):
        list(record.unpack(data[:-20]))
