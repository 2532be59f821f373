"""The FlowDeployment kind: a flow with parameters, schedules and the pool it runs on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .flow import NO_CREDENTIALS_IN_REQUIREMENTS, Requirements
from .pods import PodOverrides
from .schema import (
    AGE,
    READY_COLUMNS,
    Column,
    Conditions,
    Count,
    JsonObject,
    Kind,
    Label,
    Limit,
    LongText,
    Model,
    ObjectReference,
    Priority,
    Resource,
    Rule,
    Seconds,
    SecondsOrZero,
    StringMap,
    Tags,
    Time,
    count_of,
    own_keys_reserved,
)

TimeZone = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*$")]
Slug = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]


def in_reach(field: str) -> Rule:
    """Times that can be counted from, in every zone."""
    year = f"self.{field}.getFullYear()"
    return Rule(
        f"!has(self.{field}) || {year} >= 1970 && {year} < 9990",
        f"{field}: a time between the years 1970 and 9990",
        f".{field}",
    )


class CronSchedule(Model):
    """A cron expression of five or six fields."""

    expression: Annotated[str, Field(min_length=1, max_length=256)]
    """Cron expression, such as `0 6 * * 1-5`, or @hourly and its like."""
    day_or: bool | None = None
    """Whether day of month and day of week are joined by or (default) or by and."""

    rules = (
        Rule(
            "self.expression.startsWith('@') || self.expression.trim().split(' ').filter(f, f != '').size() in [5, 6]",
            "expression: a cron expression has five or six fields, such as '0 6 * * 1-5'",
            ".expression",
        ),
    )


class IntervalSchedule(Model):
    """Every so many seconds, counted from an anchor."""

    seconds: Seconds
    """Length of the interval."""
    anchor: Time | None = None
    """An instant that is a slot; creation of the deployment when unset."""

    rules = (in_reach("anchor"),)


class RRuleSchedule(Model):
    """An iCalendar recurrence rule (RFC 5545)."""

    rule: Annotated[str, Field(min_length=1, max_length=6500)]
    """RRULE text, with DTSTART where it matters."""

    rules = (
        Rule("!self.rule.matches('(?i)INTERVAL=0(;|$)')", "rule: INTERVAL must be at least 1", ".rule"),
        Rule("self.rule.matches('(?i)FREQ=')", "rule: an RRULE needs FREQ, such as FREQ=DAILY", ".rule"),
    )


class Schedule(Model):
    """One schedule of a deployment; exactly one form."""

    rules = (
        # Who suspends a schedule owns that; when a deploy takes the schedule away, that is what stays of it.
        Rule(
            f"{count_of('cron', 'interval', 'rrule')} == 1 || {count_of('cron', 'interval', 'rrule')} == 0 "
            "&& has(self.suspend)",
            "schedule: set exactly one of cron, interval, rrule",
        ),
        in_reach("end"),
    )

    slug: Slug
    """Stable name of the schedule within its deployment."""
    cron: CronSchedule | None = None
    """By cron expression."""
    interval: IntervalSchedule | None = None
    """By interval."""
    rrule: RRuleSchedule | None = None
    """By recurrence rule."""
    timezone: TimeZone | None = None
    """IANA time zone; UTC when unset."""
    parameters: JsonObject | None = None
    """Parameters of its runs, over those of the deployment."""
    suspend: bool | None = None
    """Makes no runs while true."""
    max_runs: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Ends the schedule after so many runs."""
    end: Time | None = None
    """No slot after this instant."""


class Concurrency(Model):
    """How many runs of the deployment may be active, and what happens to one more."""

    limit: Limit
    """Highest number of active runs; 0 means none."""
    policy: Literal["Queue", "Forbid", "Replace"] = "Queue"
    """Queue waits, Forbid cancels the new run, Replace cancels the oldest."""


class InfraRetries(Model):
    """Retries of attempts that the infrastructure ended."""

    limit: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many new attempts a run may have."""
    backoff_seconds: SecondsOrZero | None = None
    """Seconds before the first; doubled each time, at most an hour."""
    reasons: Annotated[list[Annotated[str, Field(max_length=64)]], Field(max_length=32)] | None = None
    """Only for these reasons, such as OOMKilled or NodeLost; all when unset."""
    exit_codes: Annotated[list[Annotated[int, Field(ge=0, le=255)]], Field(max_length=64)] | None = None
    """Only for these exit codes of the container; all when unset."""
    on_preemption: Literal["Retry", "Fail", "Ignore"] | None = None
    """Preemption and eviction: counted retry (default), Crashed, or a retry that costs no budget."""


class HistoryLimits(Model):
    """How many ended runs are kept."""

    successful: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Completed runs that are kept."""
    failed: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """Failed, crashed and cancelled runs that are kept."""


class FlowDeploymentSpec(Model):
    """What is wanted of a deployment."""

    rules = (
        Rule(
            "!has(self.catchUp) || self.catchUp != 'All' || has(self.startingDeadlineSeconds)",
            "catchUp: All needs startingDeadlineSeconds, so that a long outage cannot make runs without end",
            ".catchUp",
        ),
        own_keys_reserved("labels"),
        NO_CREDENTIALS_IN_REQUIREMENTS,
    )

    flow_ref: ObjectReference
    """The Flow that runs."""
    description: LongText | None = None
    """What this deployment is for."""
    version: Annotated[str, Field(max_length=128)] | None = None
    """The author's word for this version."""
    parameters: JsonObject | None = None
    """Parameters of its runs; checked against the flow's schema."""
    schedules: (
        Annotated[list[Schedule], Field(max_length=32, json_schema_extra={"x-kubernetes-list-map-keys": ["slug"]})]
        | None
    ) = None
    """When runs are made."""
    work_pool: Label = "default"
    """WorkPool that runs it."""
    queue: Label | None = None
    """WorkQueue of that pool; chosen by the queues' selectors when unset."""
    priority: Priority | None = None
    """1 is first among runs of equal queue priority; 1000 when unset."""
    concurrency: Concurrency | None = None
    """Limit on active runs."""
    catch_up: Literal["None", "Latest", "All"] | None = None
    """What becomes of slots missed while the operator was away; None when unset."""
    starting_deadline_seconds: Seconds | None = None
    """A slot later than this is skipped."""
    pending_deadline_seconds: Seconds | None = None
    """A pod that does not run user code after this is given up; the pool's when unset."""
    active_deadline_seconds: Seconds | None = None
    """A run active for longer is ended as Failed."""
    infra_retries: InfraRetries | None = None
    """Retries of attempts that the infrastructure ended."""
    requirements: Requirements | None = None
    """Packages that are installed for its runs, as lines of requirements.txt; the flow's when unset."""
    pod: PodOverrides | None = None
    """Changes to the pool's pod template; only what the pool allows."""
    history_limits: HistoryLimits | None = None
    """How many ended runs are kept."""
    ttl_seconds_after_finished: SecondsOrZero | None = None
    """Ended runs are deleted after this."""
    tags: Tags | None = None
    """Tags of its runs."""
    labels: StringMap | None = None
    """Labels by which queues select its runs, beside those of the runs; keys of penstock.dev are reserved."""
    suspend: bool | None = None
    """Makes and starts no runs while true."""


class NextRun(Model):
    """The next slot of a schedule."""

    slug: Slug
    """The schedule."""
    time: Time
    """When."""


class LastScheduled(Model):
    """The newest slot that was turned into a run or skipped; only moves forward."""

    rules = (Rule("self.time >= oldSelf.time", "lastScheduled.time only moves forward", ".time"),)

    slug: Slug
    """The schedule."""
    time: Time
    """The slot; at first, and after an edit or a suspension, the instant from which on it makes runs."""
    runs: Count | None = None
    """Runs that the schedule has made."""
    of: Annotated[str, Field(max_length=16)] | None = None
    """Digest of when it is due; another one begins anew from the instant at which that was seen."""
    suspended: bool | None = None
    """It was suspended, gone or at its end when it was last looked at; it goes on from the instant at which that is
    seen to be over."""


class FlowDeploymentStatus(Model):
    """What is known of a deployment."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready: flow and pool exist, parameters fit, schedules can be read. Scheduling: False: a due run was not made."""
    next_runs: Annotated[list[NextRun], Field(max_length=64)] | None = None
    """Coming slots."""
    last_scheduled: (
        Annotated[list[LastScheduled], Field(max_length=64, json_schema_extra={"x-kubernetes-list-map-keys": ["slug"]})]
        | None
    ) = None
    """Newest slot handled, by schedule."""
    active: Count | None = None
    """Runs that hold slots: pending, running, paused or being cancelled. Written within some ten seconds."""
    revision: Annotated[str, Field(max_length=253)] | None = None
    """ControllerRevision of this generation."""


class FlowDeployment(Resource):
    """A deployment: a flow, its parameters and schedules, and where it runs."""

    about: ClassVar[Kind] = Kind(
        "FlowDeployment",
        "flowdeployments",
        "fd",
        columns=(
            Column("Flow", ".spec.flowRef.name"),
            Column("Pool", ".spec.workPool"),
            *READY_COLUMNS,
            Column("Suspend", ".spec.suspend", "boolean"),
            Column("Active", ".status.active", "integer"),
            Column("Next", ".status.nextRuns[0].time", "string", description="When the next run is due"),
            AGE,
        ),
        selectable=(".spec.flowRef.name", ".spec.workPool"),
    )
    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.size() <= 63 && !self.metadata.name.contains('.')",
            "metadata.name: the name of a deployment is a DNS label of at most 63 characters",
        ),
    )

    spec: FlowDeploymentSpec
    """What is wanted."""
    status: FlowDeploymentStatus | None = None
    """What is known."""
