"""How a flow's code is packed, fetched and made importable: bundles, git, archives, requirements.

Called by the runner in a pod or worker, and by the SDK on a machine. What is fetched is kept by its content in
`folders`, so that processes of one machine share it; nothing here knows of Kubernetes or of runs.
"""
