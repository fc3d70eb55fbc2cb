"""Repeated maintenance beside writers that append and replace: every row once, and no writer fails for good.

`TICKLAKE_TEST_MAINTENANCE_SECONDS` sets for how long.
"""

import os
import threading
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from table_rows import Write, appending, batch_of, content, opened, replacing, state_of

from lake_maintenance import compaction
from lake_maintenance.compaction import Compaction, compact
from lake_maintenance.maintenance import MaintenanceSettings, maintain
from lake_maintenance.retention import today_utc
from ticklake.catalog import LakeTables
from ticklake.errors import ConflictError
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import DAILY_BARS, WINDOWS, IcebergTable
from ticklake_local.platform import Platform

SECONDS = float(os.environ.get("TICKLAKE_TEST_MAINTENANCE_SECONDS", "40"))
LATER = timedelta(days=200)
"""So that what the writers commit now is long past its age."""


LONG_AGO = time.time() - 10 * 86400


class Writer(threading.Thread):
    """Does its work repeatedly until asked to stop; a work that meets another writer too often is done again."""

    def __init__(self, work: Write, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.work, self.stop = work, stop
        self.rounds, self.again = 0, 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                started = time.monotonic()
                try:
                    self.work(self.rounds)
                except ConflictError:
                    self.again += 1
                else:
                    self.rounds += 1
                # Two writers without a pause keep every longer commit from ever being the first.
                self.stop.wait(3 * (time.monotonic() - started))
        except BaseException as error:
            self.error = error
            raise


def expected(table: IcebergTable, appended: int, replaced: int) -> list[str]:
    """The rows after the given number of rounds of each."""
    parts = [batch_of(table, number) for number in range(appended)]
    if replaced:
        parts.append(state_of(table, replaced - 1))
    return sorted(map(repr, pa.concat_tables(parts).to_pylist()))


class AgedFiles:
    """Makes files old that no writer can be about to commit: each has committed since they were there."""

    def __init__(self, folder: Path, writers: list[Writer]) -> None:
        self.folder, self.writers = folder, writers
        self.seen: list[Path] = []
        self.rounds: list[int] = []

    def age(self) -> None:
        if all(writer.rounds > before + 1 for writer, before in zip(self.writers, self.rounds, strict=False)):
            for file in self.seen:
                if file.exists():
                    os.utime(file, (LONG_AGO, LONG_AGO))
            self.rounds = [writer.rounds for writer in self.writers]
            self.seen = [
                file for part in ("tables", "processed") for file in (self.folder / part).rglob("*") if file.is_file()
            ]


@pytest.mark.timeout(SECONDS + 300)
def test_every_row_once(
    local_platform: Platform, catalog_settings: CatalogSettings, store_settings: StoreSettings, store: ObjectStore
) -> None:
    def lake() -> LakeTables:
        return LakeTables(catalog_settings, store_settings)

    tables, stop = lake(), threading.Event()
    for table in (DAILY_BARS, WINDOWS):
        tables.ensure("market", table)
    both, appends = Writer(replacing(lake(), DAILY_BARS), stop), Writer(appending(lake(), DAILY_BARS), stop)
    alone = Writer(replacing(lake(), WINDOWS), stop)
    writers = [both, appends, alone]
    files = AgedFiles(local_platform.folder.store / "buckets" / store.bucket, writers)
    settings = MaintenanceSettings(
        store=store_settings,
        catalog=catalog_settings,
        keep_snapshots_days=1,
        keep_snapshots_least=10,
        keep_month_ends=False,
        compact_least_files=2,
    )
    done, failed = [], []
    for writer in writers:
        writer.start()
    until = time.monotonic() + SECONDS
    try:
        # Also on a slow machine it has gone through all of its work beside the writers.
        while time.monotonic() < until or not _worked(done, writers):
            assert time.monotonic() < until + 240, (done, failed)
            assert all(writer.is_alive() for writer in writers)
            files.age()
            try:
                # Orphans are judged by the real clock, snapshots by a day that is still to come.
                done.append(maintain(settings, f"upkeep-{len(done)}", today_utc() + LATER))
            except ConflictError as error:
                failed.append(str(error))
    finally:
        stop.set()
        for writer in writers:
            writer.join(300)
    assert [writer.error for writer in writers] == [None, None, None]
    assert content(tables, "market", DAILY_BARS) == expected(DAILY_BARS, appends.rounds, both.rounds)
    assert content(tables, "market", WINDOWS) == expected(WINDOWS, 0, alone.rounds)
    # What meets maintenance alone never even has to be done again.
    assert alone.again == 0
    # Every snapshot that is left is whole.
    for table in (DAILY_BARS, WINDOWS):
        for snapshot in opened(tables, "market", table).metadata.snapshots:
            rows = content(tables, "market", table, snapshot.snapshot_id)
            assert set(Counter(rows).values()) <= {1}


def _worked(done: list[object], writers: list[Writer]) -> bool:
    parts = [each for record in done for each in getattr(record, "tables", ())]
    return (
        all(writer.rounds > 10 for writer in writers)
        and sum(getattr(record, "orphans", 0) for record in done) > 10
        and all(sum(getattr(each, name) for each in parts) > 5 for name in ("compacted", "expired"))
    )


@pytest.mark.parametrize("bug", ["keeps the old files", "loses the new ones"])
def test_a_bug_would_be_seen(
    catalog_settings: CatalogSettings,
    store_settings: StoreSettings,
    store: ObjectStore,
    monkeypatch: pytest.MonkeyPatch,
    bug: str,
) -> None:
    tables = LakeTables(catalog_settings, store_settings)
    tables.ensure("market", DAILY_BARS)
    for number in range(6):
        appending(tables, DAILY_BARS)(number)
    commit = compaction._commit

    def wrong(there: object, old: object, new: object, run_id: str) -> None:
        commit(there, () if bug == "keeps the old files" else old, new if bug == "keeps the old files" else (), run_id)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_commit", wrong)
    assert compact(tables, store, "market", DAILY_BARS, "upkeep", Compaction(target_bytes=1 << 26, least_files=5)) == 6
    assert content(tables, "market", DAILY_BARS) != expected(DAILY_BARS, 6, 0)
