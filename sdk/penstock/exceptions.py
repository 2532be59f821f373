"""The errors under the names that Prefect's users import them by; they are defined in `errors`."""

from .errors import *  # noqa: F403 - the same names, all of them
from .errors import InvalidEvent as EventTooLarge  # noqa: F401
from .errors import InvalidParameters as ParameterTypeError  # noqa: F401
from .errors import MissingContext as MissingContextError  # noqa: F401
from .errors import ParameterBind as ParameterBindError  # noqa: F401
from .errors import ReservedArgument as ReservedArgumentError  # noqa: F401
from .errors import ResourceExists as ObjectAlreadyExists  # noqa: F401
from .errors import ResourceNotFound as ObjectNotFound  # noqa: F401
from .errors import UnhashableInput as HashError  # noqa: F401
from .errors import UpstreamNotReady as UpstreamTaskError  # noqa: F401
