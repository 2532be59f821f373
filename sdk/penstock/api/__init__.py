"""The contract of Penstock: what its resources hold, and the rules on their values.

The SDK, the runner in the pod and the operator all speak through this package; it knows none of them. It does no
I/O and reads no clock. `states`, `names`, `labels`, `reasons` and `retry` need the standard library alone, so that
a run's pod can use them without paying for pydantic; the resource models (one module a kind) need pydantic.
"""
