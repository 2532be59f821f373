"""What a named limit is, and how it is written: `3` slots, `10/s` for a rate. Pure; knows nobody who takes slots."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidSettings

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Limit:
    """So many slots; with `slot_decay_per_second` they come back at that rate instead of when they are given back."""

    name: str
    slots: int
    slot_decay_per_second: float = 0.0

    @property
    def decays(self) -> bool:
        """Whether it is a rate."""
        return self.slot_decay_per_second > 0

    def __post_init__(self) -> None:
        if self.slots < 0 or self.slots != int(self.slots):
            raise InvalidSettings(
                f"concurrency limit {self.name!r}: slots must be a whole number of at least 0, not {self.slots!r}"
            )
        if not self.slot_decay_per_second >= 0:
            raise InvalidSettings(
                f"concurrency limit {self.name!r}: slot_decay_per_second must be at least 0, "
                f"not {self.slot_decay_per_second!r}"
            )


def parse(name: str, text: str) -> Limit:
    """The limit that `3`, `10/s`, `100/m`, `1000/h` or `3@0.5` (3 slots, of which one comes back in 2 s) says."""
    wrong = InvalidSettings(
        f"concurrency_limits: {name}={text}: write slots (3), a rate (10/s, 100/m, 1000/h, 5000/d) "
        f"or slots and how many come back a second (3@0.5)"
    )
    slots, at, decay = text.partition("@")
    amount, slash, unit = slots.partition("/")
    try:
        if at:
            return Limit(name, int(slots), float(decay))
        if not slash:
            return Limit(name, int(amount))
        return Limit(name, int(amount), int(amount) / _SECONDS[unit])
    except (ValueError, KeyError):
        raise wrong from None
