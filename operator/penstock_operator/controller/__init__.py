"""The hot path: informers fill a cache and name keys, a queue coalesces them, reconcilers take one key at a time."""
