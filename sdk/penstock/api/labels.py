"""Group, version, label and annotation keys, and the environment of a run's pod: every key that two programs share."""

GROUP = "penstock.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "penstock"

# Labels, on pods, Jobs and whatever else the operator creates.
MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY_VALUE = "penstock"
RUN = f"{GROUP}/run"
ATTEMPT = f"{GROUP}/attempt"
FLOW = f"{GROUP}/flow"
DEPLOYMENT = f"{GROUP}/deployment"
POOL = f"{GROUP}/pool"
PARENT = f"{GROUP}/parent"
TASK = f"{GROUP}/task"  # on a run that is a single task of its parent
SCHEDULE = f"{GROUP}/schedule"
BACKFILL = f"{GROUP}/backfill"
CODE_DIGEST = f"{GROUP}/code-digest"
OWNER_KIND = f"{GROUP}/owner-kind"
OWNER_UID = f"{GROUP}/owner-uid"
OWNER_NAME = f"{GROUP}/owner-name"

COMPONENT = "app.kubernetes.io/component"  # on the pods and Leases of workers, with the value that follows
WORKER = "worker"

# Labels of others.
KUEUE = "kueue.x-k8s.io/"
KUEUE_QUEUE = f"{KUEUE}queue-name"  # on a Job or a Pod: Kueue decides when it starts

# Annotations.
WORKER_FACTS = f"{GROUP}/worker"  # of a worker's Lease: JSON, see `penstock.api.workers`
WORKER_NUMBER = f"{GROUP}/worker-number"  # of a worker's pod, and what follows: the cause of its name, and
WORKER_FINGERPRINT = f"{GROUP}/worker-fingerprint"  # what of the pool's spec it was made by
DRAIN = f"{GROUP}/drain"  # of a worker's Lease, `true`: it gets no more runs
DELETED_RUNS = f"{GROUP}/deleted-runs"  # of a worker's Lease: JSON, see `penstock.api.workers`
WORKER_UID = f"{GROUP}/worker-uid"  # of what a worker creates for its runs: who may change it
CAUSE = f"{GROUP}/cause"  # why an object with a derived name exists; compared when the name is taken
BACKFILL_UID = f"{GROUP}/backfill-uid"  # annotation of a run that a backfill made
RUN_UID = f"{GROUP}/run-uid"
EVENT_ID = f"{GROUP}/event-id"  # these five: on the Events that user code emits, JSON where it is no word
EVENT_RESOURCE = f"{GROUP}/event-resource"
EVENT_RELATED = f"{GROUP}/event-related"
EVENT_PAYLOAD = f"{GROUP}/event-payload"
EVENT_FOLLOWS = f"{GROUP}/event-follows"
LOGS_ARCHIVE = f"{GROUP}/logs-archive"  # annotation of a run's pod: URL of its pool's archive of logs
ADMITTED = f"{GROUP}/admitted"  # annotation of a run's pod: `status.admitted` as JSON; null: it holds no slots
ROOT_UID = f"{GROUP}/root-run-uid"  # of the run that began the chain of runs that made this one
RESET_AT = f"{GROUP}/reset-at"  # annotation of a ConcurrencyLimit that is a rate: none of it is used, as of then
CODE_USED = f"{GROUP}/last-referenced"

# The account of workers' pods: the admission policies know by it who may write for the runs of a worker.
WORKER_ACCOUNT = "penstock-worker"

# The container that runs user code, where its source is mounted, and the one beside it in a worker's pod.
CONTAINER = "flow"
AGENT_CONTAINER = "agent"
WORKER_DIR = "/var/run/penstock/worker"  # the sockets between the two, and the files of runs
CODE_DIR = "/var/run/penstock/code"
CODE_FILE = "flow.py"
BUNDLE_FILE = "flow.bundle"
REQUIREMENTS_DIR = "/var/run/penstock/requirements"
REQUIREMENTS_FILE = "requirements.txt"
CODE_SECRET_DIR = "/var/run/penstock/code-secret"  # noqa: S105 - where a Secret is mounted

# Where the blocks of a run are mounted: <folder>/<block>/block.json, and <folder>/<block>/secrets/<field>.
BLOCKS_DIR = "/var/run/penstock/blocks"
BLOCK_FILE = "block.json"
BLOCK_SECRETS = "secrets"
BLOCK_DATA = f"{GROUP}/block"  # with a number: annotation of a run's pod, which becomes the block.json

# Environment of the runner, set by the operator at launch; the runner reads nothing else to find its run.
ENV_NAMESPACE = "PENSTOCK_NAMESPACE"
ENV_RUN = "PENSTOCK_RUN"
ENV_RUN_UID = "PENSTOCK_RUN_UID"
ENV_ATTEMPT = "PENSTOCK_ATTEMPT"
ENV_STARTED = "PENSTOCK_STARTED"  # `true`: an earlier attempt has run user code, so that the run has a start
ENV_SEQ = "PENSTOCK_SEQ"  # state.seq of the Pending state this attempt was launched in
ENV_ENTRYPOINT = "PENSTOCK_ENTRYPOINT"
ENV_CODE = "PENSTOCK_CODE"  # path of the mounted source or bundle; unset: the code is in the image, or fetched
ENV_CODE_SECRET = "PENSTOCK_CODE_SECRET"  # noqa: S105 - the folder of the credentials that code is fetched with
ENV_REQUIREMENTS = "PENSTOCK_REQUIREMENTS"  # path of the requirements that are installed first
ENV_POD_NAME = "PENSTOCK_POD_NAME"
ENV_POD_UID = "PENSTOCK_POD_UID"
ENV_RESULTS = "PENSTOCK_RESULTS_STORAGE"  # URL of the result store, the flow's or the pool's
ENV_RESULTS_SHARED = "PENSTOCK_RESULTS_SHARED"  # `true`: other pods reach it, though it is a folder
ENV_RESULTS_PERSIST = "PENSTOCK_RESULTS_PERSIST_BY_DEFAULT"
ENV_RESULTS_SERIALIZER = "PENSTOCK_RESULTS_DEFAULT_SERIALIZER"
ENV_BLOCKS = "PENSTOCK_BLOCKS"  # the folder of mounted blocks; unset: the flow declares none
ENV_DEPLOYMENT = "PENSTOCK_DEPLOYMENT"
ENV_SERVICE_ACCOUNT = "PENSTOCK_SERVICE_ACCOUNT"  # the folder of the token, where it is not Kubernetes' own
ENV_API_SOCKET = "PENSTOCK_API_SOCKET"  # in a warm worker: the socket on which its agent speaks for the API server
ENV_API = "PENSTOCK_API"  # a pod's artifacts, variables and blocks are those of its cluster
ENV_WORKER_DIR = "PENSTOCK_WORKER_DIR"  # of workers: where agent and executor have their sockets, and runs their files
ENV_WORKER_NAME = "PENSTOCK_WORKER_NAME"
ENV_WORKER_POOL = "PENSTOCK_WORKER_POOL"
ENV_WORKER_SLOTS = "PENSTOCK_WORKER_SLOTS"
ENV_WORKER_PRELOAD = "PENSTOCK_WORKER_PRELOAD"  # modules, with commas between
ENV_WORKER_GRACE = "PENSTOCK_WORKER_GRACE"  # seconds that runs have to end by themselves after SIGTERM
ENV_RESULTS_FALLBACK = "PENSTOCK_RESULTS_FALLBACK"  # these three: told by the runner to itself and its children
ENV_TASK_PROCESS = "PENSTOCK_TASK_PROCESS"
ENV_TASK_MODULES = "PENSTOCK_TASK_MODULES"

# Of these the operator tells what flow and pool say; they are settings, and what overrides say of them goes first.
SETTINGS = (ENV_RESULTS, ENV_RESULTS_PERSIST, ENV_RESULTS_SERIALIZER)
# All others are said by nobody else: who the run is, what fences it, and how it reaches the API server.
RESERVED = tuple(
    sorted(value for name, value in dict(globals()).items() if name.startswith("ENV_") and value not in SETTINGS)
)
