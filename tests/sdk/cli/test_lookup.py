"""Names as people type them, and what they are told of names that are not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from command_line import CommandLine
from https_server import TEAM, Cluster, Reply, refusal
from penstock.api.schema import Kind
from penstock.cli.lookup import DEPLOYMENT, FLOW, RUN, NoSuchObject, find, plain
from penstock.cli.options import open_client
from penstock.client import ApiError, Client, NotFound


@pytest.fixture
def client(cluster: Cluster, penstock: CommandLine) -> Iterator[Client]:
    with open_client(None, None, None) as client:
        yield client


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        (RUN, "etl"),
        (RUN, "run/etl"),
        (RUN, "fr/etl"),
        (RUN, "flowrun/etl"),
        (RUN, "FlowRun/etl"),
        (RUN, "flowruns/etl"),
        (RUN, "flowrun.penstock.dev/etl"),
        (RUN, "flowruns.penstock.dev/etl"),
        (DEPLOYMENT, "deployment/etl"),
        (DEPLOYMENT, "fd/etl"),
        (DEPLOYMENT, "flowdeployment.penstock.dev/etl"),
        (FLOW, "flow/etl"),
        (FLOW, "fl/etl"),
    ],
    ids=str,
)
def test_a_name_may_have_its_kind_before_it(kind: Kind, typed: str) -> None:
    """As `-o name` prints it, and as kubectl takes it."""
    assert plain(kind, typed) == "etl"


@pytest.mark.parametrize("typed", ["", "/", "flowrun/", "/etl", "pod/etl", "flow/etl", "a/b/c", "flowrun.batch/etl"])
def test_another_kind_is_no_name(typed: str) -> None:
    with pytest.raises(NoSuchObject, match="is no name of a run: write NAME or flowrun/NAME"):
        plain(RUN, typed)


def test_what_is_there_is_found(cluster: Cluster, client: Client) -> None:
    cluster.has("flowruns", {"metadata": {"name": "etl", "creationTimestamp": "2026-01-01T00:00:00Z"}})
    assert find(client, RUN, "flowrun/etl")["metadata"]["name"] == "etl"


# The kind, the names that are there, and what is said of `etl`.
MISSING: dict[str, tuple[Kind, list[str], str]] = {
    "one is close": (RUN, ["elt", "zzz"], "there is no run etl in namespace team; did you mean elt?"),
    "none is close": (DEPLOYMENT, ["zzz", "yyy"], "there is no deployment etl in namespace team; there are "),
    "no run": (
        RUN,
        [],
        "there is no run etl in namespace team; there are none yet: start one with `penstock run DEPLOYMENT`",
    ),
    "no deployment": (DEPLOYMENT, [], "there are none yet: make one with `penstock deploy FILE.py`"),
    "no flow": (FLOW, [], "there is no flow etl in namespace team; there are none yet: make one with"),
}


@pytest.mark.parametrize(("kind", "names", "message"), MISSING.values(), ids=MISSING)
def test_what_is_missing_is_told_with_what_is_there(
    kind: Kind, names: list[str], message: str, cluster: Cluster, client: Client
) -> None:
    about = [{"metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z"}} for name in names]
    cluster.has(kind.plural, *about)
    with pytest.raises(NoSuchObject) as error:
        find(client, kind, "etl")
    assert message in str(error.value)


def test_who_may_not_list_is_told_the_rest(cluster: Cluster, client: Client) -> None:
    cluster.replies[f"{TEAM}/flowruns"] = refusal(403, "Forbidden", "cannot list")
    with pytest.raises(NoSuchObject, match=r"^there is no run etl in namespace team$"):
        find(client, RUN, "etl")


def test_a_cluster_without_penstock_is_another_matter(cluster: Cluster, client: Client) -> None:
    where = f"{TEAM}/flowruns/etl"
    cluster.replies[where] = Reply(b"404 page not found\n", 404, "text/plain")
    with pytest.raises(NotFound, match="Penstock's resources are not in this cluster: install its chart first"):
        find(client, RUN, "etl")


def test_other_refusals_stay_what_they_are(cluster: Cluster, client: Client) -> None:
    cluster.replies[f"{TEAM}/flowruns/etl"] = refusal(403, "Forbidden", "cannot get")
    with pytest.raises(ApiError, match="cannot get"):
        find(client, RUN, "etl")
