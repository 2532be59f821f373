"""What a run of 10,000 task runs costs etcd, against one object for each of them: on a real etcd and API server.

Ours is the run and its pages, as the runner's process writes them. The peer is what engines write that keep a resource
for each task: the same records as JSON, each in a ConfigMap of its own, created once and updated once as it ends. etcd
itself says what was written (a watch over all revisions) and what it keeps.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from api_client import ApiClient
from penstock.api import labels
from pod_stage import Stage, own_plane

Json = dict[str, Any]
COUNT = 10_000
BYTES_A_RECORD, TIMES_WRITTEN, BYTES_A_RUN = 120, 4, 2 * 1024 * 1024  # the budgets
KIB = 1024
WRITERS = 8
CODE = f"""
    import time
    from penstock import flow, task
    from penstock.task_runners import ThreadPoolTaskRunner

    @task
    def step(n):
        time.sleep(0.05)
        return n

    @flow(task_runner=ThreadPoolTaskRunner(max_workers=100))
    def etl(**_):
        return sum(step.map(range({COUNT})).result())
"""


class Etcd:
    """etcd's own word on what it holds, by its JSON gateway."""

    def __init__(self, folder: Path) -> None:
        (etcd, *_) = json.loads((folder / "parts.json").read_text())
        url = etcd["command"][etcd["command"].index("--listen-client-urls") + 1]
        self._http = httpx.Client(base_url=url, timeout=120, trust_env=False)
        self._compacted = 0

    def close(self) -> None:
        self._http.close()

    def _ask(self, path: str, body: Json) -> Json:
        answer = self._http.post(f"/v3/{path}", json=body)
        answer.raise_for_status()
        found: Json = answer.json()
        return found

    @property
    def revision(self) -> int:
        return int(self._ask("maintenance/status", {})["header"]["revision"])

    @property
    def in_use(self) -> int:
        """Bytes of the database that are in use, old revisions included."""
        return int(self._ask("maintenance/status", {})["dbSizeInUse"])

    def compacted(self) -> int:
        """Bytes in use once old revisions are gone and the file is written anew."""
        if (revision := self.revision) != self._compacted:
            self._ask("kv/compaction", {"revision": revision, "physical": True})
            self._compacted = revision
        self._ask("maintenance/defragment", {})
        return self.in_use

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of each value below the prefix, by key."""
        found = self._ask("kv/range", _under(prefix))
        return {_text(kv["key"]): len(base64.b64decode(kv["value"])) for kv in found.get("kvs") or []}

    @contextmanager
    def written(self, prefix: str) -> Iterator[list[int]]:
        """Bytes of each value that is put below the prefix meanwhile; seen as it comes, for revisions are compacted."""
        sizes: list[int] = []
        mark, started = "/penstock-bench/mark", threading.Event()

        def watch() -> None:
            request = {"create_request": {**_under("/"), "start_revision": self.revision + 1}}
            with self._http.stream("POST", "/v3/watch", json=request) as answer:
                for line in answer.iter_lines():
                    result = json.loads(line)["result"]
                    assert not result.get("canceled"), f"the watch was ended: {result}"
                    started.set()
                    for event in result.get("events") or []:
                        key = _text(event["kv"]["key"])
                        if key == mark:
                            return
                        if event.get("type", "PUT") == "PUT" and key.startswith(prefix):
                            sizes.append(len(base64.b64decode(event["kv"].get("value", ""))))

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch)
            assert started.wait(60), "etcd does not answer"
            yield sizes
            self._ask("kv/put", {"key": _base64(mark), "value": ""})
            watching.result(600)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _text(data: str) -> str:
    return base64.b64decode(data).decode()


def _under(prefix: str) -> Json:
    return {"key": _base64(prefix), "range_end": _base64(prefix[:-1] + chr(ord(prefix[-1]) + 1))}


@contextmanager
def sampled(size: Callable[[], int]) -> Iterator[list[int]]:
    """The most that `size` was meanwhile, as a list of one."""
    most, over = [size()], threading.Event()

    def sample() -> None:
        while not over.wait(0.1):
            most[0] = max(most[0], size())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()
        most[0] = max(most[0], size())


def one_object_each(stage: Stage, records: list[Json]) -> None:
    """Each record as a ConfigMap, created while its task runs and updated when it has ended."""
    namespace = stage.cell.namespace

    def write(mine: list[Json]) -> None:
        with ApiClient(stage.cell.admin.kubeconfig) as client:
            for record in mine:
                running = {**record, "state": "Running", "state_name": "Running", "ended": None}
                name = f"run-{record['name']}"
                metadata = {"name": name, "namespace": namespace, "labels": {labels.RUN: "run"}}
                data = {"record": json.dumps(running)}
                client.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
                client.merge("ConfigMap", namespace, name, {"data": {"record": json.dumps(record)}})

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(write, (records[n::WRITERS] for n in range(WRITERS))))


def figures(etcd: Etcd, prefix: str, work: Callable[[], None]) -> dict[str, float]:
    """What the work wrote, what is left of it, and how etcd grew."""
    before = etcd.compacted()
    with etcd.written(prefix) as sizes, sampled(lambda: etcd.in_use) as most:
        work()
    kept = etcd.sizes(prefix)
    return {
        "objects": len(kept),
        "puts": len(sizes),
        "kept": sum(kept.values()),
        "written": sum(sizes),
        "peak": most[0] - before,
        "after": etcd.compacted() - before,
    }


@pytest.mark.timeout(1800)
def bench_etcd(tmp_path: Path) -> None:
    """Bytes and ratios, beside the budgets."""
    with own_plane(tmp_path) as stage, closing(Etcd(stage.plane.folder)) as etcd:

        def run() -> None:
            process = stage.run(CODE)
            assert process.process.wait(600) == 0, process.stderr

        ours = figures(etcd, f"/registry/{labels.GROUP}/", run)
        assert stage.status["tasks"]["completed"] == COUNT
        records = stage.records()
        assert len(records) == COUNT
        pages = sum(etcd.sizes(f"/registry/{labels.GROUP}/taskrunpages/").values())
        theirs = figures(etcd, "/registry/configmaps/team/", lambda: one_object_each(stage, records))
        plain = sum(len(json.dumps(record)) for record in records)
    print(f"\n{COUNT} task runs in etcd:{'':17} pages    an object each   ratio")
    for name, text in (
        ("objects", "objects"),
        ("puts", "writes"),
        ("kept", "bytes of what is kept"),
        ("written", "bytes written"),
        ("peak", "most that etcd grew"),
        ("after", "growth once compacted"),
    ):
        print(f"  {text:28} {ours[name]:12,.0f} {theirs[name]:17,.0f} {theirs[name] / max(ours[name], 1):7.1f}")
    print(
        f"  a record: {pages / COUNT:.1f} bytes on its page (budget {BYTES_A_RECORD}), {plain / COUNT:.0f} as JSON; "
        f"written {ours['written'] / ours['kept']:.2f} times what is kept (budget {TIMES_WRITTEN}); the run takes "
        f"{ours['kept'] / KIB:.0f} KiB (budget {BYTES_A_RUN / KIB:.0f})"
    )
