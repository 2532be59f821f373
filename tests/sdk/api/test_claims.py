"""What a run claims and is granted; the rules themselves are tried on a real API server."""

import pytest
from pydantic import ValidationError

from penstock.api.bounds import MAX_CLAIM_NAMES, MAX_CLAIMS
from penstock.api.claims import SlotClaims, SlotGrants

CLAIM = {"id": 0, "names": ["db"], "want": 1, "since": "2026-01-01T06:00:00Z"}


def test_a_claim_is_of_one_bundle_of_one_slot_unless_it_says_otherwise() -> None:
    (claim,) = SlotClaims.model_validate({"attempt": 1, "number": 1, "claims": [CLAIM]}).claims
    assert (claim.occupy, claim.returned) == (1, 0)


@pytest.mark.parametrize(
    "claims",
    [
        [CLAIM] * (MAX_CLAIMS + 1),
        [{**CLAIM, "names": []}],
        [{**CLAIM, "names": ["db"] * (MAX_CLAIM_NAMES + 1)}],
        [{**CLAIM, "names": ["tag:gpu"]}],
        [{**CLAIM, "occupy": 0}],
        [{**CLAIM, "want": 10**6}],
    ],
    ids=["too many", "of nothing", "of too many limits", "no object's name", "no slots", "too much"],
)
def test_claims_have_bounds(claims: list[object]) -> None:
    with pytest.raises(ValidationError):
        SlotClaims.model_validate({"attempt": 1, "number": 1, "claims": claims})


def test_a_number_that_goes_back_is_refused_unless_the_attempt_is_another() -> None:
    for model in (SlotClaims, SlotGrants):
        assert [rule.field_path for rule in model.rules] == [".number"]
        assert "self.attempt > oldSelf.attempt" in model.rules[0].rule
