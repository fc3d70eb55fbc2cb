"""maintain-tables on the real catalog and store: what it puts together, what it lets go, and what it never touches."""

import os
import sqlite3
import subprocess
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import SecretStr, ValidationError
from pyiceberg.exceptions import ValidationException
from pyiceberg.table.snapshots import Operation
from table_rows import content, file_names, opened, rows_of

from lake_maintenance.compaction import Compaction, compact
from lake_maintenance.maintenance import MaintenanceSettings, maintain
from lake_maintenance.retention import today_utc
from lake_maintenance.snapshot_expiry import Retention, doomed, expire, expire_flows, month_ends
from lake_maintenance.table_files import orphans
from ticklake import maintenance
from ticklake.catalog import SCHEMA_VERSION, LakeTables, matching
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import ALL_TABLES, DAILY_ANALYTICS, DAILY_BARS, WINDOWS, IcebergTable
from ticklake_local.platform import Platform
from ticklake_local.processes import free_port

SMALL = Compaction(target_bytes=64 << 20, least_files=5)
KEEP = Retention(days=90, least=10, most=2000, month_ends=True)


@pytest.fixture
def tables(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> LakeTables:
    found = LakeTables(catalog_settings, store_settings)
    for table in ALL_TABLES:
        found.ensure("market", table)
    return found


@pytest.fixture
def settings(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> MaintenanceSettings:
    return MaintenanceSettings(store=store_settings, catalog=catalog_settings)


@pytest.fixture
def age(local_platform: Platform, store: ObjectStore) -> Callable[[float], None]:
    """Makes every object of the bucket that many days older, for the store as for us."""
    folder = local_platform.folder.store / "buckets" / store.bucket

    def older(days: float) -> None:
        for file in folder.rglob("*"):
            if file.is_file():
                moment = file.stat().st_mtime - days * 86400
                os.utime(file, (moment, moment))

    return older


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Lets PyIceberg date the snapshots that follow."""

    def clock(moment: datetime) -> None:
        monkeypatch.setattr("pyiceberg.table.snapshots.time", SimpleNamespace(time=moment.timestamp))

    return clock


def keys(store: ObjectStore) -> set[str]:
    return {found.key for found in store.list_objects("") if not found.key.endswith("/")}


def fill(tables: LakeTables, table: IcebergTable, commits: int, rows: int = 3, **same: object) -> None:
    for number in range(commits):
        added = rows_of(table, range(number * rows, (number + 1) * rows), **same)
        assert tables.append("market", table, f"run-{number}", lambda _, added=added: added) == rows


@pytest.mark.parametrize("table", ALL_TABLES, ids=lambda table: str(table.name))
def test_compaction_changes_no_row(tables: LakeTables, store: ObjectStore, table: IcebergTable) -> None:
    parts = [
        {"symbol": symbol, "flow": flow, "batch_date": date(2026, 1, 5)}
        for symbol, flow in (
            ("^VIX", ""),
            ("M&M.NS", "a flow/with 100% odd=letters"),
        )
    ]
    for same in parts:
        fill(tables, table, 6, **same)
    before, snapshot = content(tables, "market", table), tables.version("market", table)
    assert len(before) == 36
    assert compact(tables, store, "market", table, "upkeep", SMALL) == 12
    assert content(tables, "market", table) == before
    assert len(file_names(tables, "market", table)) == (2 if table.partitions else 1)
    current = opened(tables, "market", table).current_snapshot()
    assert current is not None
    assert current.summary is not None
    assert current.summary.operation is Operation.REPLACE
    assert (current.summary["ticklake.run-id"], current.summary["total-records"]) == ("upkeep", "36")
    assert content(tables, "market", table, snapshot) == before
    # A filter still finds what it did, by the bounds of the new files.
    wanted = matching(symbol=["^VIX"])
    assert tables.read("market", table, wanted).num_rows == 18
    # What is done is not done again.
    assert compact(tables, store, "market", table, "upkeep", SMALL) == 0
    assert orphans(tables, store, datetime.now(UTC) + timedelta(days=1)) == []


def test_compaction_pays_only_for_many_small_files(tables: LakeTables, store: ObjectStore) -> None:
    fill(tables, DAILY_BARS, 4)
    version = tables.version("market", DAILY_BARS)
    assert compact(tables, store, "market", DAILY_BARS, "upkeep", SMALL) == 0
    assert tables.version("market", DAILY_BARS) == version
    fill(tables, DAILY_BARS, 6)
    one = max(task.file.file_size_in_bytes for task in opened(tables, "market", DAILY_BARS).scan().plan_files())
    # Files of the target's size stay, and a group is no larger than the target.
    assert compact(tables, store, "market", DAILY_BARS, "u", Compaction(target_bytes=one, least_files=2)) == 0
    two = Compaction(target_bytes=2 * one, least_files=2)
    assert compact(tables, store, "market", DAILY_BARS, "u", two) == 10
    assert len(file_names(tables, "market", DAILY_BARS)) == 5


def test_compaction_goes_on_after_a_conflict_and_gives_way_to_a_change(
    tables: LakeTables,
    store: ObjectStore,
    catalog_settings: CatalogSettings,
    store_settings: StoreSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = LakeTables(catalog_settings, store_settings)
    fill(tables, DAILY_BARS, 5, symbol="A")
    before = keys(store)
    meanwhile: list[Callable[[], object]] = []
    from lake_maintenance import compaction

    commit = compaction._commit

    def late(*arguments: object) -> None:
        if meanwhile:
            meanwhile.pop()()
        commit(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_commit", late)
    added = rows_of(DAILY_BARS, [100], symbol="B")
    meanwhile.append(lambda: other.append("market", DAILY_BARS, "other", lambda _: added))

    def miss() -> None:
        raise ValidationException("Missing required files to delete: what PyIceberg's threads overlooked")

    meanwhile.append(miss)
    assert compact(tables, store, "market", DAILY_BARS, "upkeep", SMALL) == 5
    assert tables.read("market", DAILY_BARS).num_rows == 16
    assert len({key for key in keys(store) - before if key.endswith(".parquet")}) == 2  # written once, and B's

    fill(tables, DAILY_BARS, 5, symbol="A")
    instead = rows_of(DAILY_BARS, [200], symbol="A")
    meanwhile.append(lambda: other.replace("market", DAILY_BARS, "other", instead, matching(symbol=["A"])))
    assert compact(tables, store, "market", DAILY_BARS, "upkeep", SMALL) == 0
    assert sorted(tables.read("market", DAILY_BARS).column("symbol").to_pylist()) == ["A", "B"]
    gone = orphans(tables, store, datetime.now(UTC) + timedelta(days=1))
    assert not [found for found in gone if found.key.endswith(".parquet")]  # it took its own files away


def test_a_replacement_goes_on_after_maintenance(
    tables: LakeTables, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.table import Table

    fill(tables, WINDOWS, 6, symbol="A", flow="")
    overwrite, meanwhile = Table.overwrite, [lambda: compact(tables, store, "market", WINDOWS, "upkeep", SMALL)]

    def late(there: Table, *arguments: object, **more: object) -> None:
        if meanwhile:
            assert meanwhile.pop()() == 6
        overwrite(there, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Table, "overwrite", late)
    tables.replace("market", WINDOWS, "run", rows_of(WINDOWS, [7], symbol="A", flow=""), matching(symbol=["A"]))
    assert tables.read("market", WINDOWS).num_rows == 1


def test_what_expires_and_what_stays(tables: LakeTables, at: Callable[[datetime], None], store: ObjectStore) -> None:
    """Two commits every tenth day from 10 January to 20 May."""
    first, contents, days = datetime(2026, 1, 10, 9, tzinfo=UTC), {}, {}
    for number in range(0, 131, 10):
        for hour in (0, 6):
            moment = first + timedelta(days=number, hours=hour)
            at(moment)
            added = rows_of(DAILY_BARS, [number * 24 + hour])
            tables.append("market", DAILY_BARS, "run", lambda _, added=added: added)
            version = tables.version("market", DAILY_BARS)
            assert version is not None
            days[version], contents[version] = moment, content(tables, "market", DAILY_BARS)
    today = date(2026, 5, 20)
    month = {(moment.year, moment.month): version for version, moment in days.items()}
    ends = {f"month-2026-0{number}": month[2026, number] for number in (1, 2, 3, 4)}
    assert month_ends(opened(tables, "market", DAILY_BARS), today) == ends

    keep = Retention(days=30, least=3, most=2000, month_ends=True)
    wanted = {version for version, moment in days.items() if moment.date() >= date(2026, 4, 20)} | {*ends.values()}
    assert expire(tables, "market", DAILY_BARS, keep, today) == len(days) - len(wanted) > 10
    there = opened(tables, "market", DAILY_BARS)
    assert {snapshot.snapshot_id for snapshot in there.metadata.snapshots} == wanted
    assert {name: ref.snapshot_id for name, ref in there.metadata.refs.items() if name != "main"} == ends
    # Their files are still needed, those of the others go.
    store.delete_all(found.key for found in orphans(tables, store, datetime.now(UTC) + timedelta(days=1)))
    for version in wanted:
        assert content(tables, "market", DAILY_BARS, version) == contents[version]
    with pytest.raises(IntegrityError, match="any more"):
        tables.read("market", DAILY_BARS, snapshot=next(iter(days.keys() - wanted)))
    # Once more changes nothing; without month ends they go too.
    version = there.metadata_location
    assert expire(tables, "market", DAILY_BARS, keep, today) == 0
    assert opened(tables, "market", DAILY_BARS).metadata_location == version
    assert expire(tables, "market", DAILY_BARS, keep.model_copy(update={"month_ends": False}), today) == 3
    assert set(opened(tables, "market", DAILY_BARS).metadata.refs) == {"main"}


def test_what_the_writers_remember_stays_however_old(
    tables: LakeTables, at: Callable[[datetime], None], store: ObjectStore
) -> None:
    at(datetime(2026, 1, 10, tzinfo=UTC))
    fill(tables, WINDOWS, 12, flow="")
    compact(tables, store, "market", WINDOWS, "upkeep", SMALL)
    far = date(2036, 1, 1)
    for least in (12, 10, 3):
        keep = KEEP.model_copy(update={"least": least, "month_ends": False})
        expire(tables, "market", WINDOWS, keep, far)
        runs, number = [], opened(tables, "market", WINDOWS).metadata.current_snapshot_id
        while number is not None:  # as a writer goes back
            snapshot = opened(tables, "market", WINDOWS).snapshot_by_id(number)
            assert snapshot is not None
            assert snapshot.summary is not None
            runs.append(snapshot.summary["ticklake.run-id"])
            number = snapshot.parent_snapshot_id
        assert runs == ["upkeep", *(f"run-{n}" for n in range(11, 11 - least, -1))]
    assert expire(tables, "market", WINDOWS, KEEP.model_copy(update={"days": 0}), far) == 0


def test_no_more_than_the_most_of_a_table_that_is_written_all_the_time(tables: LakeTables) -> None:
    fill(tables, WINDOWS, 15, flow="")
    keep = Retention(days=90, least=2, most=6, month_ends=True)
    there = opened(tables, "market", WINDOWS)
    assert len(doomed(there, keep, today_utc())) == 9
    assert len(doomed(there, keep.model_copy(update={"most": 100}), today_utc())) == 0


def test_orphans_go_and_nothing_else(
    tables: LakeTables, store: ObjectStore, settings: MaintenanceSettings, age: Callable[[float], None]
) -> None:
    other = IcebergTable("other", WINDOWS.columns, WINDOWS.sort, "", WINDOWS.partitions, f"{WINDOWS.folder}/other")
    inside = IcebergTable("inside", WINDOWS.columns, WINDOWS.sort, "", WINDOWS.partitions, WINDOWS.folder)
    for table in (other, inside):
        tables.ensure("elsewhere", table)
        tables.append("elsewhere", table, "run", lambda _, table=table: rows_of(table, [1], flow="x"))
    tables.ensure("market_test", WINDOWS)  # its files lie in the same folders
    tables.append("market_test", WINDOWS, "run", lambda _: rows_of(WINDOWS, [2], flow=""))
    fill(tables, WINDOWS, 30, flow="")  # more than as many metadata files as a table keeps
    fill(tables, DAILY_BARS, 2)
    fill(tables, DAILY_ANALYTICS, 2, symbol="^VIX")
    before = keys(store)
    live = {key for key in before if not key.endswith(".metadata.json")}  # of those a writer removes its own old ones
    orphaned = {
        "processed/realtime/flow=/left.parquet",
        "processed/realtime/flow=gone/left.parquet",
        "processed/historical/date=2026-01-05/symbol=A/left.parquet",
        "tables/market/windows/metadata/left-m0.avro",
        "tables/market/daily_bars/data/left.parquet",
    }
    foreign = {
        "processed/realtime/bars/symbol=A/part.parquet",
        "processed/realtime/_bars/1.json",
        "processed/realtime/x",
        "processed/realtime/other/flow=x/left.parquet",
        "processed/historical/note.txt",
        "tables/market/dropped/data/part.parquet",
        "tables/elsewhere/other/data/part.parquet",
        "raw/historical/x.csv",
        "accelerated/a/flow=/x.parquet",
        "lineage/run_id=a/run.json",
    }
    for key in orphaned | foreign:
        store.put(key, b"12345")
    age(2.5)
    assert maintain(settings, "young", today_utc()).orphans == 0
    assert keys(store) - {maintenance.KEY} >= live | orphaned | foreign
    age(2)
    store.put("processed/realtime/flow=/young.parquet", b"12345")
    done = maintain(settings, "old", today_utc())
    gone = (before | orphaned | foreign) - keys(store)
    old_metadata = {key for key in gone if key.endswith(".metadata.json")}
    assert gone - old_metadata == orphaned
    assert (done.orphans, done.orphan_size) == (5, 25)
    assert "processed/realtime/flow=/young.parquet" in keys(store)
    assert (tables.read("elsewhere", inside).num_rows, tables.read("elsewhere", other).num_rows) == (1, 1)
    assert tables.read("market_test", WINDOWS).num_rows == 1
    assert tables.read("market", WINDOWS).num_rows == 90


def test_metadata_that_the_writers_may_not_remove_goes(
    tables: LakeTables, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyiceberg.catalog.delete_files", lambda *_: None)  # as without the right to
    fill(tables, WINDOWS, 30, flow="")
    gone = orphans(tables, store, datetime.now(UTC) + timedelta(days=1))
    assert len(gone) >= 9
    assert all(found.key.startswith("tables/market/windows/metadata/0") for found in gone)
    store.delete_all(found.key for found in gone)
    fill(tables, WINDOWS, 1, flow="")


def test_a_catalog_that_does_not_fit_the_files_removes_none(
    tables: LakeTables,
    store: ObjectStore,
    settings: MaintenanceSettings,
    catalog_settings: CatalogSettings,
    age: Callable[[float], None],
) -> None:
    fill(tables, DAILY_BARS, 1)
    file = catalog_settings.uri.removeprefix("sqlite:///")
    with sqlite3.connect(file) as database:
        backup = database.execute("SELECT metadata_location FROM iceberg_tables WHERE table_name = 'daily_bars'")
        earlier = backup.fetchone()[0]
    fill(tables, DAILY_BARS, 3)
    fill(tables, WINDOWS, 6, flow="")
    age(10)
    before = keys(store)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE iceberg_tables SET metadata_location = ? WHERE table_name = 'daily_bars'", [earlier])
    with pytest.raises(IntegrityError, match=r"has version 4 of table market\.daily_bars, the catalog knows 1"):
        maintain(settings, "run", today_utc())
    assert keys(store) >= before
    assert len(file_names(tables, "market", WINDOWS)) == 1  # the tables are seen to all the same
    assert maintenance.read(store) is None

    (data,) = file_names(tables, "market", DAILY_BARS)
    store.delete(data.removeprefix(f"s3a://{store.bucket}/"))
    with pytest.raises(IntegrityError, match="is gone from the lake: no orphans are removed"):
        orphans(tables, store, datetime.now(UTC))


def test_a_table_made_anew_is_not_taken_for_the_one_before(tables: LakeTables, store: ObjectStore) -> None:
    fill(tables, DAILY_BARS, 5)
    tables._catalog().drop_table(("market", "daily_bars"))
    tables.ensure("market", DAILY_BARS)
    fill(tables, DAILY_BARS, 1)
    gone = orphans(tables, store, datetime.now(UTC) + timedelta(days=1))
    assert len([found for found in gone if found.key.endswith(".parquet")]) == 5
    store.delete_all(found.key for found in gone)
    assert tables.read("market", DAILY_BARS).num_rows == 3


def test_accelerated_flows_go_whole_by_their_newest_file(
    tables: LakeTables, store: ObjectStore, age: Callable[[float], None]
) -> None:
    for flow in ("", "old", "kept"):
        fill(tables, WINDOWS, 2, flow=flow)
    fill(tables, DAILY_BARS, 1)
    age(8)
    fill(tables, WINDOWS, 1, flow="kept")
    week = datetime.now(UTC) - timedelta(days=7)
    assert expire_flows(tables, store, "market", DAILY_BARS, "upkeep", week) == []
    assert expire_flows(tables, store, "market", WINDOWS, "upkeep", week - timedelta(days=2)) == []
    assert expire_flows(tables, store, "market", WINDOWS, "upkeep", week) == ["old"]
    flows = tables.read("market", WINDOWS).column("flow").to_pylist()
    assert {flow: flows.count(flow) for flow in flows} == {"": 6, "kept": 9}
    assert expire_flows(tables, store, "market", WINDOWS, "upkeep", week) == []


def test_a_run_says_what_it_did(tables: LakeTables, store: ObjectStore, settings: MaintenanceSettings) -> None:
    fill(tables, WINDOWS, 12, flow="")
    less = settings.model_copy(update={"keep_snapshots_least": 10})
    done = maintain(less, "run", today_utc())
    assert maintenance.read(store) == done
    by_table = {each.table: each for each in done.tables}
    assert set(by_table) == {f"market.{table.name}" for table in ALL_TABLES}
    windows = by_table["market.windows"]
    assert (windows.before.files, windows.after.files, windows.compacted) == (12, 1, 12)
    assert (windows.before.snapshots, windows.after.snapshots, windows.expired) == (12, 13, 0)
    assert 0 < windows.after.size < windows.before.size
    assert by_table["market.daily_bars"].before.snapshots == 0
    later = maintain(less, "later", today_utc() + timedelta(days=100))
    assert {each.table: each.expired for each in later.tables}["market.windows"] == 2
    assert maintenance.read(store) == later


def test_an_empty_lake(settings: MaintenanceSettings, store: ObjectStore) -> None:
    done = maintain(settings, "run", today_utc())
    assert (done.tables, done.orphans) == ((), 0)


def test_one_odd_table_does_not_keep_the_others_from_it(
    tables: LakeTables, store: ObjectStore, settings: MaintenanceSettings
) -> None:
    fill(tables, DAILY_BARS, 6)
    fill(tables, WINDOWS, 6, flow="")
    with opened(tables, "market", DAILY_BARS).transaction() as transaction:
        transaction.set_properties({SCHEMA_VERSION: "99"})
    with pytest.raises(ConfigurationError, match=r"market\.daily_bars has schema version 99"):
        maintain(settings, "run", today_utc())
    assert len(file_names(tables, "market", WINDOWS)) == 1
    assert maintenance.read(store) is None


def test_catalog_or_store_away_or_without_rights(
    tables: LakeTables,
    settings: MaintenanceSettings,
    catalog_settings: CatalogSettings,
    store_settings: StoreSettings,
    store: ObjectStore,
) -> None:
    fill(tables, WINDOWS, 6, flow="")
    before = keys(store)
    nobody = CatalogSettings(uri=f"postgresql://127.0.0.1:{free_port()}/catalog", user="u", password=SecretStr("p"))
    with pytest.raises(StageError, match="does not answer") as caught:
        maintain(settings.model_copy(update={"catalog": nobody}), "run", today_utc())
    assert caught.value.exit_code == 1
    file = catalog_settings.uri.removeprefix("sqlite:///")
    reader = CatalogSettings(uri=f"sqlite:///file:{file}?mode=ro&uri=true")
    with pytest.raises(ConfigurationError, match=r"denies permission to compact market\.windows"):
        maintain(settings.model_copy(update={"catalog": reader}), "run", today_utc())
    away = store_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{free_port()}", "timeout_seconds": 1})
    with pytest.raises(StageError, match="does not answer"):
        maintain(settings.model_copy(update={"store": away}), "run", today_utc())
    assert tables.read("market", WINDOWS).num_rows == 18
    assert len(file_names(tables, "market", WINDOWS)) == 6
    assert keys(store) >= before


def test_settings_that_contradict_each_other() -> None:
    catalog = CatalogSettings(uri="sqlite:///x")
    with pytest.raises(ValidationError, match="must be at least 500, what TICKLAKE_KEEP_SNAPSHOTS_LEAST says"):
        MaintenanceSettings(catalog=catalog, keep_snapshots_least=500, keep_snapshots_most=400)
    with pytest.raises(ValidationError, match="greater than or equal to 1"):
        MaintenanceSettings(catalog=catalog, keep_orphans_days=0)


def test_the_program(
    tables: LakeTables, programs: Path, stage_env: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    fill(tables, WINDOWS, 6, flow="")

    def run(*arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        command = [str(programs / "maintain-tables"), "--run-id", "r", *arguments]
        return subprocess.run(command, env=stage_env(**more), capture_output=True, text=True, timeout=300, check=False)

    today = str(today_utc())
    result = tmp_path / "return.json"
    done = run("--date", today, TICKLAKE_XCOM_FILE=str(result))
    assert (done.returncode, done.stderr) == (0, "")
    assert maintenance.Maintenance.model_validate_json(result.read_text()).run_id == "r"
    assert len(file_names(tables, "market", WINDOWS)) == 1
    for arguments, variables, line, code in (
        (("--date", str(today_utc() + timedelta(days=2))), {}, "is still to come", 2),
        (("--date", today), {"TICKLAKE_KEEP_ORPHANS_DAYS": "0"}, "TICKLAKE_KEEP_ORPHANS_DAYS", 2),
        (("--date", today), {"TICKLAKE_CATALOG_URI": f"sqlite:///{tmp_path}/no/such.db"}, "unable to open", 1),
    ):
        failed = run(*arguments, **variables)
        assert (failed.returncode, line in failed.stderr, failed.stderr.count("\n")) == (code, True, 1), failed.stderr
