"""Runs flows and tasks. Called by the decorators' objects and by the runner; knows nothing of Kubernetes.

One generator is the life of a flow run (`flow_life`), one that of a task run (`task_life`). They yield effects
(`effects`) and are resumed with the outcome; `drive` performs them in a thread, `drive_async` in an event loop.
"""
