"""The errors under the name that Prefect's users import them by; they are defined in `errors`."""

from .errors import *  # noqa: F403 - the same names, all of them
