"""One module a kind: read afresh, call `core`, apply. Called by the controller with a key; knows nothing of watches."""
