"""Each stage's user of Kafka and of the store may do what its program does, and nothing else."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from chart_objects import VALUE_SETS, Manifest, find, render
from chart_rights import StorePolicy

from stream_analytics.query_failures import RESET
from stream_analytics.settings import StreamAnalyticsSettings, StreamSettings
from ticklake import keys, maintenance, topics
from ticklake.ledger import csv_key, range_key
from ticklake.pipeline import BATCH_STAGES, Stage
from ticklake.settings import CatalogSettings
from ticklake.tables import TICK_TABLES

DAY = date(2026, 1, 30)
MOMENT = datetime(2026, 1, 30, 21, 5, 7, tzinfo=UTC)
LIVE = topics.live_names()

SOURCE = keys.source_answer_key("run-1", "AAPL")
ACTIONS = keys.raw_actions_key("run-1", DAY)
RAW = keys.raw_daily_key("AAPL", DAY, MOMENT)
PROCESSED = f"{keys.PROCESSED_DAILY}/date=2026-01-30/symbol=AAPL/00000-0.parquet"
TABLE = "tables/market/daily_bars/metadata/00001.metadata.json"
TICKS = range_key(LIVE, "0f3c2d1b-aaaa-bbbb-cccc-000000000000", 2, 17, MOMENT)
WINDOWS = f"{keys.PROCESSED_LIVE}/flow=/window_length=15m/00000-0.parquet"
TICK_FILES = tuple(
    f"{table.folder}/{'/'.join(f'{folder}=x' for _, folder in table.partitions)}/00000-0.parquet"
    for table in TICK_TABLES
)
MAINTENANCE = maintenance.KEY
CHECKPOINT_RECORD = f"{LIVE.processed_prefix}/_checkpoints/q.json"
CHECKPOINT = f"{LIVE.checkpoint_prefix}/closed/offsets/7"
QUARANTINED_ROW = f"{keys.quarantined_rows_prefix('run-1', 'AAPL')}000000003-abababab.jsonl"
QUARANTINED_BATCH = f"{keys.quarantined_messages_prefix(topics.BATCH_TOPIC, 0)}{5:020d}-abababab.jsonl"
QUARANTINED_TICK = f"{keys.quarantined_messages_prefix(topics.LIVE_TOPIC, 0)}{5:020d}-abababab.jsonl"
ON_QUARANTINED = keys.quarantine_decision_key("ab" * 8)
TRIAL = f"{topics.live_names('trial').raw_prefix}/year=2026/month=01/day=30/hour=21/x.parquet"
DECISION = keys.held_decision_key("run-1", "AAPL")
CHECK = "checks/1"
BACKUP = "backups/airflow/1.dump"
EVENTS = "spark-events/eventlog_v2_1/events_1"


def _record(program: str) -> str:
    return keys.lineage_key("run-1", program)


PROGRAMS = tuple(stage.program for stage in BATCH_STAGES)
FAILURES = tuple(keys.failure_key("run-1", program) for program in PROGRAMS)


def _results(program: str) -> tuple[str, str]:
    """What a stage leaves of a run: its record, or why it failed."""
    return _record(program), keys.failure_key("run-1", program)


RECORDS = (*(_record(program) for program in (*PROGRAMS, "run")), *FAILURES)
KEYS = (
    SOURCE,
    RAW,
    ACTIONS,
    TABLE,
    PROCESSED,
    TICKS,
    csv_key(TICKS),
    WINDOWS,
    CHECKPOINT_RECORD,
    *TICK_FILES,
    MAINTENANCE,
    CHECKPOINT,
    QUARANTINED_ROW,
    QUARANTINED_BATCH,
    QUARANTINED_TICK,
    ON_QUARANTINED,
    TRIAL,
    DECISION,
    CHECK,
    BACKUP,
    EVENTS,
    *RECORDS,
)

REALTIME = {WINDOWS, CHECKPOINT_RECORD, *TICK_FILES}
OF_TABLES = {TABLE, PROCESSED, *REALTIME}
EXPIRING = {TICKS, csv_key(TICKS), TRIAL}

READS = {
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
        QUARANTINED_TICK,
        ON_QUARANTINED,
        *RECORDS,
    },
    "held-symbol": {SOURCE, DECISION, *RECORDS},
    "load-live": {TABLE, *REALTIME},
    "stream-ticks": {TABLE, PROCESSED},
    "archive-ticks": {TICKS, csv_key(TICKS)},
    "stream-analytics": {*REALTIME, CHECKPOINT, TABLE, EVENTS},
    "rebuild-windows": {TICKS, csv_key(TICKS), *REALTIME, TABLE, EVENTS},
    "tick-bars": {TICKS, csv_key(TICKS), TABLE, *TICK_FILES},
    "apply-retention": EXPIRING,
    "maintain-tables": OF_TABLES,
    "batch-exporter": {DECISION, TABLE, MAINTENANCE, *RECORDS},
    "dashboard": {
        DECISION,
        TABLE,
        PROCESSED,
        *REALTIME,
        QUARANTINED_ROW,
        QUARANTINED_BATCH,
        QUARANTINED_TICK,
        ON_QUARANTINED,
        *RECORDS,
    },
    "check-platform": {CHECK},
    "airflow-backup": {BACKUP},
    "spark-history": {EVENTS},
}
WRITES = {
    "fetch-historical": {SOURCE, QUARANTINED_ROW, *_results("fetch-historical")},
    "consume-historical": {RAW, ACTIONS, QUARANTINED_BATCH, *_results("consume-historical")},
    "validate-raw": {TABLE, *_results("validate-raw")},
    "daily-analytics": {TABLE, PROCESSED, EVENTS, *_results("daily-analytics")},
    "load-warehouse": {*_results("load-warehouse")},
    "validate-loaded": {*_results("validate-loaded")},
    "reconcile-run": {*_results("reconcile-run"), _record("run")},
    "held-symbol": {DECISION},
    "load-live": set(),
    "stream-ticks": set(),
    "archive-ticks": {TICKS, csv_key(TICKS), QUARANTINED_TICK},
    "stream-analytics": {*REALTIME, CHECKPOINT, TABLE, EVENTS},
    "rebuild-windows": {*REALTIME, TABLE, EVENTS},
    "tick-bars": {TABLE, *TICK_FILES},
    "apply-retention": set(),
    "maintain-tables": {*OF_TABLES, MAINTENANCE},
    "batch-exporter": set(),
    "dashboard": set(),
    "check-platform": {CHECK},
    "airflow-backup": {BACKUP},
    "spark-history": set(),
}
REMOVES = {
    # Of a table nothing but versions of its metadata, the oldest of which a writer removes.
    "validate-raw": {TABLE},
    "daily-analytics": {PROCESSED, EVENTS, TABLE},
    "stream-analytics": {CHECKPOINT, EVENTS, TABLE},
    "rebuild-windows": {EVENTS, TABLE},
    "tick-bars": {TABLE},
    "apply-retention": EXPIRING,
    "maintain-tables": OF_TABLES,
    "check-platform": {CHECK},
    "spark-history": {EVENTS},
}


@pytest.fixture
def policies(rendered: Callable[[str], list[Manifest]]) -> dict[str, StorePolicy]:
    """The policies in production, where every part is on."""
    data = find(rendered("production"), "ConfigMap", "ticklake-store-policies")["data"]
    return {
        key.removesuffix(".json"): StorePolicy(text, keys.BUCKET) for key, text in data.items() if key != "bucket.json"
    }


def test_every_user_of_the_store_is_looked_at(policies: dict[str, StorePolicy]) -> None:
    assert set(policies) == set(READS) == set(WRITES)


@pytest.mark.parametrize(
    ("action", "wanted"),
    [("GetObject", READS), ("PutObject", WRITES), ("DeleteObject", REMOVES)],
    ids=lambda x: str(x)[:12],
)
def test_rights_in_the_store(policies: dict[str, StorePolicy], action: str, wanted: dict[str, set[str]]) -> None:
    found = {user: {key for key in KEYS if policy.may(action, key)} for user, policy in policies.items()}
    assert found == {user: wanted.get(user, set()) for user in policies}


def test_what_can_be_read_can_be_listed(policies: dict[str, StorePolicy]) -> None:
    # Without the right to list, a key that is not there is "forbidden" on Amazon S3, not "absent".
    for user, readable in READS.items():
        for key in readable:
            assert policies[user].may_list(f"{key.rpartition('/')[0]}/"), (user, key)
    assert not policies["fetch-historical"].may_list("processed/historical/")
    assert not any(policy.may_list("") for policy in policies.values())


@pytest.mark.parametrize("stage", BATCH_STAGES, ids=lambda stage: stage.program)
def test_a_stage_reaches_what_it_says_to_read_and_write(policies: dict[str, StorePolicy], stage: Stage) -> None:
    prefixes = {"objects": "{}/x.csv", "table": "tables/market/{}/metadata/x.json"}
    for action, places in (("GetObject", stage.reads), ("PutObject", stage.writes)):
        for place in places:
            if place.kind in prefixes:
                assert policies[stage.program].may(action, prefixes[place.kind].format(place.name))
    for before in stage.upstream:
        assert policies[stage.program].may("GetObject", _record(before.program))
    for program in PROGRAMS:
        for key in _results(program):
            assert policies[stage.program].may("PutObject", key) == (program == stage.program)


@pytest.mark.parametrize(
    ("user", "folder"),
    [
        ("daily-analytics", keys.PROCESSED_DAILY),
        ("daily-analytics", "tables"),
        ("stream-analytics", "tables"),
        ("rebuild-windows", LIVE.raw_prefix),
        ("rebuild-windows", keys.PROCESSED_LIVE),
        ("rebuild-windows", "tables"),
        ("stream-analytics", LIVE.checkpoint_prefix),
        ("stream-analytics", keys.PROCESSED_LIVE),
        ("daily-analytics", "spark-events"),
        ("stream-analytics", "spark-events"),
    ],
)
def test_s3a_may_look_at_the_parents_of_what_it_makes(policies: dict[str, StorePolicy], user: str, folder: str) -> None:
    """It asks of each parent folder whether it is an object, and whether something lies in it."""
    parts = folder.split("/")
    for end in range(1, len(parts) + 1):
        parent = "/".join(parts[:end])
        assert policies[user].may("GetObject", parent)
        assert policies[user].may_list(f"{parent}/")
    assert not policies[user].may("GetObject", "quarantine")


def test_new_checkpoints_lie_where_their_stage_may_write(helm: Path) -> None:
    """By the command that stream-analytics gives where its checkpoints are of another topic."""
    option = next(word for word in RESET.split() if word.startswith("stages.")).rstrip(")")
    objects = render(helm, *VALUE_SETS["default"], "--set", option)
    driver = find(objects, "SparkApplication", "ticklake-stream-analytics")["spec"]["driver"]["template"]["spec"]
    variables = {each["name"]: each.get("value") for each in driver["containers"][0]["env"]}
    stream = StreamSettings(checkpoint=variables["TICKLAKE_WINDOWS_CHECKPOINT"])
    settings = StreamAnalyticsSettings(stream=stream, catalog=CatalogSettings(uri="sqlite:////data/catalog.db"))
    policies = find(objects, "ConfigMap", "ticklake-store-policies")["data"]
    policy = StorePolicy(policies["stream-analytics.json"], keys.BUCKET)
    for query in settings.queries:
        key = settings.checkpoint(query).removeprefix(f"s3a://{keys.BUCKET}/")
        assert "/reset-1/" in key
        for action in ("GetObject", "PutObject", "DeleteObject"):
            assert policy.may(action, f"{key}/metadata")
        assert policy.may_list(f"{key}/")


TOPIC_RIGHTS = {
    "fetch-historical": {("write", topics.BATCH_TOPIC), ("write", topics.QUARANTINE_TOPIC)},
    "consume-historical": {
        ("read", topics.BATCH_TOPIC),
        ("group", topics.BATCH_GROUP),
        ("write", topics.QUARANTINE_TOPIC),
    },
    "stream-ticks": {("write", topics.LIVE_TOPIC)},
    "archive-ticks": {("read", topics.LIVE_TOPIC), ("group", topics.ARCHIVE_GROUP), ("write", topics.QUARANTINE_TOPIC)},
    # Spark assigns partitions itself and so joins no group.
    "stream-analytics": {("read", topics.LIVE_TOPIC), ("write", topics.ANALYTICS_TOPIC)},
    "dashboard": {
        ("read", LIVE.topic),
        ("read", LIVE.analytics_topic),
        ("read", LIVE.alerts_topic),
        ("read", LIVE.alerts_state_topic),
        ("look at topic", topics.BATCH_TOPIC),
        ("look at group", topics.BATCH_GROUP),
        ("look at group", LIVE.archive_group),
        ("look at group", LIVE.alerts_group),
    },
    "market-alerts": {
        ("read", LIVE.topic),
        ("group", LIVE.alerts_group),
        ("read", LIVE.alerts_topic),
        ("write", LIVE.alerts_topic),
        *(("group", LIVE.delivery_group(target)) for target in ("email", "slack", "webhook")),
        ("read", LIVE.alerts_state_topic),
        ("write", LIVE.alerts_state_topic),
    },
    "check-platform": {("read", topics.CHECK_TOPIC), ("write", topics.CHECK_TOPIC)},
}


@pytest.mark.parametrize("name", ["default", "kind", "production"])
def test_rights_in_kafka(rendered: Callable[[str], list[Manifest]], name: str) -> None:
    users = [each for each in rendered(name) if each["kind"] == "KafkaUser"]
    found = {}
    for user in users:
        assert user["spec"]["authentication"] == {"type": "scram-sha-512"}
        assert user["spec"]["authorization"]["type"] == "simple"
        acls = user["spec"]["authorization"]["acls"]
        assert all("Describe" in acl["operations"] for acl in acls)
        assert all(acl["resource"]["patternType"] == "literal" for acl in acls)
        found[user["metadata"]["name"].removeprefix("ticklake-")] = {
            ("group" if acl["resource"]["type"] == "group" else operation.lower(), acl["resource"]["name"])
            for acl in acls
            for operation in acl["operations"]
            if operation != "Describe"
        } | {
            (f"look at {acl['resource']['type']}", acl["resource"]["name"])
            for acl in acls
            if acl["operations"] == ["Describe"]
        }
    assert found == TOPIC_RIGHTS


def test_rights_of_airflow(rendered: Callable[[str], list[Manifest]]) -> None:
    """Pods and SparkApplications in its namespace, and nothing else."""
    objects = rendered("production")
    role = find(objects, "Role", "ticklake-airflow")
    made = {(resource, verb) for rule in role["rules"] for resource in rule["resources"] for verb in rule["verbs"]}
    assert {resource for resource, verb in made if verb == "create"} == {"pods", "pods/exec", "sparkapplications"}
    assert {resource for resource, verb in made if verb == "delete"} == {"pods", "sparkapplications"}
    assert not {resource for resource, _ in made} & {"secrets", "configmaps", "serviceaccounts", "roles", "*"}
    assert not {verb for _, verb in made} & {"*", "deletecollection", "update"}
    bound = find(objects, "RoleBinding", "ticklake-airflow")["subjects"]
    assert [each["name"] for each in bound] == ["airflow-scheduler"]
    assert not [each["kind"] for each in objects if each["kind"] in ("ClusterRole", "ClusterRoleBinding")]
