"""Names of topics, groups, keys and tables: each is written here and nowhere else."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime

BUCKET = "stock-market-data"

BATCH_TOPIC = "stock_market_batch"
BATCH_GROUP = "stock-market-batch-consumer-group"
LIVE_TOPIC = "stock-market-realtime"
ARCHIVE_GROUP = "stock-market-archive-group"
ANALYTICS_TOPIC = "stock-market-analytics"
ALERTS_TOPIC = "stock-market-alerts"
ALERTS_STATE_TOPIC = "stock-market-alerts-state"
"""What the rules have seen, per symbol, and the rules themselves."""
ALERTS_GROUP = "stock-market-alerts-group"
QUARANTINE_TOPIC = "stock-market-quarantine"
CHECK_TOPIC = "ticklake-check"
"""Of the check that Kafka can be used at all."""

BATCH_SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC", "JPM", "V")
LIVE_SYMBOLS = BATCH_SYMBOLS[:8]

CATALOG = "ticklake"
"""Of the lake's tables, in PyIceberg as in Spark; a SQL catalog's rows carry it."""

PROCESSED_DAILY = "processed/historical"
"""Prefix of the data files of the table of daily analytics."""
PROCESSED_LIVE = "processed/realtime"
"""Prefix of the data files of the table of closed windows."""

SCHEMA_YAHOO = "MARKET"
SCHEMA_OTHER = "MARKET_TEST"
"""Rows that are not from Yahoo go to a schema of their own, so that nothing simulated mixes with the real."""
BARS_TABLE = "DAILY_BARS"
ACTIONS_TABLE = "CORPORATE_ACTIONS"
DAILY_TABLE = "DAILY_ANALYTICS"
ADJUSTED_PRICES_VIEW = "ADJUSTED_PRICES"
WINDOWS_TABLE = "WINDOW_ANALYTICS"
LIVE_BARS_TABLE = "BARS"
AUDIT_TABLE = "LOAD_AUDIT"

HELD_DECISIONS = "held/"
"""Prefix of what people decided on held symbols."""
MAX_RUN_ID = 250
"""Characters of a run's id."""

_SLUG_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def slug(text: str) -> str:
    """`text` as one safe part of a key, a file name or a table name.

    Text that is safe already stays as it is; otherwise the unsafe characters become `-` and eight hex digits of the
    original's SHA-256 follow, so that two different texts never share a slug.
    """
    safe = _SLUG_UNSAFE.sub("-", text).strip("-.")
    if safe == text and safe:
        return safe
    return f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:8]}".lstrip("-")


def partition_day(prefix: str, day: date) -> str:
    """`prefix/year=YYYY/month=MM/day=DD`."""
    return f"{prefix}/year={day:%Y}/month={day:%m}/day={day:%d}"


def raw_daily_key(symbol: str, batch_date: date, fetched_at: datetime) -> str:
    """Key of one symbol's raw CSV; its time of day is that of the fetch in UTC, hence the same on every retry."""
    return f"{partition_day('raw/historical', batch_date)}/{symbol}_{fetched_at.astimezone(UTC):%H%M%S}.csv"


def raw_actions_key(run_id: str, batch_date: date) -> str:
    """Key of the CSV with the splits and dividends of a whole batch."""
    return f"{partition_day('raw/corporate_actions', batch_date)}/{slug(run_id)}.csv"


def source_answer_key(run_id: str, symbol: str) -> str:
    """Key of the answer that a run got from its source for one symbol."""
    return f"raw/source/run_id={slug(run_id)}/{symbol}.parquet"


def held_decision_key(run_id: str, symbol: str) -> str:
    """Key of what a person decided on the answer that a run holds for one symbol."""
    return f"{HELD_DECISIONS}run_id={slug(run_id)}/{symbol}.json"


def release_run_id(run_id: str, symbol: str) -> str:
    """Id of the run that sends the answer that run `run_id` holds for `symbol`: the same, whoever starts it."""
    named = f"{run_id}.release-{symbol}"
    if len(named) <= MAX_RUN_ID:
        return named
    return f"{run_id[:200]}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}.release-{symbol}"


def lineage_prefix(run_id: str) -> str:
    """Folder of a run's result records."""
    return f"lineage/run_id={slug(run_id)}"


def lineage_key(run_id: str, stage: str) -> str:
    """Key of one stage's result record."""
    return f"{lineage_prefix(run_id)}/{stage}.json"


def failure_key(run_id: str, stage: str) -> str:
    """Key of what is kept of one stage's latest failure."""
    return f"{lineage_prefix(run_id)}/failures/{stage}.json"


def quarantine_key(topic: str, partition: int, offset: int, digest: str) -> str:
    """Key of a quarantined Kafka message: a function of where it stood and of its bytes' SHA-256.

    The digest keeps the messages of a topic that was made anew apart from the old one's at the same offset.
    """
    return f"quarantine/topic={topic}/partition={partition}/{offset:020d}-{digest[:8]}.json"


def quarantine_row_key(run_id: str, symbol: str, position: int, part: str | None = None) -> str:
    """Key of a quarantined row, or of a part of one, that never reached Kafka: its position in its source's answer."""
    return f"quarantine/run_id={slug(run_id)}/{symbol}/{position:09d}{f'-{part}' if part else ''}.json"


@dataclass(frozen=True)
class LiveNames:
    """Topics, prefixes and groups of one live flow.

    The real flow has the plain names. A flow whose event time runs faster than the clock has a namespace, and with it
    names of its own, so that it cannot move the watermark of the real one nor mix with its objects.
    """

    topic: str
    analytics_topic: str
    archive_group: str
    raw_prefix: str
    processed_prefix: str
    checkpoint_prefix: str
    alerts_topic: str
    alerts_state_topic: str
    alerts_group: str

    def delivery_group(self, target: str) -> str:
        """Group whose offsets say how far alerts were delivered to `target`."""
        base, dot, space = self.alerts_group.partition(".")
        return f"{base.removesuffix('-group')}-delivery-{target}{dot}{space}"


def live_names(namespace: str = "") -> LiveNames:
    """Names of the live flow called `namespace`; the empty one is the real flow."""
    if not namespace:
        return LiveNames(
            LIVE_TOPIC, ANALYTICS_TOPIC, ARCHIVE_GROUP, "raw/realtime", "processed/realtime", "checkpoints/realtime",
            ALERTS_TOPIC, ALERTS_STATE_TOPIC, ALERTS_GROUP,
        )  # fmt: skip
    space = slug(namespace)
    return LiveNames(
        topic=f"{LIVE_TOPIC}.{space}",
        analytics_topic=f"{ANALYTICS_TOPIC}.{space}",
        archive_group=f"{ARCHIVE_GROUP}.{space}",
        raw_prefix=f"accelerated/{space}/raw/realtime",
        processed_prefix=f"accelerated/{space}/processed/realtime",
        checkpoint_prefix=f"accelerated/{space}/checkpoints/realtime",
        alerts_topic=f"{ALERTS_TOPIC}.{space}",
        alerts_state_topic=f"{ALERTS_STATE_TOPIC}.{space}",
        alerts_group=f"{ALERTS_GROUP}.{space}",
    )


@dataclass(frozen=True)
class TopicSpec:
    """A topic as the platform needs it."""

    name: str
    partitions: int
    config: dict[str, str]


_TEN_MINUTES_MS = 10 * 60 * 1000
_DAY_MS = 24 * 60 * 60 * 1000


def batch_topics() -> tuple[TopicSpec, ...]:
    """Topics of the batch flow and the one for what fails validation."""
    return (
        TopicSpec(BATCH_TOPIC, 3, {"retention.ms": str(7 * _DAY_MS)}),
        TopicSpec(QUARANTINE_TOPIC, 1, {"retention.ms": str(30 * _DAY_MS)}),
    )


def check_topics() -> tuple[TopicSpec, ...]:
    """The topic of the check that Kafka can be used."""
    return (TopicSpec(CHECK_TOPIC, 1, {"retention.ms": str(_DAY_MS // 24)}),)


def live_topics(names: LiveNames) -> tuple[TopicSpec, ...]:
    """Topics of one live flow; ticks carry the broker's append time, by which the archive files them."""
    return (
        TopicSpec(names.topic, 4, {"retention.ms": str(7 * _DAY_MS), "message.timestamp.type": "LogAppendTime"}),
        TopicSpec(names.analytics_topic, 4, {"retention.ms": str(_DAY_MS), "cleanup.policy": "compact,delete"}),
        TopicSpec(names.alerts_topic, 1, {"retention.ms": str(7 * _DAY_MS)}),
        # One partition for states, one for the rules. Each symbol's state is written again and again: small segments
        # keep short what a start reads. The lag keeps what a writer that stood still may have overwritten.
        TopicSpec(
            names.alerts_state_topic, 2,
            {
                "cleanup.policy": "compact", "segment.ms": str(_TEN_MINUTES_MS),
                "min.compaction.lag.ms": str(_TEN_MINUTES_MS), "min.cleanable.dirty.ratio": "0.1",
            },
        ),
    )  # fmt: skip
