"""With real processes, in a child of the test that plays the executor."""

from __future__ import annotations

import subprocess
import sys
from textwrap import dedent

import pytest

from penstock.worker import leftovers

ALONE = """
import os, signal, subprocess, sys, time
from penstock.worker import leftovers
leftovers.adopt()

def daemon(run, attempt="1"):
    # a session of its own, whose parent ends at once
    env = {**os.environ, "PENSTOCK_RUN_UID": run, "PENSTOCK_ATTEMPT": attempt}
    text = (
        "import subprocess as s; p = s.Popen(['sleep', '300'], start_new_session=True, stdout=-3, stderr=-3)"
        "; print(p.pid)"
    )
    return int(subprocess.run([sys.executable, "-c", text], env=env, stdout=subprocess.PIPE).stdout)

def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
"""

pytestmark = pytest.mark.skipif(not leftovers.LINUX, reason="other systems end the process group only")


def alone(code: str) -> str:
    words = [sys.executable, "-c", ALONE + dedent(code)]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_what_a_run_has_left_is_killed_and_what_others_have_is_not() -> None:
    alone(
        """
        other = subprocess.Popen(["sleep", "300"])
        mine, theirs, older = daemon("mine"), daemon("theirs"), daemon("mine", "2")
        leftovers.end_of("mine", 1, [other.pid])
        assert (alive(mine), alive(theirs), alive(older), alive(other.pid)) == (False, True, True, True)
        for pid in (theirs, older, other.pid):
            os.kill(pid, signal.SIGKILL)
        """
    )


def test_where_no_run_goes_on_nothing_is_left() -> None:
    alone(
        """
        hidden = daemon("")
        leftovers.end_of("mine", 1, [])
        assert not alive(hidden)
        """
    )


def test_a_process_dies_with_its_parent() -> None:
    pid = int(
        alone(
            """
            pid = os.fork()
            if pid == 0:
                os.setsid()
                leftovers.die_with_parent()
                os.close(1); os.close(2)
                time.sleep(300)
            time.sleep(0.5)
            print(pid, flush=True)
            os._exit(0)
            """
        )
    )
    from worker_stage import until

    until(lambda: not _alive(pid), "its end")


def _alive(pid: int) -> bool:
    from pathlib import Path

    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
