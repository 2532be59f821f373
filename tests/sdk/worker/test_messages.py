from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.worker.messages import MAX_LINE, Garbled, Lines, encoded, process_id

MESSAGES = st.lists(st.dictionaries(st.text(), st.text() | st.integers() | st.none(), max_size=3), max_size=5)


@given(MESSAGES, st.integers(1, 40))
def test_what_is_said_is_heard_however_it_arrives(messages: list[dict[str, object]], step: int) -> None:
    data = b"".join(map(encoded, messages))
    lines = Lines()
    heard = [m for start in range(0, len(data), step) for m in lines.feed(data[start : start + step])]
    assert heard == messages


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"[1]\n", b"\xff\n", b"x" * (MAX_LINE + 1)])
def test_what_is_no_message_is_told(data: bytes) -> None:
    with pytest.raises(Garbled):
        Lines().feed(data)


def test_a_process_is_named_by_run_and_attempt() -> None:
    assert process_id("u", 1) != process_id("u", 2)
    assert process_id("u", 1) == process_id("u", 1)
