"""Subflows that start together beside the same ones in turn, where the API server takes 20 ms for an answer."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from textwrap import dedent

from loopback import Request, answer
from loopback_api import Fault, LoopbackApi
from loopback_pod import Pod, environment
from penstock_cluster import certificates
from runner_process import Process

COUNT = 50
ANSWER_SECONDS = 0.02
FLOW = f"""
    import asyncio, time
    from penstock import flow, task
    from penstock.runner import children

    children.MAX_CHILDREN = 1000

    @flow
    async def leaf(n: int):
        return n

    @flow
    def plain(n: int):
        return n

    @task
    def call(n: int):
        return plain(n)

    @flow
    def etl():
        took = {{}}
        for way in ("in turn", "gathered", "in threads"):
            began = time.perf_counter()
            if way == "in turn":
                [plain(-n) for n in range({COUNT})]
            elif way == "gathered":
                async def all_of_them():
                    await asyncio.gather(*(leaf(n) for n in range({COUNT})))
                asyncio.run(all_of_them())
            else:
                call.map(range({COUNT})).result()
            took[way] = time.perf_counter() - began
        return took
"""


def slowly(request: Request) -> Fault:
    """An API server that takes its time, and gives what is created an identity."""
    time.sleep(ANSWER_SECONDS)
    if request.method != "POST" or not request.path.endswith("/flowruns"):
        return None
    body = request.json
    body["metadata"].update(uid=f"uid-{body['metadata']['name']}", resourceVersion="1")
    return answer(201, body)


def bench_subflows(tmp_path: Path) -> None:
    """The bound of children a run is lifted, so that all three ways create runs."""
    certificates.issue(tmp_path, {"apiserver": certificates.wanted("127.0.0.1")["apiserver"]})
    account = tmp_path / "serviceaccount"
    account.mkdir()
    shutil.copy(tmp_path / "ca.crt", account / "ca.crt")
    (account / "token").write_text("the-token\n")
    code = tmp_path / "flow.py"
    code.write_text(dedent(FLOW))
    with LoopbackApi(tmp_path) as server:
        server.fault = slowly
        pod = Pod(server, account)
        variables = {
            **environment(pod.run),
            "PENSTOCK_CODE": str(code),
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(server.port),
            "PENSTOCK_SERVICE_ACCOUNT": str(account),
        }
        with Process(variables, tmp_path / "process") as process:
            assert process.ends() == 0, process.stderr
        took = pod.status["result"]["inline"]
    for way, seconds in took.items():
        ratio = took["in turn"] / seconds
        print(f"\n{COUNT} subflows {way}: {seconds:.2f} s, {ratio:.1f} times as fast as in turn", end="")
    print()
