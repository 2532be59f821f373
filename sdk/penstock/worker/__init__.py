"""Warm workers: an agent that holds the credentials, and a fork server in which runs are processes.

`agent` and `executor` are the two processes (`python -m penstock.worker.agent`, `.executor`); in the cluster they are
the containers of a worker's pod, elsewhere `penstock worker start` is both. docs/designs/009-warm-workers.md.
"""
