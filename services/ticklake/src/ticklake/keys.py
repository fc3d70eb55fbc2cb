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


def quarantine_key(topic: str, partition: int, offset: int, digest: str) -> str:
    """Key of a quarantined Kafka message: a function of its position and of its bytes' SHA-256.

    The digest keeps the messages of a topic that was recreated apart from the old one's at the same offset.
    """
    return f"quarantine/topic={topic}/partition={partition}/{offset:020d}-{digest[:8]}.json"


def quarantine_row_key(run_id: str, symbol: str, position: int, part: str | None = None) -> str:
    """Key of a quarantined row, or of a part of one, that never reached Kafka: its position in its source's answer."""
    return f"quarantine/run_id={slug(run_id)}/{symbol}/{position:09d}{f'-{part}' if part else ''}.json"
