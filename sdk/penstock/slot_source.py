"""Who makes the giver of slots of this process, when code first asks for slots.

The runner sets it in a pod; `concurrency.claims` asks. It imports nothing, for most runs never take a slot.
"""

from __future__ import annotations

TYPE_CHECKING = False  # the claim of a run does not wait for the import of typing
if TYPE_CHECKING:
    from collections.abc import Callable

    from .concurrency.claims import Slots

_source: list[Callable[[], Slots]] = []


def give_slots_by(make: Callable[[], Slots] | None) -> None:
    """Have slots given by what `make` answers; None: by this process."""
    _source[:] = [] if make is None else [make]


def source() -> Callable[[], Slots] | None:
    """What was set."""
    return _source[0] if _source else None
