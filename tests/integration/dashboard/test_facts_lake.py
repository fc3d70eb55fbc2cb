"""The versions of facts as the dashboard holds them, on the real store and catalog."""

import pytest
from nights import NIGHTS, SOURCE, answer, record, traded
from waiting import wait_until

from dashboard.lake.facts import FactsLake
from dashboard.lake.row_cache import RowCache
from dashboard.lake.store_guard import StoreGuard
from ticklake.catalog import LakeTables
from ticklake.errors import StageError
from ticklake.records import Source
from ticklake.settings import CatalogSettings

ONE, TWO = traded(1, {1: 2.0}, {}), traded(2, {}, {})


@pytest.fixture
def tables(catalog_settings, store_settings):
    return LakeTables(catalog_settings, store_settings)


@pytest.fixture
def guard(catalog_settings, store_settings):
    """With tables of its own, as another process has them."""
    return StoreGuard(LakeTables(catalog_settings, store_settings), 0.01)


def night(tables, number):
    record(tables, answer("ONE", ONE, NIGHTS[number]), answer("TWO", TWO, NIGHTS[number]))


def test_each_symbol_has_its_own_and_new_versions_are_seen(tables, guard):
    lake = FactsLake(guard, 0, RowCache(2**26))
    assert lake.of(["ONE"], SOURCE) == {}  # not even a table
    night(tables, 0)
    first = lake.of(["ONE", "NEVER", "TWO"], SOURCE)
    assert sorted(first) == ["ONE", "TWO"]
    assert {symbol: set(facts.bars["symbol"]) for symbol, facts in first.items()} == {"ONE": {"ONE"}, "TWO": {"TWO"}}
    assert lake.of(["ONE"], Source.REPLAY) == {}
    assert lake.of(["ONE"], SOURCE)["ONE"] is first["ONE"]
    night(tables, 1)
    second = lake.of(["ONE", "TWO"], SOURCE)
    assert [len(second[symbol].bars) - len(first[symbol].bars) for symbol in ("ONE", "TWO")] == [1, 1]
    assert [len(second[symbol].actions) for symbol in ("ONE", "TWO")] == [1, 0]


def test_what_is_held_is_given_while_the_catalog_is_away(tables, guard, store_settings):
    night(tables, 0)
    lake = FactsLake(guard, 0, RowCache(2**26))
    held = lake.of(["ONE"], SOURCE)["ONE"]
    there = guard.store
    guard.store = LakeTables(CatalogSettings(uri="postgresql://127.0.0.1:9/catalog", user="u"), store_settings)
    assert lake.of(["ONE"], SOURCE)["ONE"] is held
    for symbols in (["TWO"], ["ONE", "TWO"]):
        with pytest.raises(StageError, match=r"the catalog at postgresql://127\.0\.0\.1:9/catalog does not answer"):
            lake.of(symbols, SOURCE)
    guard.store = there
    assert sorted(wait_until(lambda: _try(lake))) == ["ONE", "TWO"]


def _try(lake):
    try:
        return lake.of(["ONE", "TWO"], SOURCE)
    except StageError:
        return {}


def test_the_tables_are_not_asked_again_within_the_time(tables, guard):
    night(tables, 0)
    lake = FactsLake(guard, 600, RowCache(2**26))
    first = lake.of(["ONE"], SOURCE)["ONE"]
    night(tables, 1)
    assert lake.of(["ONE"], SOURCE)["ONE"] is first
