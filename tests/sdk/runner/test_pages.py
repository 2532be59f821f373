"""Task records on their way into pages: none lost, none twice, within the sizes that etcd is to hold."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from loopback import Request, answer
from loopback_api import Fault, Json, Lost
from loopback_pod import Pod
from penstock.api import names, taskrecords
from penstock.api.runstatus import TaskCounts
from penstock.api.taskrunpage import TaskRunPage
from penstock.engine.ids import new_id
from penstock.engine.records import TaskRecord
from penstock.runner import pages as module
from penstock.runner.connection import Refused, Unreachable
from penstock.runner.pages import Pages

FIRST = names.task_page("etl-1", "run-uid", 1, 0)


def record(number: int = 0, state: str = "Completed", name: str | None = None, **more: Any) -> TaskRecord:
    """The end of a task run."""
    made = TaskRecord(
        f"id-{number}",
        "load",
        "jobs.load-1a2b3c4d",
        f"load-{number}",
        state,
        name or state,
        1,
        1000.0 + number,
        1000.5 + number,
        1001.0 + number,
        (),
        None,
        None if state == "Completed" else f"ValueError: {number}",
    )
    return made._replace(**more)


def begun(number: int, state: str = "Running") -> TaskRecord:
    return record(number, state, ended=None, message=None)


@pytest.fixture
def pages(pod: Pod) -> Pages:
    return Pages(pod.api(), pod.assignment())


def noted(pages: Pages, records: Iterable[TaskRecord]) -> None:
    for one in records:
        pages.note(one)


def kept(pod: Pod) -> list[str]:
    """Ids of all records that the pages hold, in their order."""
    return [row["id"] for page in pod.server.pages for row in taskrecords.decode(page["data"])]


def summed(pod: Pod) -> Counter[tuple[str, str]]:
    """All summaries together: by task and state."""
    return sum(
        (
            Counter({(entry["task"], state): count for state, count in entry["states"].items()})
            for page in pod.server.pages
            for entry in page["summary"]
        ),
        Counter(),
    )


def random_text(seed: int, length: int) -> str:
    """Text that no compression makes smaller."""
    return "".join(
        random.Random(seed).choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=length)
    )


class TestCounts:
    @pytest.mark.parametrize(
        ("records", "counts"),
        {
            "none": ([], {}),
            "one waits": ([begun(0, "Pending")], {"total": 1, "summary": "0/1"}),
            "one runs": ([begun(0, "Pending"), begun(0)], {"total": 1, "running": 1, "summary": "0/1"}),
            "one waits to be tried again": (
                [begun(0), begun(0, "Scheduled")],
                {"total": 1, "summary": "0/1"},
            ),
            "one has ended": ([begun(0), record(0)], {"total": 1, "completed": 1, "summary": "1/1"}),
            "one ended without having been seen to begin": (
                [record(0)],
                {"total": 1, "completed": 1, "summary": "1/1"},
            ),
            "one came from the cache": (
                [record(0, name="Cached"), record(1)],
                {"total": 2, "completed": 2, "cached": 1, "summary": "2/2"},
            ),
            "one of each": (
                [record(0), record(1, "Failed", "TimedOut"), record(2, "Crashed"), record(3, "Cancelled"), begun(4)],
                {"total": 5, "completed": 1, "failed": 1, "crashed": 1, "cancelled": 1, "running": 1, "summary": "4/5"},
            ),
            "one could not start": (
                [begun(0, "Pending"), record(0, "Pending", "NotReady", ended=None)],
                {"total": 1, "notReady": 1, "summary": "1/1"},
            ),
            "one was abandoned before it began": (
                [begun(0, "Pending"), record(0, "Cancelled", ended=None)],
                {"total": 1, "cancelled": 1, "summary": "1/1"},
            ),
            "one returned a state that is no end": ([record(0, "Paused")], {"total": 1, "summary": "1/1"}),
        }.values(),
    )
    def test_task_runs_are_counted_by_state(self, pages: Pages, records: list[TaskRecord], counts: Json) -> None:
        noted(pages, records)
        assert pages.status() == counts
        TaskCounts.model_validate(counts)

    def test_they_are_told_while_others_count(self, pages: Pages) -> None:
        """Tasks end in threads of their own while the counts are being read."""

        def work(first: int) -> None:
            for number in range(first, first + 2000):
                pages.note(begun(number))
                if number % 2:
                    pages.note(record(number))

        threads = [threading.Thread(target=work, args=(first,)) for first in (0, 2000, 4000)]
        for thread in threads:
            thread.start()
        totals = [0]
        while any(thread.is_alive() for thread in threads):
            totals.append(pages.status().get("total", 0))
        assert totals == sorted(totals)
        assert pages.status()["summary"] == "3000/6000"


class TestContent:
    def test_a_page_can_be_read_by_people_and_by_programs(self, pod: Pod, pages: Pages) -> None:
        noted(pages, [begun(0), record(0), record(1, "Failed", "TimedOut", attempts=3), record(2, task="sum")])
        pages.write()
        (page,) = pod.server.pages
        assert page["metadata"]["name"] == FIRST
        assert page["metadata"]["labels"]["penstock.dev/run"] == "etl-1"
        assert [(owner["kind"], owner["name"], owner["uid"]) for owner in page["metadata"]["ownerReferences"]] == [
            ("FlowRun", "etl-1", "run-uid")
        ]
        assert page["run"] == {"name": "etl-1", "uid": "run-uid"}
        assert (page["attempt"], page["number"], page["records"], page["sealed"]) == (1, 0, 3, False)
        assert page["summary"] == [
            {"task": "load", "states": {"Completed": 1, "TimedOut": 1}},
            {"task": "sum", "states": {"Completed": 1}},
        ]
        assert page["failures"] == [
            {
                "id": "id-1",
                "name": "load-1",
                "state": "TimedOut",
                "attempts": 3,
                "message": "ValueError: 1",
                "ended": "1970-01-01T00:16:42.000000Z",
            }
        ]
        assert page["encoding"] == taskrecords.ENCODING
        assert kept(pod) == ["id-0", "id-1", "id-2"]

    def test_what_has_not_ended_is_counted_only(self, pod: Pod, pages: Pages) -> None:
        noted(pages, [begun(0), begun(1, "Pending")])
        assert not pages.due()
        pages.write()
        assert pod.server.requests == []

    def test_what_could_not_start_and_what_was_abandoned_are_records(self, pod: Pod, pages: Pages) -> None:
        """Neither has a time at which it ended."""
        noted(pages, [record(0, "Pending", "NotReady", ended=None), record(1, "Cancelled", ended=None)])
        pages.write()
        assert kept(pod) == ["id-0", "id-1"]
        assert [(f["state"], f.get("ended")) for f in pod.server.pages[0]["failures"]] == [
            ("NotReady", None),
            ("Cancelled", None),
        ]

    @pytest.mark.parametrize(
        "fields",
        {
            "a message": {"message": "ü" * 100_000},
            "a message that is not to be compressed": {"message": random_text(1, 300_000)},
            "a name": {"name": random_text(2, 200_000)},
            "a task's name": {"task": random_text(3, 200_000)},
            "a key": {"key": random_text(4, 200_000)},
            "a cache key": {"cache_key": random_text(5, 200_000)},
            "a state's name": {"state_name": random_text(6, 200_000)},
            "more upstream task runs than a page has room for": {"upstream": tuple(new_id() for _ in range(20_000))},
        }.values(),
    )
    def test_no_record_is_too_large_for_a_page(self, pod: Pod, pages: Pages, fields: Json) -> None:
        """It is cut, and neither refused nor tried for ever; its neighbours are whole."""
        noted(pages, [record(0), record(1, "Failed", **fields), record(2)])
        pages.write()
        assert kept(pod) == ["id-0", "id-1", "id-2"]
        assert pages.status()["summary"] == "3/3"

    def test_a_cut_message_says_where_the_rest_is(self, pod: Pod, pages: Pages) -> None:
        noted(pages, [record(0, "Failed", message="x" * 5000)])
        pages.write()
        assert pod.server.pages[0]["failures"][0]["message"].endswith("x … (see the run's logs)")
        assert len(taskrecords.decode(pod.server.pages[0]["data"])[0]["message"]) == 1024

    def test_a_state_name_of_its_own_for_each_run_is_counted_by_type(self, pod: Pod, pages: Pages) -> None:
        """`Completed(name="40 rows")`: a summary holds 32 names."""
        states = ["Completed", "Failed", "Crashed", "Cancelled"]
        noted(pages, [record(n, states[n % 4], f"{n} rows") for n in range(200)])
        pages.write()
        (entry,) = pod.server.pages[0]["summary"]
        assert sum(entry["states"].values()) == 200
        assert set(states) < set(entry["states"])
        assert len(entry["states"]) <= 32

    def test_only_so_many_failures_stand_in_clear(self, pod: Pod, pages: Pages) -> None:
        noted(pages, [record(n, "Failed") for n in range(300)])
        pages.write()
        assert len(pod.server.pages[0]["failures"]) == module.MAX_FAILURES
        assert len(kept(pod)) == 300


class TestWriting:
    def test_a_page_grows_by_being_written_again(self, pod: Pod, pages: Pages) -> None:
        for number in range(3):
            pages.note(record(number))
            pages.write()
        assert [(request.method, request.path.rpartition("/")[2]) for request in pod.server.requests] == [
            ("POST", "taskrunpages"),
            ("PATCH", FIRST),
            ("PATCH", FIRST),
        ]
        assert kept(pod) == ["id-0", "id-1", "id-2"]

    def test_what_is_written_is_not_written_again(self, pod: Pod, pages: Pages) -> None:
        pages.note(record(0))
        pages.write()
        pages.write()
        assert not pages.due()
        assert len(pod.server.requests) == 1

    def test_a_full_page_is_sealed_and_the_next_begun(self, pod: Pod, pages: Pages) -> None:
        """Each record is on one page, each page within its bounds, all but the last sealed."""
        noted(pages, (record(n, id=new_id(), key=random_text(n, 20)) for n in range(6000)))
        expected = [one.id for one in pages._records]
        pages.write()
        found = pod.server.pages
        assert kept(pod) == expected
        assert [page["number"] for page in found] == list(range(len(found)))
        assert len(found) > 3
        assert all(page["sealed"] for page in found[:-1])
        assert all(len(page["data"]) >= module.SEALED for page in found[:-1])
        assert sum(page["records"] for page in found) == 6000
        assert summed(pod) == {("load", "Completed"): 6000}

    def test_records_that_take_much_room_are_fewer_on_a_page(self, pod: Pod, pages: Pages) -> None:
        noted(pages, [record(n, "Failed", message=random_text(n, 1000)) for n in range(500)])
        pages.write()
        assert kept(pod) == [f"id-{n}" for n in range(500)]
        assert all(len(page["data"]) <= 65_536 for page in pod.server.pages)
        assert summed(pod) == {("load", "Failed"): 500}

    @settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @example(steps=[600] + [1] * 40, failing=1.0, seed=0)
    @example(steps=[1] * 60, failing=0.5, seed=0)
    @given(
        steps=st.lists(st.integers(min_value=1, max_value=700), max_size=25),
        failing=st.sampled_from([0.0, 0.01, 0.5, 1.0]),
        seed=st.integers(min_value=0, max_value=1000),
    )
    def test_all_writes_together_stay_within_four_times_what_stays(
        self, pod: Pod, steps: list[int], failing: float, seed: int
    ) -> None:
        """However the records come in, and however many of them fail; nothing is lost or doubled over it."""
        pod.server.objects = {pod.path: pod.run}
        pod.server.requests.clear()
        pages, chance = Pages(pod.api(), pod.assignment()), random.Random(seed)
        for step in steps:
            for number in range(step):
                state = "Failed" if chance.random() < failing else "Completed"
                pages.note(record(number, state, id=f"{chance.getrandbits(128):032x}"))
            if pages.due():
                pages.write()
        pages.write()
        written = sum(len(request.json["data"]) for request in pod.server.writes())
        stays = sum(len(page["data"]) for page in pod.server.pages)
        assert written <= 4 * max(stays, 4096)
        assert len(kept(pod)) == len(set(kept(pod))) == sum(steps)
        assert sum(summed(pod).values()) == sum(steps)

    def test_a_first_failure_is_written_at_once(self, pod: Pod, pages: Pages) -> None:
        """Though the page has not doubled."""
        noted(pages, map(record, range(100)))
        pages.write()
        pages.note(record(100))
        assert not pages.due()
        pages.note(record(101, "Failed"))
        assert pages.due()

    def test_successes_wait_until_the_page_has_doubled(self, pages: Pages) -> None:
        noted(pages, map(record, range(10)))
        pages.write()
        noted(pages, map(record, range(10, 19)))
        assert not pages.due()
        pages.note(record(19))
        assert pages.due()

    def test_past_the_runs_room_successes_are_only_counted(
        self, pod: Pod, pages: Pages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """And past twice that, everything is: a million failures are no million records."""
        monkeypatch.setattr(module, "MAX_SUCCESSES", 40_000)
        monkeypatch.setattr(module, "MAX_ANYTHING", 80_000)
        for number in range(12_000):
            pages.note(record(number, "Failed" if number % 3 == 0 else "Completed", id=new_id()))
            if number % 100 == 0:
                pages.write()
        pages.write()
        sizes = [len(page["data"]) for page in pod.server.pages]
        assert sum(sizes[:-1]) < 80_000 + max(sizes)
        assert summed(pod) == {("load", "Failed"): 4000, ("load", "Completed"): 8000}
        rows = [row for page in pod.server.pages for row in taskrecords.decode(page["data"])]
        states = [row["state"] for row in rows]
        assert "Completed" not in states[states.index("Failed", len(states) - 200) :]
        assert len(rows) == sum(page["records"] for page in pod.server.pages) < 12_000

    def test_counted_ones_are_written_as_seldom_as_whole_ones(
        self, pod: Pod, pages: Pages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "MAX_SUCCESSES", 0)
        for number in range(5000):
            pages.note(record(number))
            if pages.due():
                pages.write()
        assert len(pod.server.requests) <= 13
        pages.write()
        assert summed(pod) == {("load", "Completed"): 5000}
        assert kept(pod) == []

    def test_what_comes_while_a_page_is_on_its_way_is_on_the_next_write(self, pod: Pod, pages: Pages) -> None:
        noted(pages, map(record, range(5)))
        pod.server.before = lambda _: pages.note(record(5, "Failed"))
        pages.write()
        pod.server.before = lambda _: None
        assert len(pod.server.requests) == 1
        assert pages.due(), "a failure"
        pages.write()
        assert kept(pod) == [f"id-{n}" for n in range(6)]
        assert summed(pod) == {("load", "Completed"): 5, ("load", "Failed"): 1}

    def test_ones_that_are_only_counted_meanwhile_are_not_lost_either(
        self, pod: Pod, pages: Pages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A page is sealed while others are counted."""
        noted(pages, (record(n, key=random_text(n, 12)) for n in range(module.ENCODE_AT_MOST)))
        monkeypatch.setattr(module, "MAX_SUCCESSES", 0)
        noted(pages, [record(9000), record(9001)])
        pod.server.before = lambda _: pages.note(record(9002))
        pages.write()
        pod.server.before = lambda _: None
        assert [page["sealed"] for page in pod.server.pages] == [True, False]
        pages.write()
        assert len(pod.server.requests) == 3
        assert summed(pod) == {("load", "Completed"): module.ENCODE_AT_MOST + 2 + 2}


AWAY: dict[str, Fault] = {
    "the request is lost": Lost.REQUEST,
    "the answer is lost": Lost.ANSWER,
    "the server is busy": answer(429, "Too many requests", "Retry-After: 1"),
    "etcd is away": answer(500, {"message": "etcdserver: leader changed"}),
}
REFUSED: dict[str, Fault] = {
    "the token is not known yet": answer(401, {"message": "Unauthorized"}),
    "roles are not known yet": answer(403, {"message": "RBAC: role not found"}),
    "the kind is not known yet": answer(404, "404 page not found"),
}


def once(fault: Fault, method: str = "") -> Callable[[Request], Fault]:
    """This fault, of the first request (by this method)."""
    left = [fault]
    return lambda request: left.pop() if left and request.method in (method or request.method) else None


class TestFailures:
    @pytest.mark.parametrize("fault", AWAY.values(), ids=AWAY)
    @pytest.mark.parametrize("count", [3, 700, 3000], ids=["a page", "a full page", "a full page and the rest"])
    @pytest.mark.parametrize("before", [0, 2], ids=["a new page", "one that is there"])
    def test_nothing_is_lost_or_doubled_when_the_server_is_away(
        self, pod: Pod, pages: Pages, fault: Fault, count: int, before: int
    ) -> None:
        """More records come in before the next try: a sealed page that arrived keeps its content."""
        names = {700: 60}.get(count, 0)  # which fill a page
        noted(pages, (record(n) for n in range(before)))
        pages.write()
        noted(pages, (record(n, key=random_text(n, names)) for n in range(before, before + count)))
        pod.server.fault = once(fault)
        with pytest.raises(Unreachable):
            pages.write()
        noted(pages, (record(n) for n in range(10_000, 12_500)))
        pages.write()
        assert kept(pod) == [f"id-{n}" for n in (*range(before + count), *range(10_000, 12_500))]
        assert summed(pod) == {("load", "Completed"): before + count + 2500}
        for page in pod.server.pages:
            TaskRunPage.model_validate(page)

    @pytest.mark.parametrize("fault", [Lost.REQUEST, Lost.ANSWER], ids=["requests are lost", "answers are lost"])
    def test_what_waits_for_the_server_is_packed_and_complete_in_the_end(
        self, pod: Pod, pages: Pages, monkeypatch: pytest.MonkeyPatch, fault: Fault
    ) -> None:
        """However long it is away: what is kept whole has a bound. Threads report all the while."""
        monkeypatch.setattr(module, "PACK_AT", 3000)
        noted(pages, map(record, range(10)))
        pages.write()
        pod.server.fault = lambda _: fault
        threads = [
            threading.Thread(target=noted, args=(pages, [record(n) for n in range(start, 20_000, 4)]))
            for start in range(10, 14)
        ]
        for thread in threads:
            thread.start()
        most, tries = 0, 0
        while any(thread.is_alive() for thread in threads) or tries < 3:
            with pytest.raises(Unreachable):
                pages.write()
            most, tries = max(most, len(pages._records)), tries + 1
        assert most <= 2 * 3000 + len(threads)
        assert pages.due()
        pod.server.fault = lambda _: None
        pages.write()
        assert sorted(kept(pod)) == sorted(f"id-{n}" for n in range(20_000))
        assert summed(pod) == {("load", "Completed"): 20_000}
        assert [page["sealed"] for page in pod.server.pages[:-1]] == [True] * (len(pod.server.pages) - 1)

    def test_the_rooms_of_a_run_are_those_of_one_that_is_told_later(
        self, pod: Pod, pages: Pages, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Past it, successes are only counted, though no page was written yet."""
        monkeypatch.setattr(module, "PACK_AT", 3000)
        monkeypatch.setattr(module, "MAX_SUCCESSES", 50_000)
        noted(pages, map(record, range(30_000)))
        assert pod.server.requests == []
        pages.write()
        pages.write()
        assert len(kept(pod)) < 30_000
        assert summed(pod) == {("load", "Completed"): 30_000}
        assert sum(len(page["data"]) for page in pod.server.pages) < 50_000 + 2 * module.MAX_DATA

    @pytest.mark.parametrize("fault", REFUSED.values(), ids=REFUSED)
    def test_a_refusal_that_may_pass_loses_nothing(self, pod: Pod, pages: Pages, fault: Fault) -> None:
        """It is told apart from a server that does not answer: somebody must look whether it passes."""
        pages.note(record(0))
        pod.server.fault = lambda _: fault
        with pytest.raises(Refused):
            pages.write()
        pod.server.fault = lambda _: None
        pages.write()
        assert kept(pod) == ["id-0"]

    def test_a_page_that_somebody_deleted_is_made_again(self, pod: Pod, pages: Pages) -> None:
        pages.note(record(0))
        pages.write()
        pod.server.objects = {path: body for path, body in pod.server.objects.items() if body["kind"] == "FlowRun"}
        pages.note(record(1))
        pages.write()
        assert kept(pod) == ["id-0", "id-1"]

    def test_a_page_that_is_refused_for_what_is_in_clear_is_written_without(self, pod: Pod, pages: Pages) -> None:
        pages.note(record(0, "Failed"))
        pod.server.fault = once(answer(422, {"message": "summary: too many"}))
        pages.write()
        assert kept(pod) == ["id-0"]
        assert (pod.server.pages[0]["summary"], pod.server.pages[0]["failures"]) == ([], [])

    def test_a_page_that_is_refused_altogether_holds_up_no_other(
        self, pod: Pod, pages: Pages, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """What is lost is said, and the next page is tried."""
        noted(pages, [record(0), record(1)])
        pod.server.fault = lambda _: answer(422, {"message": "data: Invalid value"})
        pages.write()
        assert f"2 task records are lost: page {FIRST}: 422 data: Invalid value" in capsys.readouterr().err
        pod.server.fault = lambda _: None
        pages.note(record(2))
        pages.write()
        assert kept(pod) == ["id-2"]
        assert [page["number"] for page in pod.server.pages] == [1]
        assert pages.status()["summary"] == "3/3"
