"""From a resolved run to the manifest of its Pod or Job: pure functions, one module a pool type."""
