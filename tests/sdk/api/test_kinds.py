"""All kinds: each model reads and writes a full object of its kind without loss."""

import pytest

import builders
from builders import good
from penstock.api import kinds
from penstock.api.schema import Resource


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.__name__)
def test_a_full_object_survives_the_model(kind: type[Resource]) -> None:
    body = good(kind.about.kind, namespace="n")
    assert kind.model_validate(body).to_dict() == body


@pytest.mark.parametrize("kind", kinds.ALL, ids=lambda kind: kind.__name__)
def test_the_good_object_of_a_kind_sets_every_field_of_its_spec(kind: type[Resource]) -> None:
    """So that the tests on a real API server leave none out."""
    fields = kind.model_fields
    if "spec" not in fields:
        assert {f.alias for f in fields.values()} == set(good(kind.about.kind))
        return
    spec = fields["spec"].annotation
    instead = {"FlowRun": {"flowRef", "retryOf"}, "ConcurrencyLimit": {"tag"}}  # of deploymentRef, of task; of taskTag
    one_of = instead.get(kind.about.kind, set())
    assert {f.alias for f in spec.model_fields.values()} - one_of == set(good(kind.about.kind)["spec"])  # type: ignore[union-attr]


def test_no_name_is_used_twice() -> None:
    for word in ("kind", "plural", "short", "singular"):
        words = [getattr(kind.about, word) for kind in kinds.ALL]
        assert len(set(words)) == len(words), word
    assert {kind.about.kind for kind in kinds.ALL} == {kind.__name__ for kind in kinds.ALL} == set(builders.KINDS)
