"""Runs in an archive: `record` is what is written of one, `reading` finds them again. No Kubernetes in it.

The operator writes, before it deletes a run; the command line reads, and so does whatever reads JSON lines.
docs/retention-and-archive.md describes the format, which is a contract.
"""
