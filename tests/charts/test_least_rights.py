"""Every stage against a real Kafka and a real MinIO server, each with the users and rights of the chart."""

import base64
import os
import signal
import subprocess
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from chart_objects import VALUE_SETS, Manifest, find, render
from chart_rights import folder, kafka_rights, store_rights
from pydantic import SecretStr
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.expressions import EqualTo
from pyiceberg.table import Table
from secured_servers import SecuredBroker
from server_answers import KafkaUser, StoreUser
from table_rows import rows_of
from waiting import ENDS_SECONDS, wait_until

from lake_maintenance.table_files import orphans
from ticklake import keys, ledger, lineage, maintenance, topics
from ticklake.catalog import LakeTables, matching
from ticklake.errors import ConfigurationError, StageError
from ticklake.kafka import ensure_topics, topic_id
from ticklake.objects import ObjectStore
from ticklake.pipeline import BATCH_STAGES
from ticklake.settings import CatalogSettings, KafkaSettings, StoreSettings
from ticklake.tables import DAILY_BARS, TICK_BARS, WINDOWS
from ticklake_local.platform import Platform
from ticklake_local.processes import free_port

MinioServer = Callable[[Path, dict[str, str]], AbstractContextManager[str]]
FLOW = "trial"
LATER = timedelta(days=1)
BATCH = ("--date", "2013-03-01", "--run-id", "rights")
ROWS = 500
"""AAPL and MSFT from 2012-03-02 to 2013-03-01: 250 sessions each, two days of a storm being none."""


@pytest.fixture(scope="module")
def objects(helm: Path) -> list[Manifest]:
    """The chart with every part, so that all its users are there."""
    return render(helm, *VALUE_SETS["production"], "--set", f"settings.liveNamespace={FLOW}")


def _secret(objects: list[Manifest], name: str) -> dict[str, str]:
    data = find(objects, "Secret", name)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


@pytest.fixture(scope="module")
def minio(
    objects: list[Manifest], minio_server: MinioServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoreSettings]:
    """The server, its administrator the one of the chart's Secret."""
    admin = _secret(objects, "ticklake-store-admin")
    lines = (line.removeprefix("export ").split("=", 1) for line in admin["config.env"].splitlines())
    with minio_server(tmp_path_factory.mktemp("minio"), dict(lines)) as endpoint:
        yield StoreSettings(
            endpoint=endpoint, access_key=SecretStr(admin["access-key"]), secret_key=SecretStr(admin["secret-key"])
        )


@pytest.fixture(scope="module")
def broker(
    local_platform: Platform, objects: list[Manifest], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredBroker]:
    """Kafka with all topics and the chart's users; a user's password is its name backwards."""
    tools, folder = local_platform.tools, tmp_path_factory.mktemp("kafka")
    found = SecuredBroker(tools.java, tools.jars["kafka"], folder / "data", folder, free_port())
    found.start()
    try:
        found.wait_ready()
        admin = KafkaSettings(bootstrap_servers=found.bootstrap_servers)
        live = topics.live_topics(topics.live_names(FLOW))
        ensure_topics(admin, [*topics.batch_topics(), *live, *topics.check_topics()])
        users = [each for each in objects if each["kind"] == "KafkaUser"]
        found.add_users(users, {each["metadata"]["name"]: each["metadata"]["name"][::-1] for each in users})
        yield found
    finally:
        found.stop()


def _kafka(broker: SecuredBroker, stage: str) -> dict[str, str]:
    user = f"ticklake-{stage}"
    return {
        "TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{broker.secured_port}",
        "TICKLAKE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "TICKLAKE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TICKLAKE_KAFKA_USERNAME": user,
        "TICKLAKE_KAFKA_PASSWORD": user[::-1],
    }


Stage = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def environment(
    local_platform: Platform,
    minio: StoreSettings,
    broker: SecuredBroker,
    objects: list[Manifest],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], dict[str, str]]:
    """What a stage's process gets: the platform's addresses, the store's, and the keys of its own user."""
    catalog = tmp_path_factory.mktemp("catalog") / "catalog.db"

    def of(stage: str) -> dict[str, str]:
        secret = _secret(objects, f"ticklake-store-{stage}")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
        return (
            kept
            | local_platform.stage_env()
            | {
                "TICKLAKE_STORE_ENDPOINT": minio.endpoint or "",
                "TICKLAKE_STORE_ACCESS_KEY": secret["access-key"],
                "TICKLAKE_STORE_SECRET_KEY": secret["secret-key"],
                "TICKLAKE_LIVE_NAMESPACE": FLOW,
                "TICKLAKE_WAREHOUSE_DATABASE": "RIGHTS",
                "TICKLAKE_METRICS_PORT": "0",
                "TICKLAKE_CATALOG_URI": f"sqlite:///{catalog}",
                "TICKLAKE_SOURCE": "replay",
                "TICKLAKE_SYMBOLS": "AAPL,MSFT",
            }
            | _kafka(broker, stage)
        )

    return of


@pytest.fixture(scope="module")
def stage(programs: Path, environment: Callable[[str], dict[str, str]]) -> Stage:
    """Runs a program as its stage."""

    def run(name: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [programs / name, *arguments],
            env=environment(name) | more,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def provisioned(
    minio: StoreSettings, objects: list[Manifest], programs: Path, tmp_path_factory: pytest.TempPathFactory
) -> StoreSettings:
    """The store after provision-store, with its files as the job's volume mounts them."""
    volumes = find(objects, "Job", "ticklake-provision-store-1")["spec"]["template"]["spec"]["volumes"]
    folder = tmp_path_factory.mktemp("wanted")
    for source in next(each for each in volumes if each["name"] == "wanted")["projected"]["sources"]:
        kind, of = next(iter(source.items()))
        name = of["name"]
        data = _secret(objects, name) if kind == "secret" else find(objects, "ConfigMap", name)["data"]
        for item in of["items"]:
            (folder / item["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / item["path"]).write_text(data[item["key"]])
    assert minio.access_key
    assert minio.secret_key
    done = subprocess.run(
        [programs / "provision-store"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ
        | {
            "TICKLAKE_PROVISION_DIR": str(folder),
            "TICKLAKE_STORE_ENDPOINT": minio.endpoint or "",
            "TICKLAKE_STORE_ACCESS_KEY": minio.access_key.get_secret_value(),
            "TICKLAKE_STORE_SECRET_KEY": minio.secret_key.get_secret_value(),
        },
    )
    assert done.returncode == 0, done.stderr
    return minio


def test_the_batch_runs_with_the_least_rights(provisioned: StoreSettings, stage: Stage) -> None:
    for each in BATCH_STAGES:
        done = stage(each.program, *BATCH)
        assert done.returncode == 0, f"{each.program}: {done.stderr[-3000:]}{done.stdout[-1000:]}"
    run = lineage.read_run(ObjectStore(provisioned), "rights")
    assert run.reconciled
    assert sum(each.warehouse for each in run.symbols.values()) == ROWS
    # A second batch reads the first one's history and replaces a date's files.
    again = stage("daily-analytics", *BATCH)
    assert again.returncode == 0, again.stderr[-3000:]


def test_a_held_symbol_is_released_with_the_least_rights(provisioned: StoreSettings, stage: Stage) -> None:
    for name, code in (("fetch-historical", 0), ("consume-historical", 0), ("validate-raw", 2)):
        done = stage(name, *BATCH[:3], "odd", TICKLAKE_QUALITY_MAX_DAILY_MOVE="0.0001")
        assert done.returncode == code, f"{name}: {done.stderr[-3000:]}"
    done = stage("held-symbol", "release", "AAPL", "--by", "kim")
    assert done.returncode == 0, done.stderr
    for name in ("fetch-historical", "consume-historical", "validate-raw"):
        done = stage(
            name,
            *BATCH[:3],
            "odd.release-AAPL",
            TICKLAKE_QUALITY_MAX_DAILY_MOVE="0.0001",
            TICKLAKE_RELEASED_FROM="odd",
            TICKLAKE_SYMBOLS="AAPL",
        )
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
    record = lineage.read(ObjectStore(provisioned), "odd.release-AAPL", "validate-raw")
    assert record.rows_out == record.symbols["AAPL"].rows == ROWS / 2


def test_the_live_flow_runs_with_the_least_rights(
    provisioned: StoreSettings,
    stage: Stage,
    programs: Path,
    broker: SecuredBroker,
    environment: Callable[[str], dict[str, str]],
) -> None:
    live, admin = topics.live_names(FLOW), KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
    flowing = {
        "TICKLAKE_STREAM_SPEED_UP": "600",
        "TICKLAKE_STREAM_DURATION_EVENT_SECONDS": "7200",
        "TICKLAKE_STREAM_START_EVENT_TIME": "2026-01-30T10:00:00Z",
    }
    done = stage("stream-ticks", **flowing)
    assert done.returncode == 0, done.stderr[-3000:]
    store = ObjectStore(provisioned)
    roll = {"TICKLAKE_ARCHIVE_ROLL_SECONDS": "1"}

    def archived() -> int:
        chains = ledger.verify_chain(store, live, topic_id(admin, live.topic))
        return sum(entry.rows for ranges in chains.values() for entry in ranges)

    archive = subprocess.Popen([programs / "archive-ticks"], env=environment("archive-ticks") | roll)
    try:
        wanted = 7200 // 2 * 8
        wait_until(lambda: archived() >= wanted, archived, alive=lambda: archive.poll() is None, pause=1)
        assert archived() == wanted
    finally:
        archive.send_signal(signal.SIGTERM)
        assert archive.wait(ENDS_SECONDS) == 0
    until = {
        "TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS": "1",
        "TICKLAKE_WINDOWS_UNTIL_SECONDS": "240",
        "TICKLAKE_WINDOWS_TRIGGER_SECONDS": "0",
    }
    made = LakeTables(CatalogSettings(uri=environment("load-live")["TICKLAKE_CATALOG_URI"]), provisioned)
    made.ensure("market_test", WINDOWS)
    one_version_before = {"write.metadata.previous-versions-max": "1"}
    made.commit("set", "market_test", WINDOWS, lambda there: _set_properties(there, one_version_before))
    for _ in range(2):  # from nothing, and from the checkpoint
        done = stage("stream-analytics", **until)
        assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
        until["TICKLAKE_WINDOWS_UNTIL_CLOSED_WINDOWS"], until["TICKLAKE_WINDOWS_UNTIL_SECONDS"] = "0", "15"
    assert list(store.list_objects(f"{keys.PROCESSED_LIVE}/flow={FLOW}/window_length=1h/"))
    metadata = [found.key for found in store.list_objects("tables/market_test/windows/metadata/")]
    assert sum(key.endswith(".metadata.json") for key in metadata) == 2
    _file_an_hour_earlier(store, live)
    for hour in map(ledger.hour_of, ledger.hours(store, live)):
        named = ("--date", f"{hour:%Y-%m-%d}", "--hour", str(hour.hour), "--run-id", "rights")
        done = stage("tick-bars", *named, TICKLAKE_BARS_MAX_SILENCE_SECONDS="0")
        assert done.returncode == 0, done.stderr[-3000:]
    done = stage("load-live", "--run-id", "rights")
    assert done.returncode == 0, done.stderr[-3000:]
    counts = made.read("market_test", TICK_BARS, matching(flow=[FLOW], bar_length=["1h"]), ("tick_count",))
    assert sum(counts["tick_count"].to_pylist()) == wanted
    done = stage("apply-retention", "--date", "2026-01-30", "--run-id", "rights", TICKLAKE_KEEP_RAW_TICKS_DAYS="90")
    assert done.returncode == 0, done.stderr[-3000:]


def _set_properties(table: Table, properties: dict[str, str]) -> None:
    with table.transaction() as transaction:
        transaction.set_properties(properties)


def _file_an_hour_earlier(store: ObjectStore, live: topics.LiveNames) -> None:
    """As if the ticks had arrived an hour before: only an hour that is over can be processed."""
    for found in list(store.list_objects(f"{live.raw_prefix}/")):
        key = ledger.RangeKey.parse(found.key)
        if key is not None and found.key.endswith(".parquet"):
            entry = ledger.read_range(store, found.key)
            assert entry is not None
            earlier = entry.first_append_time - timedelta(hours=1)
            moved = ledger.range_key(live, entry.topic_id, entry.partition, entry.first_offset, earlier)
            store.put(moved, store.get(found.key), metadata=entry.user_metadata())
        store.delete(found.key)


def test_a_stage_may_not_touch_what_is_anothers(
    provisioned: StoreSettings, objects: list[Manifest], stage: Stage
) -> None:
    secret = _secret(objects, "ticklake-store-stream-ticks")
    user = provisioned.model_copy(
        update={"access_key": SecretStr(secret["access-key"]), "secret_key": SecretStr(secret["secret-key"])}
    )
    store = ObjectStore(user)
    assert list(store.list_objects("processed/historical/")) is not None
    for attempt in (
        lambda: store.put("raw/historical/x.csv", b"x"),
        lambda: store.get("lineage/run_id=rights/run.json"),
        lambda: store.delete("processed/historical/date=2013-03-01/symbol=AAPL/x.parquet"),
        lambda: list(store.list_objects("")),
    ):
        with pytest.raises(ConfigurationError, match="denies permission to"):
            attempt()
    done = stage(
        "fetch-historical",
        *BATCH[:3],
        "other",
        TICKLAKE_STORE_ACCESS_KEY=secret["access-key"],
        TICKLAKE_STORE_SECRET_KEY=secret["secret-key"],
    )
    assert done.returncode == 2
    assert "check TICKLAKE_STORE_ACCESS_KEY, TICKLAKE_STORE_SECRET_KEY and the rights of that user" in done.stderr


def test_a_stage_may_not_use_topics_that_are_anothers(
    provisioned: StoreSettings, stage: Stage, broker: SecuredBroker
) -> None:
    soon = {"TICKLAKE_KAFKA_TIMEOUT_SECONDS": "10"}
    done = stage("fetch-historical", *BATCH[:3], "another", **_kafka(broker, "stream-ticks"), **soon)
    assert done.returncode == 2
    assert "does not allow to" in done.stderr
    assert topics.BATCH_TOPIC in done.stderr
    # Strimzi makes a user some time after its secret, so a sign-in that is rejected is worth another try.
    wrong = stage("fetch-historical", *BATCH[:3], "another", TICKLAKE_KAFKA_PASSWORD="wrong", **soon)
    assert wrong.returncode == 1
    assert "_USERNAME and _PASSWORD right?" in wrong.stderr
    # With that fixed, the same run goes through.
    assert stage("fetch-historical", *BATCH[:3], "another").returncode == 0


def test_tables_are_written_and_read_with_the_least_rights(
    provisioned: StoreSettings, objects: list[Manifest], tmp_path: Path
) -> None:
    def catalog(stage: str) -> SqlCatalog:
        secret = _secret(objects, f"ticklake-store-{stage}")
        return SqlCatalog(
            "ticklake",
            uri=f"sqlite:///{tmp_path}/catalog.db",
            warehouse=f"s3://{keys.BUCKET}/tables",
            **{
                "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO",
                "s3.endpoint": provisioned.endpoint or "",
                "s3.region": provisioned.region,
                "s3.access-key-id": secret["access-key"],
                "s3.secret-access-key": secret["secret-key"],
                "s3.force-virtual-addressing": "false",
            },
        )

    rows = pa.table({"symbol": ["AAPL", "MSFT"], "volume": [1, 2]})
    writer = catalog("validate-raw")
    writer.create_namespace("market")
    table = writer.create_table("market.tried", rows.schema)
    for _ in range(2):
        table.append(rows)
    table.overwrite(rows, EqualTo("symbol", "AAPL"))
    for stage in ("fetch-historical", "reconcile-run", "dashboard"):
        read = catalog(stage).load_table("market.tried")
        assert read.scan().to_arrow().num_rows == 4
        with pytest.raises(OSError, match="ACCESS_DENIED"):
            read.append(rows)
    with pytest.raises(OSError, match="ACCESS_DENIED"):
        catalog("apply-retention").load_table("market.tried")


def test_the_check_of_the_platform_passes(provisioned: StoreSettings, stage: Stage) -> None:
    done = stage("check-platform")
    assert done.returncode == 0, done.stderr


def test_tables_are_maintained_with_the_least_rights(
    provisioned: StoreSettings, objects: list[Manifest], stage: Stage, tmp_path: Path
) -> None:
    def user(name: str) -> StoreSettings:
        secret = _secret(objects, f"ticklake-store-{name}")
        own = {"access_key": SecretStr(secret["access-key"]), "secret_key": SecretStr(secret["secret-key"])}
        return provisioned.model_copy(update=own)

    catalog = CatalogSettings(uri=f"sqlite:///{tmp_path}/catalog.db")
    tables = LakeTables(catalog, user("validate-raw"))
    tables.ensure("market", DAILY_BARS)
    for number in range(25):
        rows = rows_of(DAILY_BARS, [number])
        tables.append("market", DAILY_BARS, "run", lambda _, rows=rows: rows)
    done = stage("maintain-tables", "--date", "2026-01-30", "--run-id", "rights", TICKLAKE_CATALOG_URI=catalog.uri)
    assert done.returncode == 0, done.stderr[-3000:]
    record = maintenance.read(ObjectStore(provisioned))
    assert record is not None
    assert [(each.table, each.compacted, each.after.files) for each in record.tables] == [("market.daily_bars", 25, 1)]
    assert tables.read("market", DAILY_BARS).num_rows == 25
    store, writer = (ObjectStore(user(name)) for name in ("maintain-tables", "validate-raw"))
    versions = [found.key for found in store.list_objects("tables/market/daily_bars/metadata/")]
    assert sum(key.endswith(".metadata.json") for key in versions) <= 22  # the writer removed the older ones
    gone = [found.key for found in orphans(LakeTables(catalog, store.settings), store, datetime.now(UTC) + LATER)]
    with pytest.raises(StageError, match="AccessDenied"):
        writer.delete_all(key for key in versions if key.endswith(".avro"))
    store.delete_all(gone)
    assert orphans(tables, store, datetime.now(UTC) + LATER) == []


THREADS = 4
"""How many requests to the store are under way at once; with more, the interpreter itself is what they wait for."""


@contextmanager
def _lying_there(store: ObjectStore, wanted: Collection[str]) -> Iterator[None]:
    """Objects at all these keys, while a block runs; after it the bucket is as before."""
    there = {key: store.get(key) for key in wanted if store.metadata(key) is not None}
    try:
        for key in wanted:
            store.put(key, b"there")
        yield
    finally:
        store.delete_all(key for key in wanted if key not in there)
        for key, content in there.items():
            store.put(key, content)


def test_every_user_of_the_store_may_do_what_it_needs_and_nothing_else(
    provisioned: StoreSettings, objects: list[Manifest]
) -> None:
    rights = store_rights(topics.live_names(FLOW))
    policies = find(objects, "ConfigMap", "ticklake-store-policies")["data"]
    assert {name.removesuffix(".json") for name in policies} - {"bucket"} == rights.reads.keys()
    users = {}
    for name in rights.reads:
        secret = _secret(objects, f"ticklake-store-{name}")
        users[name] = StoreUser(provisioned, secret["access-key"], secret["secret-key"])
    store = ObjectStore(provisioned)
    another = ObjectStore(provisioned.model_copy(update={"bucket": "of-somebody-else"}))
    another.create_bucket()
    another.put("x", b"x")
    folders = sorted({folder(key) for key in rights.keys})
    # All read before any removes, so that each reads what is there.
    acts: dict[str, tuple[Callable[[StoreUser, str], bool], Collection[str]]] = {
        "get": (StoreUser.get, rights.keys),
        "list": (StoreUser.list, folders),
        "put": (StoreUser.put, rights.keys),
        "delete": (StoreUser.delete, rights.keys),
    }
    allowed = {
        "get": rights.reads,
        "list": {name: rights.folders(name) for name in users},
        "put": rights.writes,
        "delete": rights.removes,
    }
    with _lying_there(store, rights.keys), ThreadPoolExecutor(THREADS) as pool:
        for act, (attempt, places) in acts.items():
            found = {
                name: pool.map(lambda place, user=user, attempt=attempt: attempt(user, place) and place, places)
                for name, user in users.items()
            }
            assert {name: {*answers} - {False} for name, answers in found.items()} == allowed[act], act
        for name, user in users.items():
            done = {
                "list all": user.list(None) or user.list(""),
                "make a bucket": user.make_bucket(f"of-{name}"),
                "remove the bucket": user.remove_bucket(),
                "open the bucket": user.open_bucket(),
                "get elsewhere": user.get("x", another.bucket),
                "put elsewhere": user.put("x", another.bucket),
                "delete elsewhere": user.delete("x", another.bucket),
                "list elsewhere": user.list(None, another.bucket),
            }
            assert not [act for act, was_done in done.items() if was_done], name


OPERATIONS = {
    "read": {"DESCRIBE", "READ"},
    "write": {"DESCRIBE", "WRITE"},
    "group": {"DESCRIBE", "READ"},
    "look at topic": {"DESCRIBE"},
    "look at group": {"DESCRIBE"},
}
"""What a right is to the broker: there is none to read or write without one to describe."""


def test_every_user_of_kafka_may_do_what_it_needs_and_nothing_else(
    broker: SecuredBroker, objects: list[Manifest]
) -> None:
    rights = kafka_rights(topics.live_names(FLOW))
    assert {each["metadata"]["name"] for each in objects if each["kind"] == "KafkaUser"} == {
        f"ticklake-{name}" for name in rights
    }
    # The topics and groups of the real flow too, whose names start those of the trial's.
    live = [topics.live_names(FLOW), topics.live_names()]
    ensure_topics(KafkaSettings(bootstrap_servers=broker.bootstrap_servers), topics.live_topics(live[1]))
    everybody = KafkaUser(broker.bootstrap_servers)
    known = {each.name for flow in live for each in topics.live_topics(flow)}
    known |= {each.name for each in (*topics.batch_topics(), *topics.check_topics())}
    groups = {name for held in rights.values() for right, name in held if right.endswith("group")}
    groups |= {live[1].archive_group, live[1].alerts_group}
    for group in groups:
        assert everybody.commits(group, topics.CHECK_TOPIC)
    for name, held in rights.items():
        user = KafkaUser(f"127.0.0.1:{broker.secured_port}", f"ticklake-{name}", f"ticklake-{name}"[::-1])

        def operations(place: str, held: set[tuple[str, str]] = held) -> set[str]:
            return {each for right, of in held if of == place for each in OPERATIONS[right]}

        assert user.topics(known) == {topic: operations(topic) for topic in known}, name
        assert user.groups(groups) == {group: operations(group) for group in groups}, name
        assert user.cluster() == set(), name
        assert user.consumes(known) == {topic: ("read", topic) in held for topic in known}, name
        # To no topic that other tests read from.
        tried = {topic for topic in known if topic == topics.CHECK_TOPIC or ("write", topic) not in held}
        assert user.produces(tried) == {topic: ("write", topic) in held for topic in tried}, name
        for group in groups - {of for right, of in held if right == "group"}:
            assert not user.commits(group, topics.CHECK_TOPIC), (name, group)
        for topic in known:
            assert not any(user.changes(topic).values()), (name, topic)
        assert not any(user.governs().values()), name
    # None of it was refused for another reason, such as that the topic was gone.
    assert {topic for topic, may in everybody.topics(known).items() if may} == known
    assert all(everybody.changes(live[1].topic).values())
