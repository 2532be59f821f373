"""Texts are cut to what the resource holds, and say so."""

from hypothesis import given
from hypothesis import strategies as st

from penstock.api.bounds import CUT, HISTORY_AT_LAUNCH, MAX_HISTORY, MAX_HISTORY_MESSAGE, MAX_MESSAGE, cut


@given(st.text(max_size=3000), st.sampled_from((MAX_MESSAGE, MAX_HISTORY_MESSAGE)))
def test_a_message_is_cut_to_what_the_resource_holds(message: str, limit: int) -> None:
    found = cut(message, limit)
    assert found == (message if len(message) <= limit else message[: limit - len(CUT)] + CUT)
    assert len(found) <= limit


def test_whoever_reads_a_cut_text_is_told_where_the_rest_is() -> None:
    assert cut("x" * 2000).endswith("x … (see the run's logs)")


def test_a_history_at_launch_leaves_room_for_what_a_runner_appends() -> None:
    assert HISTORY_AT_LAUNCH < MAX_HISTORY
