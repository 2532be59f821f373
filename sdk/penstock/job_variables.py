"""`job_variables` as Prefect's users write them, as the pod overrides they stand for. Pure.

Called by `run_deployment`, `flow.deploy` and `to_deployment`. What the pool allows, the operator decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from .api.pods import PodOverrides
from .errors import ConfigurationError


def pod_overrides(job_variables: Mapping[str, Any] | None) -> dict[str, Any]:
    """`spec.pod` for `{"image": ..., "env": {"A": "b"}, "resources": ...}`; names in snake or camel case.

    Raises ConfigurationError that names the variable, and those there are.
    """
    given = {to_camel(name) if "_" in name else name: value for name, value in (job_variables or {}).items()}
    known = [field.alias or to_camel(name) for name, field in PodOverrides.model_fields.items()]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ConfigurationError(f"job_variables: there is no {', '.join(unknown)}; there are {', '.join(known)}")
    if isinstance(given.get("env"), Mapping):
        given["env"] = [{"name": name, "value": _text(value)} for name, value in given["env"].items()]
    try:
        return PodOverrides.model_validate(given).to_dict()
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False)]
        raise ConfigurationError(f"job_variables: {'; '.join(wrong)}") from None


def _text(value: Any) -> Any:
    """A variable of the environment is text; numbers and flags are taken for what they look like."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value
