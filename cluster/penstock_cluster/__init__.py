"""A real one-node Kubernetes for machines without Docker, and a bare control plane for integration tests.

Standard library only, for it runs before anything is installed. `python3 -m penstock_cluster --help` lists the
commands; `docs/cluster.md` tells how the parts fit together.
"""
