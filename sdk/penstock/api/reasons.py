"""Machine-readable reasons: of states, conditions and Events. The same word means the same thing in all three.

Comments say who must act. A reason is CamelCase, as Kubernetes conditions want it.
"""

# Runs that wait (state Scheduled, or condition Ready=False on a deployment).
DEPLOYMENT_NOT_FOUND = "DeploymentNotFound"  # apply it, or correct deploymentRef; the run proceeds by itself
FLOW_NOT_FOUND = "FlowNotFound"
POOL_NOT_FOUND = "WorkPoolNotFound"
BLOCK_NOT_FOUND = "BlockNotFound"
POOL_SUSPENDED = "WorkPoolSuspended"
DEPLOYMENT_SUSPENDED = "FlowDeploymentSuspended"
QUEUE_SUSPENDED = "WorkQueueSuspended"
QUEUE_NOT_FOUND = "WorkQueueNotFound"
POOL_FULL = "WorkPoolFull"  # these: a limit has no free slot; the run starts when one comes back
QUEUE_FULL = "WorkQueueFull"
DEPLOYMENT_FULL = "FlowDeploymentFull"
TAG_FULL = "TagLimitFull"
WORKERS_FULL = "WorkersFull"
SLOT_KEPT = "SlotKept"  # free slots are kept for runs that were passed over for a minute
NOT_DUE = "NotDue"
SUSPEND_REQUESTED = "SuspendRequested"  # spec.suspend is set; unset, the run goes on
ACCEPTED = "Accepted"

# Runs that end before user code (state Failed: the author must act).
INVALID_PARAMETERS = "InvalidParameters"
INVALID_CODE = "InvalidCode"  # the code source of the flow cannot be delivered
INVALID_OVERRIDES = "InvalidOverrides"
INVALID_BLOCKS = "InvalidBlocks"  # the flow's blocks are too large together
INVALID_SPEC = "InvalidSpec"
INVALID_SCHEDULE = "InvalidSchedule"  # of a deployment: one of its schedules cannot be read, or never fires
LOGS_ARCHIVE_FORBIDDEN = "LogsArchiveForbidden"  # of a pool: logs.archive is not at an allowed place
NOT_RETRYABLE = "NotRetryable"  # spec.retryOf names a run that goes on, is not there, or is of another flow

# Runs that give way to others of their deployment (state Cancelled), by its spec.concurrency.policy.
CONCURRENCY_FORBIDDEN = "ConcurrencyForbidden"
REPLACED = "Replaced"

# Infrastructure (state Pending while it lasts, Crashed when it ended the attempt).
LAUNCHED = "Launched"
AWAITING_KUEUE = "AwaitingKueue"  # these three: the Job or Pod is there, and somebody else decides when it starts
JOB_SUSPENDED = "JobSuspended"
SCHEDULING_GATED = "SchedulingGated"
POD_CREATE_FORBIDDEN = "PodCreateForbidden"  # quota or admission refused the pod
POD_INVALID = "PodInvalid"  # the pool's template makes no valid pod
UNSCHEDULABLE = "Unschedulable"
IMAGE_PULL_FAILED = "ImagePullFailed"
CONTAINER_CONFIG_ERROR = "ContainerConfigError"
MOUNT_FAILED = "MountFailed"  # a Secret, ConfigMap or claim of a volume is missing, or the volume is elsewhere
SANDBOX_FAILED = "SandboxFailed"  # the node's network or runtime refuses the pod
START_FAILED = "StartFailed"  # the command is missing or cannot be executed
PENDING_DEADLINE_EXCEEDED = "PendingDeadlineExceeded"
STARTING_DEADLINE_EXCEEDED = "StartingDeadlineExceeded"
ACTIVE_DEADLINE_EXCEEDED = "ActiveDeadlineExceeded"
OOM_KILLED = "OOMKilled"
INIT_FAILED = "InitContainerFailed"
EVICTED = "Evicted"
PREEMPTED = "Preempted"
NODE_LOST = "NodeLost"  # also a condition: True while a pod of the run is on a node that says nothing
NODE_SILENT = "NodeSilent"  # of that condition
NODE_READY = "NodeReady"
POD_DELETED = "PodDeleted"
POD_FAILED = "PodFailed"
JOB_FAILED = "JobFailed"
JOB_DELETED = "JobDeleted"
EXITED = "ContainerExited"  # user code ended the process (os._exit, a signal) without a final state
NEVER_CLAIMED = "NeverClaimed"  # the pod ended without claiming the run: image without the runner, or no API access
PROTOCOL_MISMATCH = "ProtocolMismatch"
WORKER_STOPPED = "WorkerStopped"  # the worker was asked to end, and ended its run, or had not begun it
WORKER_LOST = "WorkerLost"  # the warm worker that had the run is gone, or has fallen silent
WORKERS_NOT_READY = "WorkersNotReady"  # of a pool of type Process, and its runs: no worker is ready
PARENT_ENDED = "ParentEnded"  # the attempt of the parent whose process it ran in, or that waited for it, is over

# User code.
STARTED = "Started"
COMPLETED = "Completed"
EXCEPTION = "Exception"
IMPORT_FAILED = "ImportFailed"
CODE_UNAVAILABLE = "CodeUnavailable"  # a ref, an archive or a bundle is not there, not to be read, or not what it was
BUNDLE_MISMATCH = "BundleMismatch"  # made by another Python or SDK than the image has
REQUIREMENTS_FAILED = "RequirementsFailed"
ENTRYPOINT_NOT_FLOW = "EntrypointNotFlow"
TIMED_OUT = "TimedOut"
CANCEL_REQUESTED = "CancelRequested"
CANCELLED = "Cancelled"
PAUSED = "Paused"  # the process waits to be resumed
SUSPENDED = "Suspended"  # likewise, and its process has ended
RESUMED = "Resumed"
PAUSE_TIMED_OUT = "PauseTimedOut"  # nobody answered by status.pause.deadline
INVALID_INPUT = "InvalidInput"  # an answer does not fit status.pause.schema; the run waits on
STALE_ANSWER = "StaleAnswer"  # spec.resume names another pause than the one that waits
NOT_SUSPENDABLE = "NotSuspendable"  # no result store that another pod could reach; the run goes on

# Queues and pools.
LIMIT_ZERO = "LimitIsZero"  # no run starts
NO_RUN_MATCHES = "NoRunMatches"  # of a queue: nothing that is there is what its selector asks for

# Schedules (condition Scheduling of a deployment).
RUN_NAME_TAKEN = "RunNameTaken"  # a run of the slot's name was made by somebody else: the slot is left out
RUN_FORBIDDEN = "RunForbidden"  # a quota or a policy refuses the run; tried again while it is not too late
RUN_INVALID = "RunInvalid"  # the API server does not take the run: the slot is left out

# Backfills.
SCHEDULE_NOT_FOUND = "ScheduleNotFound"  # the deployment has no schedule of that slug
RANGE_TOO_LARGE = "RangeTooLarge"  # more slots, or steps to them, than a backfill may have: make several
PROGRESSING = "Progressing"
BACKFILL_SUSPENDED = "BackfillSuspended"
SUCCEEDED = "Succeeded"  # all of its runs have completed
SOME_FAILED = "SomeFailed"  # it is complete, and not all of its runs are

# Any object.
RECONCILE_FAILED = "ReconcileFailed"  # something in it, or a defect of the operator, breaks every look at it

# Condition types.
READY = "Ready"
COMPLETE = "Complete"  # True: a backfill makes no more runs, and all it made have ended
SCHEDULING = "Scheduling"  # False: a due run could not be made
RECONCILED = "Reconciled"  # False: the operator cannot look at the run without an error
RESOLVED = "Resolved"  # False: something the run names is missing
ADMITTED = "Admitted"  # False: the Job is suspended or the Pod gated; True: it was, and may start
POD_READY = "PodReady"  # False: why the pod of the current attempt does not run
ANSWERED = "Answered"  # False: why what spec.resume says does not resume the run
SUSPENDABLE = "Suspendable"  # False: why spec.suspend does not stop the run, or what it waits for to stop it
SETTLED = "Settled"
