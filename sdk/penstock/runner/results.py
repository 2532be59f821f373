"""Where the value of a flow run is to be found: in the run itself, or in the result store. Called at the run's end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..api import labels
from ..api.bounds import cut
from .reports import result

if TYPE_CHECKING:
    from ..states import State

MAX_OMITTED = 1024


def kept(state: State[Any], key: str) -> dict[str, Any]:
    """A Completed state's value as `status.result`: inline where it is small JSON, with where it is in the store.

    Where a store is configured, what does not fit inline goes there under `key`, whether or not the flow asked for it.
    """
    reference: dict[str, Any] = {} if state.stored is None else {"reference": state.stored.url}
    if state.is_stored_only:
        return reference
    found = result(state.data)
    if reference or "omitted" not in found:
        return {**reference, **{name: value for name, value in found.items() if name == "inline"}}
    if not os.environ.get(labels.ENV_RESULTS):
        return {
            "omitted": f"{found['omitted']}; where spec.results.url of the WorkPool is set, the value is kept there"
        }
    from ..errors import PenstockError
    from ..results.settings import store_for

    try:
        store = store_for(None, None)
        store.write(key, state.data)
    except PenstockError as error:
        return {"omitted": cut(f"{found['omitted']}; {error}", MAX_OMITTED)}
    return {"reference": store.url_of(key)}
