"""The catalog of the tables: real SQLite and the real store, and what goes wrong with them in one line."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import SecretStr
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyiceberg.types import LongType, StringType

from ticklake.catalog import RUN_ID, SCHEMA_VERSION, LakeTables, between, from_on, matching, one_of
from ticklake.errors import ConfigurationError, CredentialsError, IntegrityError, StageError
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import Column, IcebergTable, arrow_schema
from ticklake_local.processes import free_port

PLAIN = IcebergTable(
    "plain", (Column("symbol", "string", "", nullable=False), Column("price", "double", "")), ("symbol",), "A table"
)


def priced(*rows: tuple[str, float]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"symbol": symbol, "price": price} for symbol, price in rows], arrow_schema(PLAIN.columns)
    )


@pytest.fixture
def tables(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> LakeTables:
    found = LakeTables(catalog_settings, store_settings)
    found.ensure("market", PLAIN)
    return found


def test_rows_come_back_and_a_filter_takes_some(tables: LakeTables) -> None:
    assert tables.read("market", PLAIN).num_rows == 0
    assert tables.append("market", PLAIN, "run", lambda _: priced(("B", 2.0), ("A", 1.0))) == 2
    assert tables.append("market", PLAIN, "run", lambda _: priced()) == 0
    assert tables.read("market", PLAIN).column("symbol").to_pylist() == ["A", "B"]
    assert tables.read("market", PLAIN, matching(symbol=["B", "C"])).to_pylist() == [{"symbol": "B", "price": 2.0}]
    tables.ensure("market", PLAIN)  # there already
    assert tables.read("market", PLAIN).num_rows == 2


def test_a_reader_before_the_first_writer_finds_nothing(
    catalog_settings: CatalogSettings, store_settings: StoreSettings
) -> None:
    reader = LakeTables(catalog_settings, store_settings)
    assert (reader.read("market", PLAIN).num_rows, reader.version("market", PLAIN)) == (0, None)


def test_a_column_that_a_newer_version_brings_is_added(tables: LakeTables) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0)))
    wider = IcebergTable("plain", (*PLAIN.columns, Column("note", "string", "Free text")), ("symbol",), "A table")
    tables.ensure("market", wider)
    assert tables.read("market", wider).to_pylist() == [{"symbol": "A", "price": 1.0, "note": None}]
    assert tables.read("market", PLAIN).num_rows == 1  # an older reader goes on


def test_a_conflict_is_tried_again_with_what_is_missing_then(
    tables: LakeTables, catalog_settings: CatalogSettings, store_settings: StoreSettings
) -> None:
    other = LakeTables(catalog_settings, store_settings)
    asked = 0

    def missing(_: int | None) -> pa.Table:
        nonlocal asked
        asked += 1
        there = set(tables.read("market", PLAIN).column("symbol").to_pylist())
        if asked == 1:
            other.append("market", PLAIN, "other", lambda _: priced(("A", 1.0)))
        return priced(*((symbol, 1.0) for symbol in ("A", "B") if symbol not in there))

    assert tables.append("market", PLAIN, "run", missing) == 1
    assert asked == 2
    assert sorted(tables.read("market", PLAIN).column("symbol").to_pylist()) == ["A", "B"]


def test_what_a_commit_says_of_itself(tables: LakeTables) -> None:
    assert tables.properties("market", PLAIN) == []
    tables.append("market", PLAIN, "one", lambda _: priced(("A", 1.0)), {"upto": "1"})
    tables.append("market", PLAIN, "two", lambda _: priced(), {"upto": "2"})  # no row, and yet a snapshot
    tables.replace("market", PLAIN, "three", priced(("A", 2.0)), matching(symbol=["A"]), {"upto": "3"})
    found = [(each[RUN_ID], each["upto"]) for each in tables.properties("market", PLAIN)]
    assert list(dict.fromkeys(found)) == [("three", "3"), ("two", "2"), ("one", "1")]
    assert tables.properties("market", PLAIN, 1) == []
    assert tables.read("market", PLAIN).to_pylist() == [{"symbol": "A", "price": 2.0}]


def test_a_file_that_pyiceberg_missed_is_looked_for_again(tables: LakeTables, monkeypatch: pytest.MonkeyPatch) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0), ("B", 1.0)))
    validate = _OverwriteFiles._validate_required_deletes
    entries = iter([[]])

    def missed(producer: Any, found: list[Any]) -> None:
        validate(producer, next(entries, found))

    monkeypatch.setattr(_OverwriteFiles, "_validate_required_deletes", missed)
    tables.replace("market", PLAIN, "run", priced(("A", 2.0)), matching(symbol=["A"]))
    assert list(entries) == []
    rows = tables.read("market", PLAIN).sort_by("symbol").to_pylist()
    assert rows == [{"symbol": "A", "price": 2.0}, {"symbol": "B", "price": 1.0}]


def test_a_check_that_fails_keeps_the_table(tables: LakeTables) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0)))
    snapshots: list[int | None] = []

    def check(snapshot: int | None) -> None:
        snapshots.append(snapshot)
        raise StageError("not now")

    with pytest.raises(StageError, match="not now"):
        tables.replace("market", PLAIN, "run", priced(("A", 2.0)), matching(symbol=["A"]), check=check)
    assert snapshots == [tables.version("market", PLAIN)]
    assert tables.read("market", PLAIN).to_pylist() == [{"symbol": "A", "price": 1.0}]


def test_the_pieces_that_two_snapshots_differ_in(tables: LakeTables) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0), ("B", 1.0)))
    tables.append("market", PLAIN, "run", lambda _: priced(("C", 1.0)))
    first = tables.version("market", PLAIN)
    tables.replace("market", PLAIN, "run", priced(("B", 2.0)), matching(symbol=["B"]))
    second = tables.version("market", PLAIN)
    assert first is not None
    assert second is not None

    def prices(snapshot: int, without: int | None = None) -> list[tuple[str, float]]:
        pieces = tables.pieces("market", PLAIN, matching(symbol="ABCD"), snapshot, without)
        return sorted((row["symbol"], row["price"]) for piece in pieces for row in piece.to_pylist())

    assert prices(second) == [("A", 1.0), ("B", 2.0), ("C", 1.0)]
    assert prices(second, first) == [("A", 1.0), ("B", 2.0)]  # A was in one file with B
    assert prices(first, second) == [("A", 1.0), ("B", 1.0)]
    assert tables.keeps("market", PLAIN, first)
    assert not tables.keeps("market", PLAIN, 1)
    with pytest.raises(IntegrityError, match=r"market\.plain has no snapshot 1 \(any more\)"):
        prices(second, 1)


def test_filters(tables: LakeTables) -> None:
    timed = IcebergTable(
        "timed", (Column("at", "timestamp", "", nullable=False), Column("n", "bigint", "")), ("at",), "A table"
    )
    tables.ensure("market", timed)
    start = datetime(2024, 6, 28, 14, tzinfo=UTC)
    rows = [{"at": start + timedelta(microseconds=n), "n": n} for n in range(5)]
    tables.append("market", timed, "run", lambda _: pa.Table.from_pylist(rows, arrow_schema(timed.columns)))

    def found(rows: BooleanExpression) -> list[int]:
        return sorted(tables.read("market", timed, rows)["n"].to_pylist())

    span = between("at", rows[1]["at"], rows[3]["at"])
    assert found(span) == [1, 2]
    assert found(from_on("n", 3)) == [3, 4]
    assert found(one_of([span, matching(n=[4])])) == [1, 2, 4]
    assert found(one_of([span])) == [1, 2]
    assert found(one_of([])) == []
    assert found(matching(span, from_on("n", 2))) == [2]
    # As many as the sessions of two years.
    assert found(one_of(matching(n=[number]) for number in range(3, 600))) == [3, 4]


@pytest.mark.parametrize("columns", [("*",), ("symbol", "price"), ("price",)])
def test_a_long_list_of_values_takes_no_others(tables: LakeTables, columns: tuple[str, ...]) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(*((f"S{number:03}", number) for number in range(100))))
    rows = matching(symbol=[f"S{number:03}" for number in range(0, 100, 2)])
    found = tables.read("market", PLAIN, rows, columns)
    assert sorted(found["price"].to_pylist()) == list(range(0, 100, 2))
    snapshot = tables.version("market", PLAIN)
    assert snapshot is not None
    pieces = tables.pieces("market", PLAIN, rows, snapshot, columns=columns)
    assert sorted(price for piece in pieces for price in piece["price"].to_pylist()) == list(range(0, 100, 2))


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("newer", "has schema version 2, this code knows 1"),
        ("foreign", "was not made by ticklake"),
        ("type", "column price is string, not double: someone changed it"),
        ("gone", "lacks the column symbol: someone changed it"),
        ("required", "requires the column shares, which this code does not know"),
    ],
)
def test_a_table_that_someone_changed(tables: LakeTables, change: str, line: str) -> None:
    table = tables._catalog().load_table(("market", "plain"))
    if change in ("newer", "foreign"):
        with table.transaction() as transaction:
            if change == "newer":
                transaction.set_properties({SCHEMA_VERSION: "2"})
            else:
                transaction.remove_properties(SCHEMA_VERSION)
    else:
        with table.update_schema(allow_incompatible_changes=True) as update:
            if change == "type":
                update.delete_column("price")
            elif change == "gone":
                update.delete_column("symbol")
            else:
                update.add_column("shares", LongType(), required=True)
        if change == "type":
            with table.update_schema() as update:
                update.add_column("price", StringType())
    for act in (
        lambda: tables.ensure("market", PLAIN),
        lambda: tables.read("market", PLAIN),
        lambda: tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0))),
    ):
        with pytest.raises(ConfigurationError, match=line):
            act()


def test_a_catalog_that_is_away(store_settings: StoreSettings) -> None:
    for uri in (f"postgresql://127.0.0.1:{free_port()}/catalog", f"http://127.0.0.1:{free_port()}"):
        tables = LakeTables(CatalogSettings(uri=uri, user="u", password=SecretStr("p")), store_settings)
        with pytest.raises(StageError, match=f"the catalog at {uri}") as caught:
            tables.read("market", PLAIN)
        assert not isinstance(caught.value, ConfigurationError)
        assert "SecretStr" not in str(caught.value)


def test_a_catalog_that_may_only_be_read(
    tables: LakeTables, catalog_settings: CatalogSettings, store_settings: StoreSettings
) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0)))
    file = Path(catalog_settings.uri.removeprefix("sqlite:///"))
    reader = LakeTables(CatalogSettings(uri=f"sqlite:///file:{file}?mode=ro&uri=true"), store_settings)
    assert reader.read("market", PLAIN).num_rows == 1
    with pytest.raises(ConfigurationError, match=r"denies permission to append to market\.plain"):
        reader.append("market", PLAIN, "run", lambda _: priced(("B", 1.0)))
    assert tables.read("market", PLAIN).num_rows == 1


def test_a_catalog_file_that_is_none(tmp_path: Path, store_settings: StoreSettings) -> None:
    (tmp_path / "broken.db").write_bytes(b"no database" * 100)
    with pytest.raises(StageError, match="file is not a database"):
        LakeTables(CatalogSettings(uri=f"sqlite:///{tmp_path}/broken.db"), store_settings).read("market", PLAIN)
    with pytest.raises(StageError, match="unable to open"):
        LakeTables(CatalogSettings(uri=f"sqlite:///{tmp_path}/no/such.db"), store_settings).read("market", PLAIN)


def test_a_store_that_rejects_the_key_or_lost_a_file(
    tables: LakeTables, catalog_settings: CatalogSettings, store_settings: StoreSettings, store: ObjectStore
) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0)))
    wrong = store_settings.model_copy(update={"secret_key": SecretStr("wrong")})
    with pytest.raises((ConfigurationError, CredentialsError), match="the store"):
        LakeTables(catalog_settings, wrong).read("market", PLAIN)
    (data,) = [found.key for found in store.list_objects("tables/market/plain/data/")]
    store.delete(data)
    with pytest.raises(IntegrityError, match=r"cannot read market\.plain: a file is gone"):
        tables.read("market", PLAIN)
    away = store_settings.model_copy(update={"endpoint": f"http://127.0.0.1:{free_port()}", "timeout_seconds": 1})
    with pytest.raises(StageError, match="the store does not answer"):
        LakeTables(catalog_settings, away).read("market", PLAIN)


def test_the_catalog_is_one_that_other_programs_read(tables: LakeTables, catalog_settings: CatalogSettings) -> None:
    tables.append("market", PLAIN, "run", lambda _: priced(("A", 1.0)))
    with sqlite3.connect(catalog_settings.uri.removeprefix("sqlite:///")) as database:
        found = database.execute("SELECT catalog_name, table_namespace, table_name FROM iceberg_tables").fetchall()
    assert found == [("ticklake", "market", "plain")]
