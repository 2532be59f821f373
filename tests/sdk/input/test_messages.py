"""Messages between flow runs of one process."""

from __future__ import annotations

import asyncio
import threading
import uuid
from typing import Any

import pytest

from penstock import flow
from penstock.errors import InvalidRunInput, MissingContext, UnsupportedHere
from penstock.input import RunInput, asend_input, receive_input, send_input
from penstock.runtime import flow_run


class Greeting(RunInput):
    text: str


@pytest.fixture
def receiver() -> str:
    return uuid.uuid4().hex


def test_messages_arrive_in_order_for_each_reader(receiver: str) -> None:
    for text in "ab":
        Greeting(text=text).send_to(receiver)
    send_input(5, receiver)
    for _ in range(2):
        found = receive_input(Greeting, timeout=0, flow_run_id=receiver)
        assert [message.text for message in found] == ["a", "b"]
    assert list(receive_input(int, timeout=0, flow_run_id=receiver)) == [5]


def test_a_reader_is_woken_by_a_message(receiver: str) -> None:
    threading.Timer(0.01, send_input, (Greeting(text="hi"), receiver)).start()
    assert receive_input(Greeting, flow_run_id=receiver).next(60).text == "hi"


def test_async_code_iterates_as_well(receiver: str) -> None:
    async def main() -> list[int]:
        async def send() -> None:
            for n in range(3):
                await asyncio.sleep(0)
                await asend_input(n, receiver)

        sending = asyncio.create_task(send())
        found = []
        async for n in receive_input(int, timeout=60, flow_run_id=receiver):
            found.append(n)
            if len(found) == 3:
                break
        await sending
        return found

    assert asyncio.run(main()) == [0, 1, 2]


def test_without_a_message_iteration_ends_or_raises(receiver: str) -> None:
    assert list(receive_input(int, timeout=0, flow_run_id=receiver)) == []
    with pytest.raises(TimeoutError, match=f"was sent to flow run {receiver} within 0 s"):
        next(receive_input(int, timeout=0, raise_timeout_error=True, flow_run_id=receiver))

    async def main() -> list[Any]:
        return [n async for n in receive_input(int, timeout=0, flow_run_id=receiver)]

    assert asyncio.run(main()) == []


def test_a_run_answers_who_sent(receiver: str) -> None:
    @flow
    def asks() -> tuple[str, str]:
        Greeting(text="hello").send_to(receiver)
        own = str(flow_run.id)
        message = receive_input(Greeting, flow_run_id=receiver, timeout=0).next()
        message.respond(Greeting(text=f"{message.text} back"))
        return own, Greeting.receive(timeout=0).next().text

    _, answer = asks()
    assert answer == "hello back"
    send_input(Greeting(text="from nobody"), receiver)
    *_, last = receive_input(Greeting, flow_run_id=receiver, timeout=0)
    with pytest.raises(RuntimeError, match="nobody to respond to"):
        last.respond(1)


def test_kinds_of_messages_are_told_apart_by_prefix_and_keys_left_out(receiver: str) -> None:
    for n in range(3):
        send_input(n, receiver, key_prefix="p")
    assert list(receive_input(int, timeout=0, flow_run_id=receiver)) == []
    options: Any = {"key_prefix": "p", "timeout": 0, "flow_run_id": receiver}
    assert list(receive_input(int, **options, exclude_keys={"p-1"})) == [0, 2]
    whole = list(receive_input(int, **options, with_metadata=True))
    assert [(message.value, message.metadata.key) for message in whole] == [(0, "p-0"), (1, "p-1"), (2, "p-2")]


def test_a_message_that_does_not_fit_is_told(receiver: str) -> None:
    send_input("x", receiver, key_prefix="p")
    with pytest.raises(InvalidRunInput):
        receive_input(int, key_prefix="p", flow_run_id=receiver).next(0)


def test_where_it_cannot_be_it_is_refused(receiver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingContext, match="give it flow_run_id"):
        receive_input(int)
    monkeypatch.setenv("PENSTOCK_RUN", "etl-1")
    with pytest.raises(UnsupportedHere, match="does not work in a pod yet"):
        send_input(1, receiver)
    with pytest.raises(UnsupportedHere, match="does not work in a pod yet"):
        receive_input(int, flow_run_id=receiver)
