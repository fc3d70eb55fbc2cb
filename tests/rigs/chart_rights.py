"""What each user of the chart may do in the store and in Kafka; and S3 policies, evaluated as the store does."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import fnmatchcase
from typing import Any

from ticklake import keys, maintenance, topics
from ticklake.ledger import csv_key, range_key
from ticklake.pipeline import BATCH_STAGES
from ticklake.tables import TICK_TABLES
from ticklake.topics import LiveNames

PROGRAMS = tuple(stage.program for stage in BATCH_STAGES)
"""The programs of the batch."""


def record(program: str) -> str:
    """Key of the record that a program leaves of a run."""
    return keys.lineage_key("run-1", program)


def results(program: str) -> tuple[str, str]:
    """What a stage leaves of a run: its record, or why it failed."""
    return record(program), keys.failure_key("run-1", program)


_DAY = date(2026, 1, 30)
_MOMENT = datetime(2026, 1, 30, 21, 5, 7, tzinfo=UTC)

SOURCE = keys.source_answer_key("run-1", "AAPL")
ACTIONS = keys.raw_actions_key("run-1", _DAY)
RAW = keys.raw_daily_key("AAPL", _DAY, _MOMENT)
PROCESSED = f"{keys.PROCESSED_DAILY}/date=2026-01-30/symbol=AAPL/00000-0.parquet"
TABLE = "tables/market/daily_bars/metadata/00001.metadata.json"
WINDOWS = f"{keys.PROCESSED_LIVE}/flow=/window_length=15m/00000-0.parquet"
TICK_FILES = tuple(
    f"{table.folder}/{'/'.join(f'{folder}=x' for _, folder in table.partitions)}/00000-0.parquet"
    for table in TICK_TABLES
)
MAINTENANCE = maintenance.KEY
QUARANTINED_ROW = f"{keys.quarantined_rows_prefix('run-1', 'AAPL')}000000003-abababab.jsonl"
QUARANTINED_BATCH = f"{keys.quarantined_messages_prefix(topics.BATCH_TOPIC, 0)}{5:020d}-abababab.jsonl"
ON_QUARANTINED = keys.quarantine_decision_key("ab" * 8)
DECISION = keys.held_decision_key("run-1", "AAPL")
CHECK = "checks/1"
BACKUP = "backups/airflow/1.dump"
EVENTS = "spark-events/eventlog_v2_1/events_1"
FAILURES = tuple(keys.failure_key("run-1", program) for program in PROGRAMS)
RECORDS = (*(record(program) for program in (*PROGRAMS, "run")), *FAILURES)


def _ticks(live: LiveNames) -> tuple[str, str]:
    found = range_key(live, "0f3c2d1b-aaaa-bbbb-cccc-000000000000", 2, 17, _MOMENT)
    return found, csv_key(found)


@dataclass(frozen=True)
class StoreRights:
    """What the users may do with objects of every kind that lies in the store."""

    keys: tuple[str, ...]
    reads: dict[str, set[str]]
    """By user, the keys that it may read. Their folders are what it may list."""
    writes: dict[str, set[str]]
    removes: dict[str, set[str]]

    def folders(self, user: str) -> set[str]:
        """The folders that the user may list."""
        return {folder(key) for key in self.reads[user]}


def folder(key: str) -> str:
    """The prefix of the objects that lie beside `key`."""
    return f"{key.rpartition('/')[0]}/"


def store_rights(live: LiveNames) -> StoreRights:
    """The rights of every user where all parts of the chart are on and `live` is its live flow."""
    ticks = _ticks(live)
    others = tuple(_ticks(flow)[0] for flow in map(topics.live_names, ("", "rehearsal")) if flow != live)
    checkpoint_record = f"{live.processed_prefix}/_checkpoints/q.json"
    checkpoint = f"{live.checkpoint_prefix}/closed/offsets/7"
    quarantined_tick = f"{keys.quarantined_messages_prefix(live.topic, 0)}{5:020d}-abababab.jsonl"
    realtime, expiring = {WINDOWS, *TICK_FILES}, {*ticks, *others}
    if live == topics.live_names():
        realtime.add(checkpoint_record)
    else:  # a flow with a namespace lies in a folder of its own, which is removed as a whole
        expiring |= {checkpoint_record, checkpoint}
    of_tables = {TABLE, PROCESSED, *realtime}
    reads = {
        "fetch-historical": {SOURCE, DECISION, TABLE, *FAILURES},
        "consume-historical": {RAW, ACTIONS, *RECORDS},
        "validate-raw": {RAW, ACTIONS, DECISION, TABLE, *RECORDS},
        "daily-analytics": {TABLE, PROCESSED, EVENTS, *RECORDS},
        "load-warehouse": {TABLE, PROCESSED, *RECORDS},
        "validate-loaded": {*RECORDS},
        "reconcile-run": {
            SOURCE,
            RAW,
            TABLE,
            PROCESSED,
            QUARANTINED_ROW,
            QUARANTINED_BATCH,
            quarantined_tick,
            ON_QUARANTINED,
            *RECORDS,
        },
        "held-symbol": {SOURCE, DECISION, *RECORDS},
        "load-live": {TABLE, *realtime},
        "stream-ticks": {TABLE, PROCESSED},
        "archive-ticks": {*ticks},
        "stream-analytics": {*realtime, checkpoint, checkpoint_record, TABLE, EVENTS},
        "rebuild-windows": {*ticks, *realtime, TABLE, EVENTS},
        "tick-bars": {*ticks, TABLE, *TICK_FILES},
        "apply-retention": expiring,
        "maintain-tables": of_tables,
        "batch-exporter": {DECISION, TABLE, MAINTENANCE, *RECORDS},
        "dashboard": {
            DECISION,
            TABLE,
            PROCESSED,
            *realtime,
            QUARANTINED_ROW,
            QUARANTINED_BATCH,
            quarantined_tick,
            ON_QUARANTINED,
            *RECORDS,
        },
        "check-platform": {CHECK},
        "airflow-backup": {BACKUP},
        "spark-history": {EVENTS},
    }
    writes = {
        "fetch-historical": {SOURCE, QUARANTINED_ROW, *results("fetch-historical")},
        "consume-historical": {RAW, ACTIONS, QUARANTINED_BATCH, *results("consume-historical")},
        "validate-raw": {TABLE, *results("validate-raw")},
        "daily-analytics": {TABLE, PROCESSED, EVENTS, *results("daily-analytics")},
        "load-warehouse": {*results("load-warehouse")},
        "validate-loaded": {*results("validate-loaded")},
        "reconcile-run": {*results("reconcile-run"), record("run")},
        "held-symbol": {DECISION},
        "load-live": set(),
        "stream-ticks": set(),
        "archive-ticks": {*ticks, quarantined_tick},
        "stream-analytics": {*realtime, checkpoint, checkpoint_record, TABLE, EVENTS},
        "rebuild-windows": {*realtime, TABLE, EVENTS},
        "tick-bars": {TABLE, *TICK_FILES},
        "apply-retention": set(),
        "maintain-tables": {*of_tables, MAINTENANCE},
        "batch-exporter": set(),
        "dashboard": set(),
        "check-platform": {CHECK},
        "airflow-backup": {BACKUP},
        "spark-history": set(),
    }
    removes = {
        # Of a table nothing but versions of its metadata, the oldest of which a writer removes.
        "validate-raw": {TABLE},
        "daily-analytics": {PROCESSED, EVENTS, TABLE},
        "stream-analytics": {checkpoint, EVENTS, TABLE},
        "rebuild-windows": {EVENTS, TABLE},
        "tick-bars": {TABLE},
        "apply-retention": expiring,
        "maintain-tables": of_tables,
        "check-platform": {CHECK},
        "spark-history": {EVENTS},
    }
    everything = (
        SOURCE,
        RAW,
        ACTIONS,
        TABLE,
        PROCESSED,
        *ticks,
        WINDOWS,
        checkpoint_record,
        *TICK_FILES,
        MAINTENANCE,
        checkpoint,
        QUARANTINED_ROW,
        QUARANTINED_BATCH,
        quarantined_tick,
        ON_QUARANTINED,
        *others,
        DECISION,
        CHECK,
        BACKUP,
        EVENTS,
        *RECORDS,
    )
    return StoreRights(everything, reads, writes, {user: removes.get(user, set()) for user in reads})


def kafka_rights(live: LiveNames) -> dict[str, set[tuple[str, str]]]:
    """By user, what it may do with which topic or group, where `live` is the live flow."""
    return {
        "fetch-historical": {("write", topics.BATCH_TOPIC), ("write", topics.QUARANTINE_TOPIC)},
        "consume-historical": {
            ("read", topics.BATCH_TOPIC),
            ("group", topics.BATCH_GROUP),
            ("write", topics.QUARANTINE_TOPIC),
        },
        "stream-ticks": {("write", live.topic)},
        "archive-ticks": {("read", live.topic), ("group", live.archive_group), ("write", topics.QUARANTINE_TOPIC)},
        # Spark assigns partitions itself and so joins no group.
        "stream-analytics": {("read", live.topic), ("write", live.analytics_topic)},
        "dashboard": {
            ("read", live.topic),
            ("read", live.analytics_topic),
            ("read", live.alerts_topic),
            ("read", live.alerts_state_topic),
            ("look at topic", topics.BATCH_TOPIC),
            ("look at group", topics.BATCH_GROUP),
            ("look at group", live.archive_group),
            ("look at group", live.alerts_group),
        },
        "market-alerts": {
            ("read", live.topic),
            ("group", live.alerts_group),
            ("read", live.alerts_topic),
            ("write", live.alerts_topic),
            *(("group", live.delivery_group(target)) for target in ("email", "slack", "webhook")),
            ("read", live.alerts_state_topic),
            ("write", live.alerts_state_topic),
        },
        "check-platform": {("read", topics.CHECK_TOPIC), ("write", topics.CHECK_TOPIC)},
    }


class StorePolicy:
    """The policy of one user."""

    def __init__(self, text: str, bucket: str) -> None:
        self._statements: list[dict[str, Any]] = json.loads(text)["Statement"]
        self._arn = f"arn:aws:s3:::{bucket}"

    def may(self, action: str, key: str) -> bool:
        """Whether an object may be read (`GetObject`), written (`PutObject`) or removed (`DeleteObject`)."""
        return self._allowed(f"s3:{action}", f"{self._arn}/{key}", {})

    def may_list(self, prefix: str) -> bool:
        """Whether what lies below a prefix may be listed."""
        return self._allowed("s3:ListBucket", self._arn, {"s3:prefix": prefix})

    def _allowed(self, action: str, resource: str, context: dict[str, str]) -> bool:
        for each in self._statements:
            assert each["Effect"] == "Allow"
            if not any(fnmatchcase(action, pattern) for pattern in each["Action"]):
                continue
            if not any(fnmatchcase(resource, pattern) for pattern in each["Resource"]):
                continue
            wanted = each.get("Condition", {}).get("StringLike", {})
            if all(
                any(fnmatchcase(context.get(key, ""), pattern) for pattern in patterns)
                for key, patterns in wanted.items()
            ):
                return True
        return False
