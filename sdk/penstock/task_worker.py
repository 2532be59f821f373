"""`from penstock.task_worker import serve`: a worker for background tasks. The home of its parts is `background`."""

from .background import serve as serve

__all__ = ["serve"]
