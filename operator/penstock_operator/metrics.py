"""Prometheus metrics of the operator; served by `main`."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("penstock_reconciles", "Reconciliations by kind and outcome", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(
    "penstock_reconcile_seconds",
    "Time of a reconciliation",
    ["kind"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
API_CALLS = Counter(
    "penstock_api_calls", "Calls of the API server by verb, resource and status", ["verb", "resource", "code"]
)
QUEUE_DEPTH = Gauge("penstock_queue_depth", "Keys that wait")
QUEUE_AGE = Gauge("penstock_queue_oldest_seconds", "How long the oldest key has waited")
WATCH_SILENCE = Gauge("penstock_watch_silence_seconds", "Time since the quietest watch was heard of")
LIVE_RUNS = Gauge("penstock_live_runs", "Runs that are not settled")
LEADER = Gauge("penstock_leader", "1 while this process acts, 0 while it stands by")
TAKEOVER_SECONDS = Gauge(
    "penstock_takeover_seconds", "From when this process last began to act until it had looked at everything once"
)
WRITES_REFUSED = Counter(
    "penstock_writes_refused", "Writes that were not sent, for the lease was not held", ["verb", "resource"]
)
WRITES_LATE = Counter(
    "penstock_writes_late", "Writes in flight while the lease ran out, and done nevertheless", ["verb", "resource"]
)
SETTLED_RUNS = Gauge("penstock_settled_runs", "Settled runs that are not deleted")
RUNS_DELETED = Counter("penstock_runs_deleted", "Runs that retention deleted, by cause", ["cause"])
RUNS_ARCHIVED = Counter("penstock_runs_archived", "Runs that are in the archive")
ARCHIVE_FAILING = Gauge("penstock_archive_failing", "1 while the archive cannot be written, and runs stay for it")
LOGS_ARCHIVED = Counter("penstock_logs_archived", "Logs of pods that are in an archive")
LOGS_LOST = Counter("penstock_logs_lost", "Logs of deleted pods that no archive took in time")
LOG_ARCHIVE_FAILING = Gauge("penstock_log_archives_failing", "Archives of logs that cannot be written")
SLOTS_GRANTED = Counter("penstock_slots_granted", "Bundles of slots granted to processes of runs")
LATENESS = Histogram(
    "penstock_schedule_lateness_seconds",
    "From when a run was due by a schedule until it was made",
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 600),
)
EVENTS_DROPPED = Gauge("penstock_events_dropped", "Events that could not be sent")


def observe_call(verb: str, resource: str, status: int) -> None:
    """Count an answer of the API server; 0 is no answer."""
    API_CALLS.labels(verb, resource, str(status)).inc()
