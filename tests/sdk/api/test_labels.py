"""Keys that two programs share: well formed, and no two the same."""

import re

from penstock.api import labels
from penstock.settings import FIELDS

CONSTANTS = {name: value for name, value in vars(labels).items() if name.isupper()}
KEYS = {name: value for name, value in CONSTANTS.items() if isinstance(value, str) and "/" in value}


def test_every_key_is_one_that_kubernetes_takes() -> None:
    for name, key in KEYS.items():
        if name not in ("API_VERSION", "KUEUE") and not name.endswith("_DIR"):
            assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]+/[a-z]([-a-z0-9]{0,61}[a-z0-9])?", key), name


def test_no_two_keys_or_variables_are_the_same() -> None:
    values = [value for name, value in CONSTANTS.items() if name in KEYS or name.startswith("ENV_")]
    assert len(values) == len(set(values))


def test_the_runners_variables_are_those_that_overrides_may_not_set() -> None:
    """All but settings; `EnvVar` refuses them."""
    told = {value for name, value in CONSTANTS.items() if name.startswith("ENV_")}
    assert all(value.startswith("PENSTOCK_") for value in told)
    assert set(labels.RESERVED) == told - set(labels.SETTINGS)
    settings = {field.variable for field in FIELDS.values()}
    assert set(labels.SETTINGS) < settings
    outside = {"PENSTOCK_API", "PENSTOCK_NAMESPACE", "PENSTOCK_WORKER_SLOTS"}
    assert settings & set(labels.RESERVED) == outside, "settings of machines outside of the cluster"
