"""Which copies nobody needs: none that a run names, and none that a deployment could go back to."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_operator.core.copies import REVISION_HISTORY, Copy, unneeded


def code(name: str) -> Copy:
    return Copy("ConfigMap", "team", name, f"uid-{name}")


def revisions(owner: str, count: int) -> list[Copy]:
    return [revision(owner, n, str(n)) for n in range(count)]


def revision(owner: str, number: int, deployed: str) -> Copy:
    name = f"{owner}-{number}"
    return Copy("ControllerRevision", "team", name, f"uid-{name}", owner, number, deployed)


def names(copies: list[Copy]) -> list[str]:
    return [copy.name for copy in copies]


def test_code_that_no_run_of_its_namespace_names_is_unneeded() -> None:
    found = [code("a"), code("b")]
    assert names(unneeded(found, {("team", "a"), ("other", "b")}, set())) == ["b"]


def test_the_last_revisions_of_a_deployment_that_is_there_stay() -> None:
    found = revisions("d", REVISION_HISTORY + 3)
    assert names(unneeded(found, {("team", "d-1")}, {"d"})) == ["d-0", "d-2"]
    assert names(unneeded(found, {("team", "d-1")}, set())) == [copy.name for copy in found if copy.revision != 1]


def test_what_was_only_suspended_and_resumed_takes_no_revision_out_of_the_last() -> None:
    deployed = [str(n) for n in range(REVISION_HISTORY)] + ["9"] * 20
    found = [revision("d", number, spec) for number, spec in enumerate(deployed)]
    gone = unneeded(found, {("team", "d-12")}, {"d"})
    assert {copy.revision for copy in found if copy not in gone} == {*range(10), 12, 29}


def test_what_was_deployed_again_after_something_else_is_a_revision_of_its_own() -> None:
    found = [revision("d", number, "ab"[number % 2]) for number in range(REVISION_HISTORY + 2)]
    assert names(unneeded(found, set(), {"d"})) == ["d-0", "d-1"]


def test_those_of_others_than_deployments_are_made_again_when_they_are_wanted() -> None:
    assert names(unneeded(revisions("pool", 2), set(), {"d"})) == ["pool-0", "pool-1"]


@given(
    st.dictionaries(st.sampled_from(["a", "b", "pool"]), st.integers(1, 20)),
    st.frozensets(st.sampled_from(["a-0", "a-7", "b-3", "pool-1"])),
    st.frozensets(st.sampled_from(["a", "b"])),
)
def test_what_is_named_or_recent_stays_and_all_else_goes(
    counts: dict[str, int], named: frozenset[str], deployments: frozenset[str]
) -> None:
    found = [copy for owner, count in counts.items() for copy in revisions(owner, count)]
    gone = unneeded(found, {("team", name) for name in named}, deployments)
    assert not {copy.name for copy in gone} & named
    for owner, count in counts.items():
        left = [copy.revision for copy in found if copy.owner == owner and copy not in gone]
        recent = range(count)[-REVISION_HISTORY:] if owner in deployments else ()
        assert sorted(left) == sorted({*recent, *(n for n in range(count) if f"{owner}-{n}" in named)})
