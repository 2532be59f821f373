"""`concurrency` and `rate_limit`, for code that blocks and code that awaits: one class, one claim, two ways to wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .claims import Claim, slots
from .limits import Limit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

LEASE_SECONDS = 300.0


class concurrency:  # noqa: N801 - used like a function, as in Prefect
    """Hold slots inside of the block: `with concurrency("db"):`, or `async with`.

    All of `names` are taken at once, in order of asking. A name without a limit is not limited: a warning, once, or
    with `strict` an error. `timeout_seconds` bounds the wait; so does `max_retries=0`: take them now or not at all.
    `lease_duration`, `holder` and `raise_on_lease_renewal_failure` matter where slots are leased, which is nowhere.
    """

    def __init__(
        self,
        names: str | Sequence[str],
        occupy: int = 1,
        timeout_seconds: float | None = None,
        max_retries: int | None = None,
        lease_duration: float = LEASE_SECONDS,
        strict: bool = False,
        holder: str | None = None,
        raise_on_lease_renewal_failure: bool | None = None,
    ) -> None:
        self._names = (names,) if isinstance(names, str) else tuple(names)
        self._occupy, self._strict, self._holder = occupy, strict, holder
        self._timeout = 0 if max_retries == 0 else timeout_seconds
        self._lease = lease_duration
        self.raise_on_lease_renewal_failure = strict if raise_on_lease_renewal_failure is None else True
        self._claims: list[Claim] = []  # of each block that is entered: the object may be used again, and by others

    def _ask(self) -> Claim:
        return slots().ask(
            self._names,
            self._occupy,
            rate=False,
            strict=self._strict,
            lease_seconds=self._lease,
            holder=self._holder,
        )

    def __enter__(self) -> Self:
        claim = self._ask()
        claim.take(self._timeout)
        self._claims.append(claim)
        return self

    async def __aenter__(self) -> Self:
        claim = self._ask()
        await claim.take_async(self._timeout)
        self._claims.append(claim)
        return self

    def __exit__(self, *_: object) -> None:
        self._claims.pop().release()

    async def __aexit__(self, *_: object) -> None:
        self._claims.pop().release()


def rate_limit(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """Wait until the rate allows another; the slots come back by themselves."""
    _asked(names, occupy, strict).take(timeout_seconds)


async def arate_limit(
    names: str | Sequence[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """`rate_limit`, without blocking the event loop."""
    await _asked(names, occupy, strict).take_async(timeout_seconds)


def _asked(names: str | Sequence[str], occupy: int, strict: bool) -> Claim:
    every = (names,) if isinstance(names, str) else tuple(names)
    return slots().ask(every, occupy, rate=True, strict=strict, lease_seconds=LEASE_SECONDS, holder=None)


def declare_limit(name: str, slots_: int, *, slot_decay_per_second: float = 0.0) -> None:
    """Set a limit of this process, over what the settings say of it; with a decay it is a rate."""
    slots().local.declare(Limit(name, slots_, slot_decay_per_second))


def remove_limit(name: str) -> None:
    """Forget a declared limit."""
    slots().local.remove(name)
