"""What the runner's connection costs, against http.client, urllib3 and httpx: imports, first and further requests.

Each client runs in processes of its own against one TLS server on the loopback, in turn, so that whatever else the
machine does hits all of them. CPU is that of the client's process alone.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

import builders
from loopback import LoopbackServer, answer
from penstock_cluster import certificates

ROUNDS, REQUESTS = 9, 400
# What the runner has imported in any case.
BASE = "import json, os, random, socket, ssl, threading, time"
CLIENTS = {
    "own": (
        "import penstock.runner.connection",
        """
api = penstock.runner.connection.Api("127.0.0.1", port, folder)
def ask():
    return api.request("PATCH", "/run", ops, "application/json-patch+json").body
""",
    ),
    "http.client": (
        "import http.client",
        """
context = ssl.create_default_context(cafile=folder + "/ca.crt")
connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=15)
def ask():
    connection.request("PATCH", "/run", json.dumps(ops).encode(), headers)
    return json.loads(connection.getresponse().read())
""",
    ),
    "urllib3": (
        "import urllib3",
        """
pool = urllib3.HTTPSConnectionPool("127.0.0.1", port, ca_certs=folder + "/ca.crt", timeout=15, retries=False)
def ask():
    return json.loads(pool.request("PATCH", "/run", body=json.dumps(ops).encode(), headers=headers).data)
""",
    ),
    "httpx": (
        "import httpx",
        """
context = ssl.create_default_context(cafile=folder + "/ca.crt")
client = httpx.Client(verify=context, timeout=15, trust_env=False)
url = f"https://127.0.0.1:{port}/run"
def ask():
    return client.patch(url, content=json.dumps(ops).encode(), headers=headers).json()
""",
    ),
}
MEASURE = """
headers = {{"Authorization": "Bearer the-token", "Content-Type": "application/json-patch+json"}}
ops = json.loads({ops!r})
port, folder = {port}, {folder!r}
begun, cpu = time.perf_counter(), time.process_time()
{imports}
imported = time.process_time()
{client}
assert ask()["kind"] == "FlowRun"
first = time.process_time()
ask(), ask()
whole = time.perf_counter() - begun
for _ in range(50): ask()
steady = time.process_time()
for _ in range({requests}): ask()
each = (time.process_time() - steady) / {requests}
print(json.dumps([imported - cpu, first - imported, each, whole]))
"""


def bench_runner_http(tmp_path: Path) -> None:
    """CPU of imports, of the first request and of each further one; wall time from the import to the third answer."""
    certificates.issue(tmp_path, {"apiserver": certificates.wanted("127.0.0.1")["apiserver"]})
    (tmp_path / "token").write_text("the-token")
    run = builders.flow_run("Running", history=[builders.run_state("Running", n) for n in range(4)])
    ops = [{"op": "add", "path": "/status/state", "value": builders.run_state("Running", 3)}] * 4
    found: dict[str, list[list[float]]] = {name: [] for name in CLIENTS}
    with LoopbackServer(tmp_path, lambda _, connection: connection.sendall(answer(200, run))) as server:
        for _ in range(ROUNDS):
            for name, (imports, client) in CLIENTS.items():
                code = MEASURE.format(
                    ops=json.dumps(ops),
                    port=server.port,
                    folder=str(tmp_path),
                    imports=imports,
                    client=client,
                    requests=REQUESTS,
                )
                words = [sys.executable, "-c", f"{BASE}\n{code}"]
                done = subprocess.run(words, check=True, capture_output=True, text=True)
                found[name].append(json.loads(done.stdout))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    print(f"\n{'':12} {'import CPU':>16} {'first request':>16} {'each further':>16} {'wall, 3 requests':>16}")
    for name, values in medians.items():
        cells = [f"{v * 1000:.2f} ms x{v / o:.1f}" for v, o in zip(values, medians["own"], strict=True)]
        print(f"{name:12}", *(f"{cell:>16}" for cell in cells))
