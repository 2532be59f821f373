"""Random identities. The engine makes one for each task call, so these avoid the import and the cost of `uuid`."""

from __future__ import annotations

from os import urandom

_LETTERS = "bcdfghjklmnpqrstvwxz2456789"  # what Kubernetes' generateName draws from: no vowels, so no words


def new_id() -> str:
    """A version 4 UUID as text."""
    h = urandom(16).hex()
    return f"{h[:8]}-{h[8:12]}-4{h[13:16]}-{'89ab'[int(h[16], 16) & 3]}{h[17:20]}-{h[20:]}"


def suffix(length: int = 5) -> str:
    """Random letters for a readable name."""
    return "".join(_LETTERS[byte % len(_LETTERS)] for byte in urandom(length))
