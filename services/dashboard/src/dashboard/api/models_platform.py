"""What the platform side of the API answers: runs, quarantine, lag, alerts."""

from datetime import date
from typing import Any, Literal

from pydantic import ConfigDict, Field

from dashboard.api.models import Model, Quote, Status, Window
from ticklake.records import UtcMs


class Failure(Model):
    """The latest try of a stage that failed."""

    stage: str
    kind: str = Field(description="The error's class", examples=["IntegrityError"])
    reason: str = Field(description="The line that the stage ended with")
    exit_code: int = Field(description="1: a retry may help; 2: it will not, a setting or the input is wrong")
    times: int | None = Field(
        description="How often the stage has failed in this run, this time included and kills left out; null: not known"
    )
    started_at: UtcMs
    failed_at: UtcMs
    recovered_at: UtcMs | None = Field(description="End of the later try that went well; null where there is none")
    code_version: str


class RunItem(Model):
    """One pipeline run in short."""

    run_id: str
    batch_date: date
    source: str | None = Field(description="Null where no stage is done")
    state: Literal["succeeded", "failed", "incomplete"] = Field(
        description="`succeeded`: every stage is done and the run reconciled; `failed`: a stage's latest try or a "
        "check failed, or the places disagree; `incomplete`: under way, or killed"
    )
    started_at: UtcMs
    finished_at: UtcMs = Field(description="End of the last stage that ended, well or not")
    seconds: float = Field(description="From the first known start of a stage to the last end")
    rows_in: int | None = Field(description="Rows that the source gave; null where no stage is done")
    rows_out: int | None = Field(description="Rows that left the last stage that is done; null where none is")
    quarantined: int
    stages_done: int
    stages_total: int
    reconciled: bool | None = Field(description="Whether all places hold the same rows; null before that was checked")
    failures: list[Failure] = Field(description="In the order of the stages; those that a retry recovered stay")


class Runs(Model):
    """Runs, newest first."""

    items: list[RunItem]
    next_cursor: str | None


class Check(Model):
    """One data-quality check: passed where `observed` is not above `limit`."""

    name: str
    observed: float
    limit: float
    unit: str
    detail: str
    passed: bool


class StageItem(Model):
    """One stage of a run."""

    stage: str
    started_at: UtcMs
    finished_at: UtcMs
    seconds: float
    rows_in: int
    rows_out: int
    quarantined: int
    notes: list[str]
    checks: list[Check]
    timings: dict[str, float] = Field(description="Seconds per step")
    code_version: str
    objects: int = Field(description="Objects written")
    bytes: int = Field(description="Their size together")


class RunSymbol(Model):
    """One symbol in a run."""

    symbol: str
    status: str
    rows: int
    quarantined: int
    missing_sessions: int
    new: int | None = Field(description="Rows of sessions not known before; null before that was checked")
    unchanged: int | None = Field(description="Rows equal to what was known, but for noise")
    revised: int | None = Field(description="Rows with another value than was known")
    facts: int | None = Field(description="Sessions known, of any batch; null before the run was reconciled")
    analytics: int | None = Field(description="Rows of the table of analytics, of any batch")
    warehouse: int | None = Field(description="Rows in the warehouse, of any batch")


class LineageNode(Model):
    """A place that rows were in, or a stage that they went through."""

    id: str
    kind: Literal["source", "topic", "object_group", "table", "stage"]
    label: str
    detail: str


class LineageEdge(Model):
    """Rows that went from one node to another."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    from_: str = Field(alias="from")
    to: str
    rows: int


class LineageGraph(Model):
    """What came from where."""

    nodes: list[LineageNode]
    edges: list[LineageEdge]


class RunDetail(RunItem):
    """One run in full."""

    disagreements: list[str] = Field(description="Of the reconciliation, a line each")
    stages: list[StageItem]
    symbols: list[RunSymbol]
    lineage: LineageGraph


class QuarantineItem(Model):
    """What failed validation."""

    id: str = Field(description="Follows from origin and bytes; what `ticklake quarantine` takes")
    object: str = Field(description="Object in the lake that has it, among others")
    at: UtcMs = Field(description="When the record came in, else when it was put aside")
    where: str = Field(description="Topic, partition and offset, or run, symbol and position")
    stage: str
    reason: str
    symbol: str | None = Field(description="That of a row, or the key of a message where that is text")
    topic: str | None
    run_id: str | None
    replay_of: str | None = Field(description="Id of the quarantined message that it is a replay of")
    excerpt: str = Field(description="Beginning of the original, as text")
    decision: str | None = Field(description="Who decided what, and what came of it")


class Quarantine(Model):
    """Quarantined messages and rows, newest first."""

    items: list[QuarantineItem]
    next_cursor: str | None
    whole: bool = Field(description="Whether all there is was searched, not only the newest 32 MB of objects")


class QuarantineDetail(QuarantineItem):
    """A quarantined message or row in full."""

    bytes: int = Field(description="Size of the original")
    message_key: str | None = Field(description="Key of the message, as text")
    text: str = Field(description="The first 4096 bytes of the original as text, · for what cannot be printed")
    hex: str = Field(description="The same bytes in hex")
    commands: list[str] = Field(description="What can be done about it: commands, or what to do instead")


class HeldItem(Model):
    """A symbol whose rows wait for a person's decision."""

    symbol: str
    source: str
    run_id: str = Field(description="The run that holds it, the newest where several in a row do")
    batch_date: date
    since_run_id: str = Field(description="The first of them")
    since_date: date
    runs: int
    stage: str = Field(description="The stage that holds it")
    reasons: list[str]
    rows: int = Field(description="Rows that wait; 0 where the source gave no answer")
    answer: str | None = Field(description="Object in the lake with the stored answer; null where there was none")
    released: str | None = Field(description="Who released it, while its run has not recorded the rows yet")


class HeldList(Model):
    """Held symbols, by name."""

    items: list[HeldItem]


class LagItem(Model):
    """How far a consumer group is behind in one partition."""

    group: str
    topic: str
    partition: int
    state: Literal["committed", "never", "unknown"] = Field(
        description="`never`: the group has committed no offset here; `unknown`: its coordinator does not answer now"
    )
    position: int | None = Field(description="Committed offset; null where none is or it is not known")
    end: int = Field(description="Offset of the message to come")
    lag: int | None


class Lag(Model):
    """Consumer lag."""

    items: list[LagItem]


class PlatformAlert(Model):
    """An alert about the platform itself."""

    name: str
    severity: str = Field(description="critical, warning or info")
    state: str = Field(description="active, or suppressed where it was silenced or inhibited")
    summary: str
    description: str
    runbook: str | None = Field(description="Where the remedy is described")
    since: UtcMs
    labels: dict[str, str]


class PlatformAlerts(Model):
    """What is wrong with the platform, worst and newest first."""

    configured: bool = Field(description="Whether there is an Alertmanager, or check-rules, to ask")
    items: list[PlatformAlert]


class Alerts(Model):
    """Market alerts, newest first."""

    items: list[dict[str, Any]] = Field(description="As market-alerts puts them on its topic")


class AlertRules(Model):
    """The rules that market-alerts evaluates."""

    configured: bool = Field(description="Whether market-alerts has published any")
    items: list[dict[str, Any]] = Field(
        description="As its rules file has them, with `label` (the kind) and `sentence` (when it raises)"
    )


class Hello(Model):
    """The event `hello`: the whole state."""

    quotes: list[Quote]
    windows: list[Window] = Field(description="Of each symbol and length the running window that closes next")
    alerts: list[dict[str, Any]] = Field(description="The newest 20, newest first")
    status: Status
