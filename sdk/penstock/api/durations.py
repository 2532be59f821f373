"""A run's duration as `kubectl get` shows it; imported by both writers of its status."""

from __future__ import annotations


def shown(seconds: float) -> str:
    """4s, 3m20s or 2h05m; a clock that went back makes 0s."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m"
