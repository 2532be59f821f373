"""The Automation kind: when something happens, or does not, do something."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .schema import (
    AGE,
    READY_COLUMNS,
    Column,
    Conditions,
    Count,
    JsonObject,
    Kind,
    LongText,
    Model,
    ObjectReference,
    Resource,
    Rule,
    SecondsOrZero,
    StringMap,
    Text,
    Time,
    Url,
    Word,
    exactly_one,
)

Reasons = Annotated[list[Word], Field(max_length=64)]
Threshold = Annotated[int, Field(ge=1, le=100_000)]


class EventTrigger(Model):
    """Counts occurrences in a window, and fires on enough of them, or on too few."""

    rules = (
        Rule(
            "self.posture != 'Proactive' || (has(self.withinSeconds) && self.withinSeconds >= 10)",
            "withinSeconds: a proactive trigger needs a window of at least 10 seconds",
            ".withinSeconds",
        ),
    )

    match: StringMap | None = None
    """Labels of the object the event is about; `*` at the end of a value, `!` before it."""
    match_related: Annotated[list[StringMap], Field(max_length=16)] | None = None
    """Labels of related objects; each entry must match one."""
    after: Reasons | None = None
    """Reasons that arm the trigger; armed from the start when unset."""
    expect: Reasons | None = None
    """Reasons that count; all when unset."""
    for_each: Annotated[list[Word], Field(max_length=8)] | None = None
    """Counts apart for each value of these labels."""
    posture: Literal["Reactive", "Proactive"] = "Reactive"
    """Fire when it happens, or when it does not."""
    threshold: Threshold = 1
    """How many occurrences."""
    within_seconds: SecondsOrZero | None = None
    """Length of the window; 0 fires on every occurrence."""


class MetricTrigger(Model):
    """Compares a measure of runs with a value."""

    metric: Literal["SuccessRate", "Lateness", "Duration"]
    """What is measured."""
    operator: Literal["<", "<=", ">", ">="]
    """How it is compared."""
    value: float
    """With what; seconds, or a share between 0 and 1."""
    range_seconds: SecondsOrZero = 300
    """Over how long."""
    for_seconds: SecondsOrZero = 0
    """How long it must hold."""
    match: StringMap | None = None
    """Labels of the runs that are measured."""


class LeafTrigger(Model):
    """A trigger inside a composed one."""

    rules = (exactly_one(("event", "metric"), "trigger"),)

    event: EventTrigger | None = None
    """On events."""
    metric: MetricTrigger | None = None
    """On a measure."""


class InnerCompoundTrigger(Model):
    """Several triggers within a window, at the second level."""

    require: Annotated[str, Field(pattern=r"^(Any|All|[1-9][0-9]{0,2})$", max_length=4)] = "All"
    """Any, All, or how many."""
    within_seconds: SecondsOrZero | None = None
    """Length of the window."""
    triggers: Annotated[list[LeafTrigger], Field(min_length=1, max_length=16)]
    """The parts."""


class InnerSequenceTrigger(Model):
    """Triggers in order within a window, at the second level."""

    within_seconds: SecondsOrZero | None = None
    """Length of the window."""
    triggers: Annotated[list[LeafTrigger], Field(min_length=1, max_length=16)]
    """The parts, in order."""


class InnerTrigger(Model):
    """A part of a composed trigger, which may be composed once more."""

    rules = (exactly_one(("event", "metric", "compound", "sequence"), "trigger"),)

    event: EventTrigger | None = None
    """On events."""
    metric: MetricTrigger | None = None
    """On a measure."""
    compound: InnerCompoundTrigger | None = None
    """On several."""
    sequence: InnerSequenceTrigger | None = None
    """On several in order."""


class CompoundTrigger(Model):
    """Several triggers within a window."""

    require: Annotated[str, Field(pattern=r"^(Any|All|[1-9][0-9]{0,2})$", max_length=4)] = "All"
    """Any, All, or how many."""
    within_seconds: SecondsOrZero | None = None
    """Length of the window."""
    triggers: Annotated[list[InnerTrigger], Field(min_length=1, max_length=16)]
    """The parts."""


class SequenceTrigger(Model):
    """Triggers in order within a window."""

    within_seconds: SecondsOrZero | None = None
    """Length of the window."""
    triggers: Annotated[list[InnerTrigger], Field(min_length=1, max_length=16)]
    """The parts, in order."""


class Trigger(Model):
    """When an automation fires."""

    rules = (exactly_one(("event", "metric", "compound", "sequence"), "trigger"),)

    event: EventTrigger | None = None
    """On events."""
    metric: MetricTrigger | None = None
    """On a measure."""
    compound: CompoundTrigger | None = None
    """On several."""
    sequence: SequenceTrigger | None = None
    """On several in order."""


class RunDeployment(Model):
    """Makes a run."""

    deployment_ref: ObjectReference | None = None
    """Of this deployment; of the one the event is about when unset."""
    parameters: JsonObject | None = None
    """With these parameters; strings may be templates."""


class TargetedAction(Model):
    """Acts on the object the event is about, or on a named one."""

    target: ObjectReference | None = None
    """The object; inferred from the event when unset."""


class SuspendAction(Model):
    """Sets `spec.suspend` of an object."""

    kind: Literal["FlowDeployment", "WorkPool", "WorkQueue", "Automation", "FlowRun"]
    """Its kind."""
    target: ObjectReference | None = None
    """Its name; inferred from the event when unset."""


class CallWebhook(Model):
    """Sends an HTTP request."""

    rules = (exactly_one(("url", "blockRef"), "callWebhook"),)

    url: Url | None = None
    """URL, without credentials."""
    block_ref: ObjectReference | None = None
    """Block of type Webhook, for URLs that are secret."""
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    """Method."""
    body: Annotated[str, Field(max_length=16384)] | None = None
    """Body; a template."""


class SendNotification(Model):
    """Sends a message by a notification block."""

    block_ref: ObjectReference
    """The block."""
    subject: Text | None = None
    """Subject; a template."""
    body: Annotated[str, Field(max_length=16384)] | None = None
    """Body; a template."""


class Action(Model):
    """What an automation does; exactly one."""

    rules = (
        exactly_one(
            (
                "runDeployment",
                "cancelFlowRun",
                "resumeFlowRun",
                "retryFlowRun",
                "deleteFlowRun",
                "suspend",
                "unsuspend",
                "callWebhook",
                "sendNotification",
            ),
            "action",
        ),
    )

    run_deployment: RunDeployment | None = None
    """Make a run."""
    cancel_flow_run: TargetedAction | None = None
    """Cancel a run."""
    resume_flow_run: TargetedAction | None = None
    """Resume a paused run."""
    retry_flow_run: TargetedAction | None = None
    """Make a new run that reuses the results of an ended one."""
    delete_flow_run: TargetedAction | None = None
    """Delete a run."""
    suspend: SuspendAction | None = None
    """Suspend an object."""
    unsuspend: SuspendAction | None = None
    """End a suspension."""
    call_webhook: CallWebhook | None = None
    """Send an HTTP request."""
    send_notification: SendNotification | None = None
    """Send a message."""


Actions = Annotated[list[Action], Field(max_length=16)]


class AutomationSpec(Model):
    """What is wanted of an automation."""

    rules = (
        Rule(
            "has(self.actions) || has(self.actionsOnTrigger) || has(self.actionsOnResolve)",
            "actions: set at least one of actions, actionsOnTrigger, actionsOnResolve",
        ),
    )

    description: LongText | None = None
    """What it is for."""
    trigger: Trigger
    """When it fires."""
    actions: Actions | None = None
    """Done at each firing."""
    actions_on_trigger: Actions | None = None
    """Done when it starts to hold."""
    actions_on_resolve: Actions | None = None
    """Done when it ceases to hold."""
    suspend: bool | None = None
    """Does nothing while true."""


class Window(Model):
    """An open window of a trigger."""

    bucket: Annotated[str, Field(max_length=1024)]
    """Trigger and label values it counts for."""
    start: Time
    """When it opened."""
    count: Count = 0
    """Occurrences so far."""
    deadline: Time | None = None
    """When it closes."""


class AutomationStatus(Model):
    """What is known of an automation."""

    observed_generation: Count | None = None
    """Generation this status is of."""
    conditions: Conditions | None = None
    """Ready."""
    last_firing: Time | None = None
    """When it fired last."""
    firings: Count | None = None
    """How often it fired."""
    windows: Annotated[list[Window], Field(max_length=256)] | None = None
    """Open windows."""


class Automation(Resource):
    """An automation: a trigger and actions."""

    about: ClassVar[Kind] = Kind(
        "Automation",
        "automations",
        "auto",
        columns=(
            *READY_COLUMNS,
            Column("Suspend", ".spec.suspend", "boolean"),
            Column("Firings", ".status.firings", "integer"),
            Column("Last-Firing", ".status.lastFiring", "date"),
            AGE,
        ),
    )

    spec: AutomationSpec
    """What is wanted."""
    status: AutomationStatus | None = None
    """What is known."""
