"""tick-bars on archived objects in the real store and catalog, and the program as Airflow starts it."""

import io
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake_maintenance.compaction import Compaction, compact
from tick_bars import bar_restatement, pending_ranges
from tick_bars.stage import BarSettings, make_bars
from tick_bars.table_progress import LEDGER
from ticklake import ledger, ledger_table
from ticklake.batch_checks import QualityError
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError, IntegrityError, StageError
from ticklake.ledger import LedgerRange
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, LiveSettings, StoreSettings
from ticklake.tables import TICK_BARS, TICK_GAPS, TICK_TABLES, TICKS, IcebergTable

HOUR = datetime(2024, 6, 28, 14, tzinfo=UTC)
"""A Friday's 10:00 in New York."""
TOPIC_ID = "0190a1b2-c3d4-7000-8000-0123456789ab"
LIVE = LiveSettings().names
Row = dict[str, Any]


@dataclass
class Archive:
    """Archives ticks given as (event time, price, volume), a range at a time, as arrived at a time."""

    store: ObjectStore
    keys: list[str] = field(default_factory=list)

    def __call__(
        self,
        first: int,
        arrived: datetime,
        *rows: tuple[datetime, float, int],
        symbol: str = "AAPL",
        source: str = "simulated",
        partition: int = 0,
        invalid: int = 0,
        sequences: tuple[int, ...] | None = None,
        topic_id: str = TOPIC_ID,
        live: LiveSettings | None = None,
    ) -> str:
        """`invalid` offsets that went to quarantine follow the rows; returns the object's key."""
        names = (live or LiveSettings()).names
        ticks: list[Row] = [
            {
                "symbol": symbol,
                "event_time": at,
                "sequence": sequences[n] if sequences else first + n,
                "price": price,
                "volume": volume,
                "source": source,
                "producer_run": f"r{partition}",
                "partition": partition,
                "offset": first + n,
                "append_time": arrived,
            }
            for n, (at, price, volume) in enumerate(rows)
        ]
        table = ledger_table.sort(pa.Table.from_pylist(ticks, schema=ledger_table.SCHEMA))
        last = first + len(rows) + invalid - 1
        entry = LedgerRange(
            topic=names.topic,
            topic_id=topic_id,
            partition=partition,
            first_offset=first,
            last_offset=last,
            rows=len(rows),
            invalid_rows=invalid,
            invalid=((last - invalid + 1, last),) if invalid else (),
            checksum=ledger_table.checksum(table),
            first_append_time=arrived,
            last_append_time=arrived,
            least_event_time=min((row[0] for row in rows), default=None),
            greatest_event_time=max((row[0] for row in rows), default=None),
        )
        key = ledger.range_key(names, topic_id, partition, first, arrived)
        body = ledger_table.parquet_bytes(table, entry)
        assert self.store.put_if_absent(key, body, metadata=entry.user_metadata())
        return key


@pytest.fixture
def archive(store: ObjectStore) -> Archive:
    return Archive(store)


@pytest.fixture
def settings(store_settings: StoreSettings, catalog_settings: CatalogSettings) -> BarSettings:
    return BarSettings(store=store_settings, catalog=catalog_settings, bars_max_silence_seconds=0)


@dataclass
class Tables:
    """The tables' rows, in order."""

    lake: LakeTables

    def rows(self, table: IcebergTable, namespace: str = "market_test", flow: str = "") -> list[Row]:
        found = [row for row in self.lake.read(namespace, table).to_pylist() if row["flow"] == flow]
        return sorted(found, key=lambda row: [str(row[name]) for name in table.sort])

    def bars(self, length: str, namespace: str = "market_test", flow: str = "") -> list[Row]:
        return [row for row in self.rows(TICK_BARS, namespace, flow) if row["bar_length"] == length]

    def ticks(self, namespace: str = "market_test", flow: str = "") -> list[int]:
        return sorted(row["offset"] for row in self.rows(TICKS, namespace, flow))

    def gaps(self, kind: str, namespace: str = "market_test") -> list[Row]:
        return [row for row in self.rows(TICK_GAPS, namespace) if row["kind"] == kind]

    def all(self) -> dict[tuple[str, str], list[Row]]:
        """Everything, for comparing."""
        return {
            (space, table.name): self.rows(table, space) for space in ("market", "market_test") for table in TICK_TABLES
        }

    def versions(self) -> list[int | None]:
        return [self.lake.version(space, table) for space in ("market", "market_test") for table in TICK_TABLES]


@pytest.fixture
def tables(settings: BarSettings) -> Tables:
    return Tables(LakeTables(settings.catalog, settings.store))


def at(minute: float) -> datetime:
    return HOUR + timedelta(minutes=minute)


def run(settings: BarSettings, hours: int = 0, run_id: str = "r") -> Row:
    """tick-bars for the hour at this offset from `HOUR`."""
    return make_bars(settings, HOUR + timedelta(hours=hours), run_id)


def fill(archive: Archive, live: LiveSettings | None = None) -> None:
    archive(0, at(-5), (at(-5), 1.0, 1), live=live)
    archive(1, at(1), (at(0), 10.0, 5), (at(0.5), 12.0, 5), (at(1), 11.0, 1), live=live)
    archive(4, at(59), (at(0.25), 9.0, 10), (at(59), 20.0, 0), live=live)
    archive(6, at(61), (at(59.9), 21.0, 0), (at(61), 99.0, 1), live=live)  # the first of them came late


def test_bars_of_an_hour(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    fill(archive)
    done = run(settings)
    assert {name: done[name] for name in ("hour", "ticks", "objects_read")} == {
        "hour": "2024-06-28T14Z",
        "ticks": 6,
        "objects_read": 3,
    }
    assert tables.ticks() == [0, 1, 2, 3, 4, 5]
    assert {
        length: [(row["bar_start"], row["tick_count"]) for row in tables.bars(length)]
        for length in ("1m", "5m", "15m", "1h", "1d")
    } == {
        "1m": [(at(-5), 1), (at(0), 3), (at(1), 1), (at(59), 1)],
        "5m": [(at(-5), 1), (at(0), 4), (at(55), 1)],
        "15m": [(at(-15), 1), (at(0), 4), (at(45), 1)],
        "1h": [(at(-60), 1), (at(0), 5)],
        "1d": [],
    }
    first, hour = tables.bars("1m")[1], tables.bars("1h")[1]
    assert [first[name] for name in ("open", "high", "low", "close", "volume")] == [10.0, 12.0, 9.0, 12.0, 20]
    assert first["vwap"] == (10 * 5 + 12 * 5 + 9 * 10) / 20
    assert [hour[name] for name in ("open", "high", "low", "close", "volume")] == [10.0, 20.0, 9.0, 20.0, 21]
    assert (first["first_event_time"], first["last_event_time"], first["bar_date"]) == (at(0), at(0.5), HOUR.date())
    # The tick that came in the next hour is in that hour's run, and in the bar of the minute it belongs to.
    assert run(settings, 1)["ticks"] == 2
    last = tables.bars("1m")[3]
    assert (last["bar_start"], last["tick_count"], last["close"], last["vwap"]) == (at(59), 2, 21.0, 20.5)
    assert [(row["tick_count"], row["close"]) for row in tables.bars("1h")] == [(1, 1.0), (6, 21.0), (1, 99.0)]


def test_a_tick_thirty_hours_late(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    fill(archive)
    run(settings)
    before = {length: tables.bars(length) for length in ("1m", "5m", "15m", "1h")}
    archive(8, at(30 * 60 + 5), (at(2), 50.0, 100))
    run(settings, 30)
    found = {length: tables.bars(length) for length in before}
    assert [(row["bar_start"], row["high"]) for row in found["1m"]][1:4] == [
        (at(0), 12.0),
        (at(1), 11.0),
        (at(2), 50.0),
    ]
    for length, count in (("5m", 5), ("15m", 5), ("1h", 7)):
        restated = next(row for row in found[length] if row["bar_start"] == at(0))
        assert (restated["high"], restated["tick_count"]) == (50.0, count)
    # What it does not touch is as it was.
    assert next(row for row in found["5m"] if row["bar_start"] == at(55))["tick_count"] == 2
    assert found["1m"][0] == before["1m"][0]


def test_the_same_again_changes_nothing(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    fill(archive)
    run(settings)
    once, versions = tables.all(), tables.versions()
    again = run(settings)
    assert (again["ticks"], again["bars"], again["objects_read"]) == (0, 0, 0)
    assert (tables.all(), tables.versions()) == (once, versions)
    run(settings, 5)
    later = tables.all()
    assert run(settings, 2)["ticks"] == 0  # an earlier hour than the latest
    assert tables.all() == later


def test_a_tick_that_was_sent_twice(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    archive(0, at(1), (at(1), 10.0, 1), (at(2), 11.0, 1), (at(1), 10.0, 1), sequences=(0, 1, 0))
    archive(3, at(3), (at(2), 11.0, 1), (at(3), 12.0, 1), sequences=(1, 2))
    run(settings)
    assert tables.ticks() == [0, 1, 4]
    archive(5, at(61), (at(3), 12.0, 1), (at(61), 13.0, 1), sequences=(2, 3))
    run(settings, 1)
    assert tables.ticks() == [0, 1, 4, 6]
    assert sum(row["tick_count"] for row in tables.bars("1h")) == 4


def test_each_commit_says_which_offsets_it_covers(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    fill(archive)
    archive(0, at(2), (at(2), 5.0, 1), symbol="MSFT", partition=3)
    run(settings, 0, "first")
    run(settings, 1, "second")
    found = tables.lake.properties("market_test", TICKS)
    notes = [json.loads(each[LEDGER]) for each in found]
    assert [each["ticklake.run-id"] for each in found] == ["second", "first"]
    assert [note["covers"] for note in notes] == [{TOPIC_ID: {"0": [6, 7]}}, {TOPIC_ID: {"0": [0, 5], "3": [0, 0]}}]
    assert {part: end["offset"] for part, end in notes[0]["ends"][TOPIC_ID].items()} == {"0": 8, "3": 1}


def test_the_snapshots_that_knew_have_expired(
    archive: Archive, settings: BarSettings, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(0, at(1), (at(1), 10.0, 1), (at(2), 11.0, 1), invalid=2)  # of the last offsets there are no rows
    archive(0, at(1), (at(1), 10.0, 1), symbol="MSFT", partition=1)
    run(settings)
    once = tables.all()
    with monkeypatch.context() as patch:
        patch.setattr(LakeTables, "properties", lambda *_: [])
        assert run(settings)["ticks"] == 0
        assert tables.all() == once
        archive(4, at(61), (at(61), 12.0, 1))
        assert run(settings, 1)["ticks"] == 1
    assert [(row["symbol"], row["offset"]) for row in tables.rows(TICKS)] == [
        ("AAPL", 0),
        ("AAPL", 1),
        ("AAPL", 4),
        ("MSFT", 0),
    ]
    assert sum(row["tick_count"] for row in tables.bars("1m")) == 4
    assert (tables.gaps("lost"), len(tables.gaps("invalid"))) == ([], 1)


def test_files_that_were_put_together(
    archive: Archive, settings: BarSettings, tables: Tables, store: ObjectStore
) -> None:
    """Maintenance commits between the runs, and knows nothing of offsets."""
    for number in range(3):
        archive(number, at(1 + 60 * number), (at(1 + 60 * number), 10.0 + number, 1))
        run(settings, number)
    for table in (TICKS, TICK_BARS):
        assert (
            compact(tables.lake, store, "market_test", table, "upkeep", Compaction(target_bytes=2**26, least_files=2))
            >= 3
        )
    once = tables.all()
    assert (run(settings, 2)["ticks"], tables.all()) == (0, once)
    archive(3, at(181), (at(2), 50.0, 1))
    assert run(settings, 3)["ticks"] == 1
    assert tables.ticks() == [0, 1, 2, 3]
    assert [(row["high"], row["tick_count"]) for row in tables.bars("1h")] == [(50.0, 2), (11.0, 1), (12.0, 1)]


def test_a_session_has_its_bar_after_the_close(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    opens, closes = HOUR - timedelta(minutes=30), HOUR + timedelta(hours=6)
    archive(0, opens - timedelta(minutes=1), (opens - timedelta(minutes=1), 1.0, 1))
    archive(1, at(1), (opens, 10.0, 10), (at(1), 30.0, 30))
    run(settings, 4)
    assert tables.bars("1d") == []
    archive(3, closes, (closes - timedelta(minutes=1), 20.0, 20))
    archive(4, closes + timedelta(minutes=1), (closes, 99.0, 1))
    run(settings, 5)  # ends with the session, of which no further tick has arrived yet
    (day,) = tables.bars("1d")
    assert (day["tick_count"], day["close"], day["bar_start"], day["bar_date"]) == (2, 30.0, opens, HOUR.date())
    run(settings, 6)
    (day,) = tables.bars("1d")
    assert [day[name] for name in ("open", "high", "low", "close", "volume", "tick_count")] == [
        10.0,
        30.0,
        10.0,
        20.0,
        60,
        3,
    ]
    assert day["vwap"] == pytest.approx((10 * 10 + 30 * 30 + 20 * 20) / 60)
    # A day later, on a Saturday, one more.
    archive(5, at(24 * 60), (at(2), 5.0, 1))
    run(settings, 24)
    (day,) = tables.bars("1d")
    assert (day["low"], day["tick_count"]) == (5.0, 4)


def test_sources_are_apart(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    archive(0, at(1), (at(1), 10.0, 5))
    archive(1, at(2), (at(2), 200.0, 5), source="alpha_vantage")
    archive(2, at(3), (at(3), 11.0, 5))
    run(settings)
    assert (tables.ticks(), tables.ticks("market")) == ([0, 2], [1])
    assert [row["close"] for row in tables.bars("1h")] == [11.0]
    assert [row["close"] for row in tables.bars("1h", "market")] == [200.0]
    assert tables.gaps("silent", "market") != tables.gaps("silent")


def test_flows_are_apart(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    other = LiveSettings(namespace="fast")
    archive(0, at(1), (at(1), 10.0, 5))
    archive(0, at(1), (at(1), 11.0, 5), live=other)
    run(settings)
    run(settings.model_copy(update={"live": other}))
    archive(1, at(70), (at(2), 12.0, 5), live=other)
    run(settings.model_copy(update={"live": other}), 1)
    assert [row["close"] for row in tables.bars("1h")] == [10.0]
    assert [(row["close"], row["tick_count"]) for row in tables.bars("1h", flow="fast")] == [(12.0, 2)]


def test_in_small_parts_as_in_one(
    archive: Archive, settings: BarSettings, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long archive comes in several commits, and a full hour is read a minute at a time."""
    whole = LiveSettings(namespace="whole")
    for live in (LiveSettings(), whole):
        fill(archive, live)
        archive(0, at(-30), *((at(n - 30), 10.0 + n % 7, n) for n in range(95)), symbol="MSFT", partition=2, live=live)
    run(settings.model_copy(update={"live": whole}), 1)
    monkeypatch.setattr(pending_ranges, "ROWS_PER_PART", 1)
    monkeypatch.setattr(bar_restatement, "ROWS_AT_ONCE", 1)
    run(settings, 1)
    assert len([each for each in tables.lake.properties("market_test", TICKS) if '"flow":""' in each[LEDGER]]) == 5
    for table in TICK_TABLES:
        found, wanted = (tables.rows(table, flow=flow) for flow in ("", "whole"))
        assert [row | {"flow": ""} for row in wanted] == found
        assert found


def test_a_topic_made_anew(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    fill(archive)
    run(settings)
    archive(0, at(62), (at(62), 5.0, 1), topic_id="0290a1b2-c3d4-7000-8000-0123456789ab", sequences=(1000,))
    run(settings, 1)
    assert len(tables.ticks()) == 9
    assert tables.gaps("lost") == []


class Killed(BaseException):
    """Ends a run as a signal would."""


@pytest.mark.parametrize("number", range(9))
def test_killed_before_any_commit_and_repeated(
    number: int, archive: Archive, settings: BarSettings, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks of both namespaces, one of them late, and invalid offsets: as if nothing had happened."""
    fill(archive)
    run(settings)
    archive(8, at(64), (at(3), 7.0, 1), (at(64), 8.0, 1), invalid=2)
    archive(12, at(65), (at(4), 70.0, 1), source="alpha_vantage")
    done: list[str] = []

    def dying(name: str) -> Callable[..., Any]:
        commit = getattr(LakeTables, name)

        def committed(*arguments: Any, **more: Any) -> Any:
            if len(done) == number:
                raise Killed
            done.append(name)
            return commit(*arguments, **more)

        return committed

    with monkeypatch.context() as patch:
        for name in ("append", "replace"):
            patch.setattr(LakeTables, name, dying(name))
        if number < 8:
            with pytest.raises(Killed):
                run(settings, 1)
        else:
            run(settings, 1)  # eight are all that there are
    run(settings, 1)
    assert (tables.ticks(), tables.ticks("market")) == (list(range(10)), [12])
    assert [row["tick_count"] for row in tables.bars("1h")] == [1, 7, 2]
    assert [row["high"] for row in tables.bars("1h", "market")] == [70.0]
    for namespace in ("market", "market_test"):
        found = [(row["first_offset"], row["last_offset"]) for row in tables.gaps("invalid", namespace)]
        assert found == [(10, 11)]
    assert [(row["gap_start"], row["gap_end"]) for row in tables.gaps("silent")] == [
        (at(-30), at(-5)),
        (at(-4), at(0)),
        (at(2), at(3)),
        (at(4), at(59)),
        (at(60), at(61)),
        (at(62), at(64)),
        (at(65), at(120)),
    ]
    assert run(settings, 1)["bars"] == 0


def test_bars_that_two_runs_left_undone(
    archive: Archive, settings: BarSettings, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    for number in range(3):
        archive(number, at(1 + 60 * number), (at(1 + 60 * number), 10.0, 1))
    with monkeypatch.context() as patch:
        patch.setattr(LakeTables, "replace", killed)
        for number in range(2):
            with pytest.raises(Killed):
                run(settings, number)
    assert (tables.ticks(), tables.bars("1h")) == ([0, 1], [])
    run(settings, 2)
    assert [row["tick_count"] for row in tables.bars("1h")] == [1, 1, 1]


def test_two_runs_at_once(
    archive: Archive, settings: BarSettings, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second takes the ticks between the first's look and its commit: one of the two wins, whole."""
    fill(archive)
    append, others = LakeTables.append, [0]

    def overtaken(self: LakeTables, namespace: str, table: IcebergTable, *more: Any) -> int:
        if others[0] == 0:
            others[0] = 1
            run(settings, 0, "other")
        return append(self, namespace, table, *more)

    monkeypatch.setattr(LakeTables, "append", overtaken)
    with pytest.raises(StageError, match=r"another run changed market\.ticks meanwhile; try again"):
        run(settings)
    assert run(settings)["ticks"] == 0
    assert (tables.ticks(), [row["tick_count"] for row in tables.bars("1h")]) == (list(range(6)), [1, 5])


def test_silent_minutes_are_rows(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    archive(0, at(1), (at(0), 10.0, 5), (at(1), 10.0, 5), (at(58), 10.0, 5))
    archive(0, at(1), *((at(n), 10.0, 5) for n in range(60)), symbol="MSFT", partition=1)
    run(settings)
    assert [(row["symbol"], row["gap_start"], row["gap_end"], row["count"]) for row in tables.gaps("silent")] == [
        ("AAPL", at(2), at(58), 56),
        ("AAPL", at(59), at(60), 1),
    ]
    # The next hour both are silent for as long as the exchange trades; a late tick repairs a part of the first.
    archive(3, at(120), (at(30), 10.0, 5))
    run(settings, 1)
    run(settings, 2)
    found = [(row["symbol"], row["gap_start"], row["gap_end"], row["count"]) for row in tables.gaps("silent")]
    assert ("AAPL", at(2), at(30), 28) in found
    assert ("AAPL", at(31), at(58), 27) in found
    assert ("MSFT", at(60), at(120), 60) in found
    run(settings, 6)  # after the close
    assert max(row["gap_end"] for row in tables.gaps("silent")) == at(6 * 60)


def test_lost_offsets_are_a_row_and_fail_their_hour(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    archive(0, at(1), (at(1), 10.0, 5))
    archive(5, at(58), (at(58), 11.0, 5))
    for _ in range(2):
        with pytest.raises(IntegrityError, match="partition 0: offsets 1-4 are missing"):
            run(settings)
    assert tables.ticks() == [0, 5]
    (row,) = tables.gaps("lost")
    assert [row[name] for name in ("topic_id", "partition", "first_offset", "last_offset", "count")] == [
        TOPIC_ID,
        0,
        1,
        4,
        4,
    ]
    assert (row["gap_start"], row["gap_end"]) == (at(1), at(58))
    run(settings, 1)  # known by now


def test_offsets_archived_twice(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    archive(0, at(1), (at(1), 10.0, 5), (at(2), 10.0, 5), (at(3), 10.0, 5))
    archive(2, at(58), (at(58), 10.0, 5))
    with pytest.raises(IntegrityError, match="offsets 2-2 are archived twice"):
        run(settings)
    assert tables.ticks() == []


def test_invalid_offsets_are_rows(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    archive(0, at(1), (at(1), 10.0, 5), invalid=3)
    archive(4, at(2), invalid=1)
    run(settings)
    found = [(row["first_offset"], row["last_offset"], row["count"]) for row in tables.gaps("invalid")]
    assert found == [(1, 3, 3), (4, 4, 1)]


def test_a_range_that_another_brokers_clock_filed_an_hour_early(
    archive: Archive, settings: BarSettings, tables: Tables
) -> None:
    archive(0, at(59), (at(59), 10.0, 5))
    archive(1, at(60), (at(59.5), 11.0, 5))
    archive(2, at(59.9), (at(59.6), 12.0, 5))
    run(settings)
    assert tables.ticks() == [0]
    run(settings, 1)
    assert (tables.ticks(), tables.gaps("lost")) == ([0, 1, 2], [])


def test_a_changed_object(archive: Archive, settings: BarSettings, store: ObjectStore) -> None:
    key = archive(0, at(58), (at(58), 10.0, 5))
    table = pq.read_table(io.BytesIO(store.get(key)))
    changed = table.set_column(3, "price", pa.array([10.5])).replace_schema_metadata(table.schema.metadata)
    body = io.BytesIO()
    pq.write_table(changed, body)
    store.put(key, body.getvalue(), metadata=store.metadata(key))
    with pytest.raises(IntegrityError, match="rows in the file are not those"):
        run(settings)


def test_silence_while_the_exchange_trades(archive: Archive, settings: BarSettings, tables: Tables) -> None:
    strict = settings.model_copy(update={"bars_max_silence_seconds": 900})
    with pytest.raises(QualityError, match="none at all"):
        run(strict)
    archive(0, at(30), (at(30), 10.0, 5))
    for _ in range(2):
        with pytest.raises(QualityError, match="the last at 14:30:00"):
            run(strict)
    assert len(tables.bars("1m")) == 1  # written all the same
    assert run(settings.model_copy(update={"bars_max_silence_seconds": 1800}))["ticks"] == 0


@pytest.mark.parametrize("hour", [HOUR.replace(hour=3), HOUR.replace(day=29), HOUR.replace(hour=20)])
def test_silence_while_it_does_not(settings: BarSettings, hour: datetime) -> None:
    assert make_bars(settings.model_copy(update={"bars_max_silence_seconds": 900}), hour, "r")["ticks"] == 0


def test_an_hour_that_is_not_over(settings: BarSettings) -> None:
    with pytest.raises(ConfigurationError, match="is not over"):
        make_bars(settings, datetime.now(UTC).replace(minute=0, second=0, microsecond=0), "r")


def test_another_days_partitions(archive: Archive, settings: BarSettings, tables: Tables, store: ObjectStore) -> None:
    fill(archive)
    run(settings)
    keys = [found.key for found in store.list_objects("processed/realtime/")]
    assert {key.rpartition("/")[0] for key in keys} == {
        "processed/realtime/bars/flow=/date=2024-06-28",
        "processed/realtime/ticks/flow=/date=2024-06-28",
        "processed/realtime/gaps/flow=",
    }
    assert tables.rows(TICKS)[0]["event_date"] == date(2024, 6, 28)


def test_the_program(
    archive: Archive, programs: Path, stage_env: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    fill(archive)
    xcom = tmp_path / "return.json"
    env = stage_env(TICKLAKE_XCOM_FILE=str(xcom))

    def program(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [str(programs / "tick-bars"), "--run-id", "r", *arguments]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)

    done = program("--date", "2024-06-28", "--hour", "14")
    assert (done.returncode, done.stderr) == (0, "")
    result = json.loads(xcom.read_text())
    assert {name: result[name] for name in ("hour", "ticks", "objects_read", "bars", "run_id")} == {
        "hour": "2024-06-28T14Z",
        "ticks": 6,
        "objects_read": 3,
        "bars": 12,
        "run_id": "r",
    }
    wrong = program("--date", "2024-06-28", "--hour", "24")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("tick-bars: argument --hour: '24' is no hour from 0 to 23")
    silent = program("--date", "2024-06-28", "--hour", "16")
    assert (silent.returncode, "no tick in its last 900 s" in silent.stderr) == (2, True)


def test_ticks_of_other_ages_that_an_earlier_version_archived(
    archive: Archive, settings: BarSettings, tables: Tables
) -> None:
    ages = [datetime(year, 12, 31, 23, 59, tzinfo=UTC) for year in (999, 2261)] + [datetime(1, 1, 1, tzinfo=UTC)]
    archive(0, at(1), (at(1), 10.0, 1), *((age, 11.0, 2**63 - 1) for age in ages))
    assert run(settings)["ticks"] == 4
    assert tables.ticks() == [0, 1, 2, 3]
    assert len(tables.bars("1m")) == 4
