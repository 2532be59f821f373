"""What each option of `@flow` and `@task` may be: one table for both. Read by `definitions` when one is declared.

Only what was given is looked at, so that a bare `@task` costs nothing. What several options say together, and what
becomes of them, is the definitions' own.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any

from .api.retry import MAX_DELAYS
from .errors import DefinitionError, InvalidParameters

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fits = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and isfinite(value)


def _are(fits: Fits) -> Fits:
    def check(value: Any) -> bool:
        return isinstance(value, list | tuple | set | frozenset) and all(map(fits, value))

    return check


def _are_delays(value: Any) -> bool:
    listed = isinstance(value, list | tuple) and len(value) <= MAX_DELAYS and all(map(_is_number, value))
    return listed or _is_number(value) or callable(value)


def _is_lifetime(value: Any) -> bool:
    seconds = value.total_seconds() if hasattr(value, "total_seconds") else value
    return _is_number(seconds) and seconds > 0


def _is_storage(value: Any) -> bool:
    return isinstance(value, str) or hasattr(value, "__fspath__") or hasattr(value, "record_at")


_NAMES: Fits = _are(lambda name: isinstance(name, str) and name != "")
_TEMPLATE = "a template such as 'load-{day}', or a function that returns the name"
_FLAG = "True or False; None leaves it to what is around it"
_YES_NO = "True or False"


def _hooks(name: str) -> tuple[Fits, str]:
    return _are(callable), f"a list of functions, such as {name}=[notify]"


# Option -> (what fits, what it has to be). None stands for what was not said, unless it is listed in `SPOKEN`.
OPTIONS: Mapping[str, tuple[Fits, str]] = {
    "name": (_is_text, "text, such as name='load'"),
    "description": (_is_text, "text"),
    "version": (_is_text, "text, such as version='1.2'"),
    "retries": (_is_count, "a whole number of at least 0, such as retries=3"),
    "retry_delay_seconds": (
        _are_delays,
        f"a finite number of seconds of at least 0, a list of at most {MAX_DELAYS} of them, "
        "or a function that makes the list from the number of retries",
    ),
    "retry_jitter_factor": (_is_number, "a finite number of at least 0, such as 0.5"),
    "retry_condition_fn": (callable, "a function of (task, task_run, state)"),
    "timeout_seconds": (_is_number, "a finite number of seconds of at least 0; None or 0: no limit"),
    "log_prints": (_is_flag, _FLAG),
    "persist_result": (_is_flag, _FLAG),
    "refresh_cache": (_is_flag, _FLAG),
    "cache_result_in_memory": (_is_flag, _YES_NO),
    "validate_parameters": (_is_flag, _YES_NO),
    "result_storage": (_is_storage, "a URL, a path or a ResultStore"),
    "result_serializer": (
        lambda value: isinstance(value, str) or hasattr(value, "dumps"),
        "the name of a serializer, such as 'json', or a Serializer",
    ),
    "result_storage_key": (_is_text, "a template, such as '{task_run.name}'"),
    "flow_run_name": (lambda value: isinstance(value, str) or callable(value), _TEMPLATE),
    "task_run_name": (lambda value: isinstance(value, str) or callable(value), _TEMPLATE),
    "task_runner": (lambda value: hasattr(value, "duplicate"), "a TaskRunner, such as ThreadPoolTaskRunner()"),
    "blocks": (_NAMES, "a list of names, such as blocks=['prod']"),
    "tags": (_NAMES, "a list or set of names, such as tags=['nightly']"),
    "cache_policy": (
        lambda value: value is ... or hasattr(value, "compute_key"),
        "a CachePolicy such as INPUTS, or None for no cache",
    ),
    "cache_key_fn": (callable, "a function of (context, parameters)"),
    "cache_expiration": (_is_lifetime, "a timedelta or a number of seconds, and more than 0"),
    **{
        hook: _hooks(hook)
        for hook in (
            "on_running",
            "on_completion",
            "on_failure",
            "on_cancellation",
            "on_crashed",
            "on_commit",
            "on_rollback",
        )
    },
}
SPOKEN = frozenset({"cache_result_in_memory", "validate_parameters"})  # None is no answer to these


def check(what: str, given: Mapping[str, Any]) -> None:
    """Raise `DefinitionError` for the first option that cannot be, naming `what` (`task 'load'`) and the remedy."""
    for option, value in given.items():
        rule = OPTIONS.get(option)
        if rule is not None and not (value is None and option not in SPOKEN) and not rule[0](value):
            raise DefinitionError(f"{what}: {option} must be {rule[1]}, not {shown(value)}")


def check_call(what: str, return_state: Any, wait_for: Any) -> None:
    """Raise `InvalidParameters` where the two options of a call cannot be. Called only where one was given."""
    if not isinstance(return_state, bool):
        _refuse(what, "return_state", _YES_NO, return_state)
    many = isinstance(wait_for, list | tuple | set | frozenset | dict)
    if wait_for is not None and not many and not hasattr(wait_for, "add_done_callback"):
        from .annotations import Annotation
        from .states import State

        if not isinstance(wait_for, Annotation | State):
            _refuse(what, "wait_for", "a list of futures or states, such as wait_for=[loaded]", wait_for)


def _refuse(what: str, option: str, wanted: str, value: Any) -> None:
    problem = f"must be {wanted}, not {shown(value)}"
    raise InvalidParameters(f"{what}: {option} {problem}", ((option, problem),))


def shown(value: Any) -> str:
    """A value in an error: what it looks like, cut."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
