"""The wrappers of arguments under the path that Prefect's users import them by; they are defined in `annotations`."""

from ..annotations import Annotation as BaseAnnotation
from ..annotations import allow_failure, opaque, quote, unmapped

__all__ = ["BaseAnnotation", "allow_failure", "opaque", "quote", "unmapped"]
