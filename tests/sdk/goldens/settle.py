"""A flow as people write them: its manifests are `settle.yaml`, word for word."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, Field

from penstock import flow, task


class Account(BaseModel):
    """Whom a sum belongs to."""

    iban: str = Field(pattern="^[A-Z]{2}")
    owner: str | None = None


@task
def book(account: Account, cents: int) -> int:
    return cents


@flow(
    name="Settle_accounts",
    version="1.10",
    retries=2,
    retry_delay_seconds=0.5,
    timeout_seconds=90.5,
    log_prints=True,
)
def settle(
    accounts: list[Account],
    day: date = date(2026, 1, 31),
    mode: Literal["yes", "no", "dry: run"] = "no",
    rate: float = 1e3,
    *,
    note: str | None = None,
) -> int:
    """Settle the accounts of a day.

    Args:
        accounts: whose; at least one
        day: the day that is settled: a banking day
        mode: whether sums are booked # or only said
        note: goes into the ledger
    """
    print(f"\tsettling {day:%d.%m.%Y}")
    return sum(book(account, 100) for account in accounts)
