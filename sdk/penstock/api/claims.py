"""Slots of ConcurrencyLimits in a run's status: what its process claims, and what the operator grants.

`docs/designs/012-limits-inside-runs.md` has the protocol. The runner writes the one, the operator the other.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .bounds import MAX_CLAIM_NAMES, MAX_CLAIMS, MAX_WANT
from .schema import Count, Model, ObjectName, Rule, Text, Time

_FORWARD = "self.attempt > oldSelf.attempt || (self.attempt == oldSelf.attempt && self.number >= oldSelf.number)"


class SlotClaim(Model):
    """Bundles of slots that a process uses or would use: `occupy` of each of `names`, taken together."""

    id: Count
    """Number of the claim, never used again in the attempt."""
    names: Annotated[list[ObjectName], Field(min_length=1, max_length=MAX_CLAIM_NAMES)]
    """ConcurrencyLimits."""
    occupy: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Slots of each."""
    want: Annotated[int, Field(ge=0, le=MAX_WANT)]
    """Bundles that it would use now."""
    returned: Count = 0
    """Bundles that it was granted and does not use any more."""
    since: Time
    """When it was first made."""


class SlotClaims(Model):
    """What a process claims."""

    rules = (Rule(_FORWARD, "claims: a later write is there; number cannot go back", ".number"),)

    attempt: Count
    """Attempt of the process; those of others say nothing."""
    number: Count
    """Number of the write."""
    claims: Annotated[list[SlotClaim], Field(max_length=MAX_CLAIMS)]
    """The claims."""


class SlotGrant(Model):
    """What is granted of one claim."""

    id: Count
    """Number of the claim."""
    granted: Count = 0
    """Bundles that were granted so far; less those returned, what the process may use."""
    keep: Count | None = None
    """Bundles beyond this are to be returned when their use ends; unset: none."""
    refused: Text | None = None
    """Why nothing more of this claim will ever be granted."""


class SlotGrants(Model):
    """What is granted."""

    rules = (Rule(_FORWARD, "grants: a later write is there; number cannot go back", ".number"),)

    attempt: Count
    """Attempt whose claims are answered."""
    number: Count
    """Number of the write."""
    grants: Annotated[list[SlotGrant], Field(max_length=MAX_CLAIMS)]
    """The grants."""
