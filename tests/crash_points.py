"""The faults that befall the operator's writes one after the other, and the proof that they change nothing.

A life is played once undisturbed, then once for each of the operator's writes in it: that write is the last thing that
the process does, or the first that it does not; or its answer is lost, or it does not arrive, and the process goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any, Protocol

from memory_cluster import MemoryCluster, Write
from penstock_operator.cluster import Unavailable


class Killed(BaseException):
    """The operator's process ends here; nothing catches it."""


class Acts(Protocol):
    """The operator of a life: its writes so far, and hooks that are told of each and may raise."""

    writes: list[Write]
    before: Callable[[Write], None]
    after: Callable[[Write], None]


Fault = Callable[[int, Acts], None]


class Operator:
    """`Acts` of a stage that has none of its own."""

    def __init__(self) -> None:
        self.writes: list[Write] = []
        self.before: Callable[[Write], None] = lambda _: None
        self.after: Callable[[Write], None] = lambda _: None


@contextmanager
def acting(operator: Acts, cluster: MemoryCluster) -> Iterator[None]:
    """What is written meanwhile is written by the operator."""
    known, unhooked = len(cluster.writes), (cluster.before, cluster.after)
    cluster.before, cluster.after = operator.before, operator.after
    try:
        yield
    finally:
        cluster.before, cluster.after = unhooked
        operator.writes += cluster.writes[known:]


def killed_before(number: int, operator: Acts) -> None:
    """The process ends before its write of that number."""
    _raise_before(operator, number, Killed())


def killed_after(number: int, operator: Acts) -> None:
    """The process ends after its write of that number, and never reads the answer."""
    _raise_after(operator, number, Killed())


def answer_lost(number: int, operator: Acts) -> None:
    """The write arrives, its answer does not; the process goes on."""
    _raise_after(operator, number, Unavailable(0, "ServerDisconnectedError", ""))


def server_away(number: int, operator: Acts) -> None:
    """The write does not arrive."""
    _raise_before(operator, number, Unavailable(503, "", ""))


WRITE_FAULTS: list[Fault] = [killed_before, killed_after, answer_lost, server_away]


def _raise_before(operator: Acts, number: int, error: BaseException) -> None:
    counted, known = count(), operator.before

    def before(write: Write) -> None:
        known(write)
        if next(counted) == number:
            raise error

    operator.before = before


def _raise_after(operator: Acts, number: int, error: BaseException) -> None:
    counted = count()

    def after(_: Write) -> None:
        if next(counted) == number:
            raise error

    operator.after = after


def same_at_any_write(live: Callable[[Callable[[Acts], None]], tuple[Any, list[Write]]], fault: Fault) -> None:
    """Assert that a life leaves the same behind, and the same is written, whichever write has the fault.

    `live` plays the life with an operator that it has given to its argument: what is left, and the operator's writes.
    """
    left, writes = live(lambda _: None)
    assert writes
    for number, write in enumerate(writes):
        disturbed, written = live(partial(fault, number))
        assert disturbed == left, f"{fault.__name__} of {write}"
        assert set(written) == set(writes), f"{fault.__name__} of {write}: {set(written) ^ set(writes)}"
