"""Penstock: workflow orchestration that is Kubernetes."""
