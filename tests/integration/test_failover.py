"""Two operators as processes on a real API server: one acts, whatever becomes of it, and nothing is doubled or lost.

There is no kubelet: `Node` plays it, and the runners in its pods.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from api_client import ApiClient
from operator_process import OperatorProcess
from operator_team import Node, Team, eventually, two_operators
from penstock_cluster.control_plane import ControlPlane
from penstock_operator.controller.controller import utc_now
from penstock_operator.core.leadership import DURATION
from penstock_operator.core.views import format_time, parse_time


@pytest.fixture
def team(admin: ApiClient, control_plane: ControlPlane, namespace: str) -> Team:
    return Team(admin, control_plane, namespace)


@pytest.fixture
def operators(control_plane: ControlPlane, namespace: str, tmp_path: Path) -> Iterator[list[OperatorProcess]]:
    with two_operators(control_plane, namespace, tmp_path) as found:
        yield found


WORKERS = 16  # of an operator: each has one write under way at most


def test_a_leader_that_is_killed_is_followed_and_follows_and_nothing_is_doubled(
    team: Team, operators: list[OperatorProcess]
) -> None:
    """In both directions, in the midst of work. The figures are printed; their budget is 20 s."""
    runs = [f"run-{number}" for number in range(60)]
    leader, standby = operators
    with Node(team, seconds=1.0):
        team.submit(*runs[:20])
        eventually(lambda: len(team.writes("pods/")) >= 5, "the first launches")
        for more in (runs[20:40], runs[40:]):
            leader.kill()
            killed = format_time(utc_now())
            team.submit(*more)
            first = eventually(partial(team.launches, killed, standby.name), "a launch")[0]
            seconds = (parse_time(first[0]) - parse_time(killed)).total_seconds()  # type: ignore[operator]
            took = standby.metric("penstock_takeover_seconds")
            print(f"\nfailover: {seconds:.1f} s from kill -9 to the first launch, everything looked at {took:.1f} s on")
            leader.start()
            leader.until_healthy()
            leader, standby = standby, leader
        eventually(lambda: team.settled(len(runs)), "the end of all runs")
    team.check(runs)
    assert (leader.leads, standby.leads) == (True, False)


def test_a_leader_that_is_stopped_past_its_lease_and_woken_gets_nothing_through(
    team: Team, operators: list[OperatorProcess]
) -> None:
    """It is stopped in the midst of launching; what it then gets through is counted by the API server."""
    runs = [f"run-{number}" for number in range(80)]
    leader, standby = operators
    with Node(team):
        team.submit(*runs)
        eventually(lambda: len(team.writes("pods/")) >= 10, "the first launches")
        leader.stop()
        standby.until_it_leads()
        taken = team.lease()["acquireTime"]
        eventually(lambda: [w for w in team.writes() if w[1] == standby.name], "work of the next")
        leader.wake()
        eventually(lambda: not leader.leads and leader.alive, "its finding out")
        eventually(lambda: team.settled(len(runs)), "the end of all runs")
        late = [write for write in team.writes() if write[1] == leader.name and write[0] > taken]
        counted = leader.metric("penstock_writes_late_total")
        refused = leader.metric("penstock_writes_refused_total")
    print(f"\nwoken after its lease: {len(late)} writes done ({counted:.0f} by its own count), {refused:.0f} refused")
    # A write that had passed the look at its lease when the process was stopped is sent when it wakes.
    assert len(late) <= min(counted, WORKERS)
    team.check(runs)
    assert standby.leads


def test_a_leader_that_is_asked_to_end_finishes_its_work_and_hands_over_at_once(
    team: Team, operators: list[OperatorProcess]
) -> None:
    runs = [f"run-{number}" for number in range(60)]
    leader, standby = operators
    with Node(team):
        team.submit(*runs)
        eventually(lambda: len(team.writes("pods/")) >= 10, "the first launches")
        begun = time.monotonic()
        assert leader.terminate() == 0
        ended = time.monotonic() - begun
        took = standby.until_it_leads()
        print(f"\nhanded over: the leader ended in {ended:.1f} s, and the next led {took:.1f} s later")
        assert "leads no more" in leader.log.read_text()
        eventually(lambda: team.settled(len(runs)), "the end of all runs")
        last = max(write[0] for write in team.writes() if write[1] == leader.name)
        first = min(write[0] for write in team.writes() if write[1] == standby.name)
    assert last < first
    team.check(runs)
    if took > DURATION:
        pytest.fail("the lease was waited out, so it was not released")


def test_a_standby_writes_nothing_and_is_healthy(team: Team, operators: list[OperatorProcess]) -> None:
    leader, standby = operators
    with Node(team):
        team.submit("run")
        eventually(lambda: team.settled(1), "the end of the run")
    assert {write[1] for write in team.writes()} == {leader.name}
    assert standby.healthy()
    assert standby.metric("penstock_live_runs") == 0.0
