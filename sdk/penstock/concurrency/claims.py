"""The seam between those who want slots and whoever gives them: this process (`local`), or the cluster (the runner)."""

from __future__ import annotations

from _thread import allocate_lock
from typing import TYPE_CHECKING, Protocol

from ..errors import AcquireConcurrencySlotTimeoutError, ConcurrencySlotAcquisitionError
from ..slot_source import source
from ..waiting import Once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .local import LocalSlots

__all__ = ["Claim", "Slots", "give_slots_from", "slots"]


class Claim(Once):
    """Slots that were asked for. It happens when they are granted, or when it is clear that they never will be."""

    __slots__ = ("_giver", "error", "id", "names", "occupy")

    def __init__(self, giver: Slots, id: int, names: tuple[str, ...], occupy: int) -> None:
        super().__init__()
        self._giver, self.id, self.names, self.occupy = giver, id, names, occupy
        self.error: ConcurrencySlotAcquisitionError | None = None

    def take(self, timeout: float | None = None) -> None:
        """Return once the slots are held. Raises what refuses them, also after `timeout` seconds."""
        try:
            self._checked(self.wait(self._patience(timeout)), timeout)
        except BaseException:
            self.release()
            raise

    async def take_async(self, timeout: float | None = None) -> None:
        """`take`, without blocking the event loop."""
        try:
            self._checked(await self.wait_async(self._patience(timeout)), timeout)
        except BaseException:
            self.release()
            raise

    def _patience(self, timeout: float | None) -> float | None:
        """Seconds to wait: who does not want to wait waits for the answer, whatever it is."""
        return timeout if timeout is None or timeout > 0 else self._giver.answers_within

    def _checked(self, happened: bool, timeout: float | None) -> None:
        if self.error is not None:
            raise self.error
        if not happened:
            raise AcquireConcurrencySlotTimeoutError(
                f"{self.occupy} of {', '.join(self.names)}: not free after {timeout} s; "
                f"others hold the slots, or asked for them before"
            )

    def release(self) -> None:
        """Give back what is held, or stop waiting for it; once is enough, and more does no harm."""
        self._giver.release(self)


class Slots(Protocol):
    """Gives slots of named limits."""

    def ask(
        self, names: Sequence[str], occupy: int, *, rate: bool, strict: bool, lease_seconds: float, holder: str | None
    ) -> Claim:
        """Ask for `occupy` slots of each name, all or none; with `rate`, slots that come back by themselves.

        A name that has no limit is not limited, or with `strict` an error of the claim. Where slots are held by a
        lease, the giver renews it.
        """

    def release(self, claim: Claim) -> None:
        """Take slots back, or the claim out of the queue."""

    def known(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the names that have a limit, without a warning for the others."""

    def looking(self) -> Once | None:
        """Until it happens, which limits there are is not known; None: that is known."""

    @property
    def local(self) -> LocalSlots:
        """Those of this process."""

    answers_within: float
    """Seconds that an answer to `now or not at all` may take."""


_giver: list[Slots] = []
_making = allocate_lock()


def slots() -> Slots:
    """Who gives slots here: this process, unless another giver was set."""
    if not _giver:
        make = source()
        with _making:
            if not _giver:
                _giver.append(make() if make is not None else _local())
    return _giver[0]


def _local() -> Slots:
    from .local import LocalSlots

    return LocalSlots()


def give_slots_from(giver: Slots | None) -> Slots | None:
    """Let `giver` give slots from now on (None: this process, afresh); answers with who did before."""
    before = _giver[0] if _giver else None
    _giver[:] = [] if giver is None else [giver]
    return before
