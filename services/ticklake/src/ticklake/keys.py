"""Keys of the lake's objects, and the prefixes below which tables and flows keep theirs."""

import hashlib
import re
from datetime import UTC, date, datetime

BUCKET = "stock-market-data"

RAW_DAILY = "raw/historical"
"""Prefix of the raw CSV of the batch."""
PROCESSED_DAILY = "processed/historical"
"""Prefix of the data files of the table of daily analytics."""
PROCESSED_LIVE = "processed/realtime"
"""Prefix of the data files of the table of closed windows."""

HELD_DECISIONS = "held/"
"""Prefix of what people decided on held symbols."""
QUARANTINE = "quarantine/"
"""Prefix of what failed validation, and of the decisions on it."""
QUARANTINE_DECISIONS = f"{QUARANTINE}decisions/"
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
    return f"{partition_day(RAW_DAILY, batch_date)}/{symbol}_{fetched_at.astimezone(UTC):%H%M%S}.csv"


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


def quarantined_messages_prefix(topic: str, partition: int | None = None) -> str:
    """Prefix of what was rejected of a Kafka topic, or of one partition of it."""
    return f"{QUARANTINE}topic={topic}/" + ("" if partition is None else f"partition={partition}/")


def quarantined_rows_prefix(run_id: str, symbol: str | None = None) -> str:
    """Prefix of a run's rejected rows that never reached Kafka, or of those of one symbol."""
    return f"{QUARANTINE}run_id={slug(run_id)}/" + ("" if symbol is None else f"{symbol}/")


def quarantine_decision_key(message_id: str) -> str:
    """Key of what a person decided on a quarantined message."""
    return f"{QUARANTINE_DECISIONS}{message_id}.json"


def quarantine_replayed_key(message_id: str) -> str:
    """Key of where the replay of a quarantined message went."""
    return f"{QUARANTINE_DECISIONS}{message_id}.replayed.json"
