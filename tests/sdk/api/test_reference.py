"""Reference pages: what stands in a CRD stands on its page."""

import pytest

from penstock.api import reference
from penstock.api.automation import Automation
from penstock.api.crd import crd
from penstock.api.flowrun import FlowRun
from penstock.api.kinds import ALL
from penstock.api.schema import Resource
from penstock.api.states import StateType, is_legal
from penstock.api.workqueue import WorkQueue


def test_a_page_tells_fields_types_bounds_defaults_and_rules() -> None:
    page = reference.page(crd(WorkQueue))
    assert page.startswith(reference.NOTE + "# WorkQueue\n\nA queue of a work pool.\n")
    assert "| `workPoolRef` (required) | struct | The pool it belongs to. |" in page
    assert "| `priority` | integer, 1 to 1000000 | 1 is first. Default: `1000`. |" in page
    assert "| `matchTags` | list of string, up to 128 characters, at most 64 |" in page
    assert "- workPoolRef is immutable" in page
    assert "Columns: Pool, Priority, Limit, Queued, Active, Ready, Age; with `-o wide` also Reason." in page


def test_a_page_tells_what_can_be_selected_and_what_is_kept_without_schema() -> None:
    page = reference.page(crd(FlowRun))
    assert "`status.settled`" in page
    assert "| `parameters` | any object |" in page
    assert "| `inline` | any JSON value |" in page
    assert "| `scheduledTime` | time (RFC 3339) |" in page


def test_a_rule_of_a_field_alone_is_told_with_those_of_its_struct() -> None:
    status = reference.page(crd(FlowRun)).split("## status\n")[1].split("\n## ")[0]
    assert "- infraRetries cannot go back" in status
    assert "code cannot be changed once it is written" not in status, "a struct has a section of its own"


def test_a_struct_that_was_told_is_referred_to() -> None:
    page = reference.page(crd(Automation))
    assert "Cancel a run." in page
    assert "Delete a run. Fields as in `spec.actions[].cancelFlowRun`." in page
    assert page.count("What an automation does; exactly one. Fields as in `spec.actions[]`.") == 2


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_row_of_a_table_has_three_cells(kind: type[Resource]) -> None:
    for line in reference.page(crd(kind)).splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 4, line


def test_the_index_links_every_page() -> None:
    index = reference.index([crd(kind) for kind in ALL])
    for kind in ALL:
        assert f"[{kind.about.kind}]({reference.page_name(crd(kind))}) | `{kind.about.short}`" in index


def test_the_diagram_of_states_shows_each_legal_move_and_no_other() -> None:
    page = reference.states()
    drawn = {tuple(line.split(" --> ")) for line in page.splitlines() if " --> " in line and "[*]" not in line}
    moves = {(f"    {a}", str(b)) for a in StateType for b in StateType if a is not b and is_legal(a, b)}
    assert drawn == moves
    for state in StateType:
        assert f"| `{state}` | {'yes' if state.terminal else ''} | {state.meaning} |" in page
