"""Identities that nobody else has. The engine makes one for each task call, so they must cost next to nothing."""

from __future__ import annotations

from itertools import count
from os import register_at_fork, urandom

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes' generateName draws from: no vowels, so no words


class _Process:
    """This process' random part; a forked child gets its own."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        h = urandom(8).hex()
        self.prefix = f"{h[:8]}-{h[8:12]}-8{h[12:15]}-"
        self.numbers = count(int.from_bytes(urandom(7)) >> 1)  # 55 bits, so that counting never carries over


_process = _Process()
register_at_fork(after_in_child=_process.renew)


def new_id() -> str:
    """A UUID as text (version 8: ours to fill): 60 random bits of the process, then a number that starts at random."""
    h = f"{next(_process.numbers):015x}"
    return f"{_process.prefix}8{h[:3]}-{h[3:]}"


def suffix(length: int = 5) -> str:
    """Random letters for a readable name."""
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in urandom(length))
