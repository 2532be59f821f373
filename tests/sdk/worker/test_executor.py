"""The fork server with real processes; in the place of the runner, a function that does what it is told."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.worker.messages import Lines, Message, encoded
from penstock.worker.output import END
from worker_stage import until

PATIENCE = 30.0
SERVER = """
import os, socket, sys, time
from penstock.worker import leftovers
from penstock.worker.executor import Executor

def main():
    exec(os.environ["DO"], {"os": os, "sys": sys, "time": time})
    return int(os.environ.get("CODE", 0))

leftovers.adopt()
agent = socket.socket(fileno=int(sys.argv[1])) if len(sys.argv) > 1 else None
listener = None
if agent is None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.environ["LISTEN"])
    listener.listen(1)
    print("listens", flush=True)
Executor(listener=listener, agent=agent, main=main).run()
"""


class Server:
    """An executor, its agent's end of the socket, and its output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.agent, theirs = socket.socketpair()
        self.log = folder / "log"
        with theirs, self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdout=log, cwd=folder
            )
        self.lines, self.heard = Lines(), list[Message]()
        self.until("hello")

    def start(self, do: str, id_: str = "uid.1", **env: str) -> None:
        uid, _, attempt = id_.rpartition(".")
        env = {"PENSTOCK_RUN_UID": uid, "PENSTOCK_ATTEMPT": attempt, "DO": do, **env}
        about = {"id": id_, "run": uid, "uid": uid, "attempt": int(attempt)}
        self.say(do="start", env=env, folder=str(self.folder), **about)

    def say(self, **message: Any) -> None:
        self.agent.sendall(encoded(message))

    def until(self, said: str, id_: str | None = None) -> Message:
        """The message, which is heard once."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for message in self.heard:
                if message["said"] == said and id_ in (None, message.get("id")):
                    self.heard.remove(message)
                    return message
            left = deadline - time.monotonic()
            assert left > 0, f"{said} was never said, but {self.heard}; {self.log.read_text()}"
            if select.select([self.agent], [], [], left)[0]:
                self.heard += self.lines.feed(self.agent.recv(65_536))

    @property
    def output(self) -> list[tuple[str, str]]:
        """Run and text of each line."""
        records = [json.loads(line) for line in self.log.read_text().rpartition("\n")[0].splitlines()]
        return [(record["run"], record["message"]) for record in records if END not in record]

    def close(self) -> None:
        self.agent.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()


def test_a_process_has_the_environment_and_folder_it_is_given(server: Server) -> None:
    server.start("print(os.environ['REGION'], os.getcwd(), os.getpid() == os.getsid(0), sys.argv)", REGION="north")
    assert server.until("ended") == {"said": "ended", "id": "uid.1", "exitCode": 0, "why": ""}
    until(lambda: server.output, "output")
    assert server.output == [("uid", f"north {server.folder} True ['penstock.runner']")]


def test_of_the_executors_files_a_process_has_none(server: Server) -> None:
    server.start("print(sorted(int(fd) for fd in os.listdir('/proc/self/fd'))[:-1])")
    server.until("ended")
    until(lambda: server.output, "output")
    assert server.output[0][1] == "[0, 1, 2]"


@pytest.mark.parametrize(
    ("do", "code"),
    [
        ("pass", 7),
        ("os._exit(3)", 3),
        ("sys.exit(4)", 1),
        ("raise ValueError('x')", 1),
        ("os.kill(os.getpid(), 9)", 137),
    ],
)
def test_how_it_ended_is_told(server: Server, do: str, code: int) -> None:
    server.start(do, CODE="7")
    assert server.until("ended")["exitCode"] == code


def test_output_is_told_apart_and_is_there_before_the_end_is(server: Server) -> None:
    for run in ("a", "b"):
        server.start("print('out'); print('err', file=sys.stderr); os.write(1, b'no end')", f"{run}.1")
    for run in ("a", "b"):
        server.until("ended", f"{run}.1")
    until(lambda: len(server.output) == 6, lambda: str(server.output))
    until(lambda: server.log.read_text().count(f'"{END}": 0') == 2, "the last line of each")
    assert sorted(server.output) == [(run, text) for run in ("a", "b") for text in ("err", "no end", "out")]


def test_much_output_is_written_whole(server: Server) -> None:
    server.start("for n in range(20000): print(n)")
    server.until("ended")
    until(lambda: len(server.output) == 20_000, lambda: str(len(server.output)))
    assert [text for _, text in server.output] == [str(n) for n in range(20_000)]


def test_a_process_is_asked_to_end_and_then_made_to(server: Server) -> None:
    server.start("print('here'); time.sleep(100)", "polite.1")
    server.start("import signal; signal.signal(15, signal.SIG_IGN); print('here'); time.sleep(100)", "deaf.1")
    server.start(
        "import signal; signal.signal(15, lambda *_: None); print('here'); os.kill(os.getpid(), 19)", "stopped.1"
    )
    until(lambda: len(server.output) == 3, "them")
    for run in ("polite", "deaf", "stopped"):
        server.say(do="end", id=f"{run}.1", grace=0.5)
    assert server.until("ended", "polite.1")["exitCode"] == 143
    assert server.until("ended", "deaf.1")["exitCode"] == 137
    assert server.until("ended", "stopped.1")["exitCode"] == 137


def test_sigterm_reaches_the_run_alone_and_its_group_ends_with_it(server: Server) -> None:
    """As in a pod: what the run has started learns of it from the run."""
    server.start(
        """
import signal, subprocess
p = subprocess.Popen(["sleep", "100"])
def told(*_):
    time.sleep(0.3)
    os.write(1, f"{'running' if p.poll() is None else 'ended'} {p.pid}".encode())
    os._exit(0)
signal.signal(15, told)
print("here")
time.sleep(100)
"""
    )
    until(lambda: server.output, "it")
    server.say(do="end", id="uid.1", grace=30)
    server.until("ended")
    until(lambda: len(server.output) == 2, lambda: str(server.output))
    word, pid = server.output[1][1].split()
    assert word == "running"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_without_contact_every_process_is_ended(server: Server) -> None:
    server.say(do="contact", within=0.5)
    server.start("print('here'); time.sleep(100)")
    assert server.until("ended")["why"] == "no contact"
    server.say(do="contact", within=0)
    server.start("time.sleep(1.5)", "next.1")
    assert server.until("ended") == {"said": "ended", "id": "next.1", "exitCode": 0, "why": ""}


def test_the_end_of_its_agent_is_the_end_of_all(server: Server) -> None:
    server.start("print(os.getpid()); time.sleep(100)")
    until(lambda: server.output, "it")
    server.agent.close()
    assert server.process.wait(PATIENCE) == 0
    with pytest.raises(ProcessLookupError):
        os.kill(int(server.output[0][1]), 0)


def test_a_killed_executor_takes_its_processes_along(server: Server) -> None:
    server.start("print(os.getpid()); time.sleep(100)")
    until(lambda: server.output, "it")
    server.process.kill()
    pid = int(server.output[0][1])
    until(lambda: not Path(f"/proc/{pid}").exists(), "its end")


def test_it_quits_when_its_processes_have_ended(server: Server) -> None:
    server.start("print('here'); time.sleep(100)")
    until(lambda: server.output, "it")
    server.say(do="quit", grace=10)
    server.until("ended")
    assert server.process.wait(PATIENCE) == 0


def test_a_process_is_made_once(server: Server) -> None:
    for _ in range(2):
        server.start("print('here'); time.sleep(0.5)")
    server.until("ended")
    until(lambda: server.output, "it")
    assert server.output == [("uid", "here")]


def test_an_agent_that_talks_nonsense_is_dropped(server: Server) -> None:
    server.agent.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert server.agent.recv(1) == b""


def test_the_next_agent_finds_the_processes_of_the_last(tmp_path: Path) -> None:
    """In a pod, where either may be restarted."""
    path = str(tmp_path / "s") if len(str(tmp_path)) < 90 else f"/tmp/executor-{os.getpid()}"
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], env={**os.environ, "LISTEN": path}, stdout=subprocess.PIPE, cwd=tmp_path
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        for turn in range(2):
            lines, heard = Lines(), list[Message]()
            with socket.socket(socket.AF_UNIX) as agent:
                agent.connect(path)
                while not heard:
                    heard += lines.feed(agent.recv(65_536))
                if turn:
                    running = [{"id": "uid.1", "run": "run", "uid": "uid", "attempt": 1}]
                    assert heard[0] == {"said": "hello", "running": running, "preloaded": []}
                    break
                about = {"id": "uid.1", "run": "run", "uid": "uid", "attempt": 1, "folder": str(tmp_path)}
                agent.sendall(encoded({"do": "start", "env": {"DO": "time.sleep(100)"}, **about}))
                while heard[-1]["said"] != "started":
                    heard += lines.feed(agent.recv(65_536))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, "without an agent, it ends what there is"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]
