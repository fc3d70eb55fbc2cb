"""What validate-raw leaves in the tables of facts, from real recorded prices and over the real broker and store."""

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import Any

import pandas as pd
import pytest

from consume_historical.validate_stage import ValidateSettings, validate_run
from fetch_historical.answer_checks import Known
from fetch_historical.known_history import KnownSymbols
from fetch_historical.recordings import recorded
from ticklake import facts, lineage
from ticklake.batch_stage import Run
from ticklake.catalog import LakeTables, matching
from ticklake.errors import StageError
from ticklake.facts import ACTION_KEY, BAR_KEY
from ticklake.lineage import SymbolChanges
from ticklake.records import Source
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import CORPORATE_ACTIONS, DAILY_BARS

LAST = date(2013, 3, 1)
BEFORE, SPLIT = date(2005, 2, 25), date(2005, 2, 28)
"""AAPL's last session before its split 2:1, and the day of the split."""
YEAR = [day for day in recorded()["AAPL"].sessions if date(2004, 2, 26) <= day <= BEFORE]
LATER_YEAR = [day for day in recorded()["AAPL"].sessions if date(2004, 2, 29) <= day <= SPLIT]


@pytest.fixture
def tables(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> LakeTables:
    return LakeTables(catalog_settings, store_settings)


@pytest.fixture
def night(
    fetch: Any, consume: Any, store_settings: StoreSettings, catalog_settings: CatalogSettings
) -> Callable[..., SymbolChanges]:
    """Replays a date's batch of some symbols up to its facts; what it changed, in all."""
    numbers = itertools.count()

    def run(day: date, *symbols: str, run_id: str = "") -> SymbolChanges:
        the_run = run_id or f"night-{next(numbers)}"
        fetch(day=day, symbols=symbols, the_run=the_run)
        consume(day=day, the_run=the_run)
        settings = ValidateSettings(store=store_settings, catalog=catalog_settings)
        record, store = validate_run(settings, Run(the_run, day))
        lineage.write(store, record)
        return record.changes()

    return run


def rows(tables: LakeTables, table: Any, key: list[str], as_of: datetime | None = None) -> pd.DataFrame:
    found = tables.read("market_test", table, matching(source=["replay"]))
    return facts.in_force(found.to_pandas(date_as_object=False), key, as_of)


def test_a_split_leaves_one_price_basis_as_traded(night: Any, tables: LakeTables) -> None:
    first = night(BEFORE, "AAPL")
    second = night(SPLIT, "AAPL")
    # The second year's prices came halved for the split.
    assert (first.new, first.revised, second.new, second.revised) == (len(YEAR), 0, 1, 0)
    assert (second.unchanged, second.actions_new, second.actions_withdrawn) == (len(LATER_YEAR) - 1, 1, 0)
    bars = rows(tables, DAILY_BARS, BAR_KEY).set_index("session_date")
    traded = recorded()["AAPL"]
    at = {day: place for place, day in enumerate(traded.sessions)}
    for day in (date(2004, 2, 27), date(2004, 3, 1), BEFORE, SPLIT):
        found = bars.loc[pd.Timestamp(day)]
        place = at[day]
        assert found["close"] == pytest.approx(traded.close[place], rel=1e-7), day
        assert found["volume"] == traded.volume[place], day
    (split,) = rows(tables, CORPORATE_ACTIONS, ACTION_KEY).itertuples()
    assert (split.ex_date.date(), split.kind, split.value, bool(split.withdrawn)) == (SPLIT, "split", 2.0, False)
    evening = datetime(2005, 2, 25, 23, 59, 59, 999_000, tzinfo=UTC)
    assert rows(tables, CORPORATE_ACTIONS, ACTION_KEY, evening).empty
    assert rows(tables, DAILY_BARS, BAR_KEY, evening)["session_date"].max().date() == BEFORE


def test_the_order_of_the_dates_does_not_matter(night: Any, tables: LakeTables) -> None:
    assert night(SPLIT, "AAPL", "IBM").new == 2 * len(LATER_YEAR)
    late = night(BEFORE, "AAPL", "IBM")
    assert (late.new, late.revised) == (2 * len(YEAR), 0)  # known earlier than what was recorded first
    bars = rows(tables, DAILY_BARS, BAR_KEY)
    assert len(bars) == 2 * (len(YEAR) + 1)
    assert not bars.duplicated(BAR_KEY).any()
    assert (rows(tables, DAILY_BARS, BAR_KEY, datetime(2005, 2, 26, tzinfo=UTC))["known_at"].dt.date == BEFORE).all()


def test_another_run_of_the_same_answers_adds_no_row_and_no_snapshot(night: Any, tables: LakeTables) -> None:
    night(BEFORE, "AAPL")
    before = tables.read("market_test", DAILY_BARS)
    again = night(BEFORE, "AAPL")
    assert (again.new, again.unchanged, again.revised) == (0, len(YEAR), 0)
    assert tables.read("market_test", DAILY_BARS).equals(before)


def test_two_tries_of_one_run_at_once_record_it_once(
    night: Any, fetch: Any, consume: Any, tables: LakeTables, program: Any
) -> None:
    whole = night(BEFORE, "AAPL", "IBM").new
    fetch(day=SPLIT, symbols=("AAPL", "IBM"), the_run="two")
    consume(day=SPLIT, the_run="two")
    with ThreadPoolExecutor(2) as pool:
        tries = [pool.submit(program, "validate-raw", "two", SPLIT.isoformat()) for _ in range(2)]
        assert [one.result().returncode for one in tries] == [0, 0], [one.result().stderr for one in tries]
    assert tables.read("market_test", DAILY_BARS).num_rows == whole + 2
    assert tables.read("market_test", CORPORATE_ACTIONS, matching(symbol=["AAPL"])).num_rows == 1


def test_another_commit_between_looking_and_appending_is_seen(
    night: Any, tables: LakeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run a second time, from its comparison to its end, just before the first one's first commit."""
    night(BEFORE, "AAPL")
    real, inner = LakeTables.append, []

    def late(self: LakeTables, *arguments: Any) -> int:
        if not inner:
            inner.append(True)
            night(SPLIT, "AAPL", run_id="two")
        return real(self, *arguments)

    monkeypatch.setattr(LakeTables, "append", late)
    assert night(SPLIT, "AAPL", run_id="two").new == 1
    assert tables.read("market_test", DAILY_BARS).num_rows == len(YEAR) + 1
    assert tables.read("market_test", CORPORATE_ACTIONS).num_rows == 1


@pytest.mark.parametrize("step", ["before actions", "before bars", "after bars"])
def test_a_try_that_ends_between_the_commits_is_made_good_by_the_next(
    night: Any, tables: LakeTables, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    night(BEFORE, "AAPL")
    real = LakeTables.append

    def failing(self: LakeTables, namespace: str, table: Any, run_id: str, missing: Any) -> int:
        last = table is DAILY_BARS
        if (step == "before bars") == last and step != "after bars":
            raise StageError("the pod is lost")
        done = real(self, namespace, table, run_id, missing)
        if last:
            raise StageError("the pod is lost")
        return done

    monkeypatch.setattr(LakeTables, "append", failing)
    with pytest.raises(StageError, match="the pod is lost"):
        night(SPLIT, "AAPL", run_id="lost")
    monkeypatch.undo()
    changes = night(SPLIT, "AAPL", run_id="lost")
    assert (changes.new, changes.unchanged, changes.actions_new) == (1, len(LATER_YEAR) - 1, 1)
    assert tables.read("market_test", DAILY_BARS).num_rows == len(YEAR) + 1
    assert tables.read("market_test", CORPORATE_ACTIONS).num_rows == 1


def test_a_revision_is_reported_with_old_and_new_value(
    night: Any, tables: LakeTables, inject_row: Any, store: Any
) -> None:
    night(LAST, "IBM")
    inject_row("other", "IBM", {100: {"volume": 12_345_678.0}, 200: {"high": 230.0}})
    changes = night(LAST, "IBM", run_id="other")
    assert (changes.new, changes.unchanged, changes.revised) == (0, 248, 2)
    notes = lineage.read(store, "other", "validate-raw").notes
    (note,) = [note for note in notes if "revised" in note]
    assert note.startswith("IBM: 2 known sessions revised, as the volume of 2012-")
    assert note.endswith(" to 12345678")
    found = tables.read("market_test", DAILY_BARS).to_pandas()
    assert sorted(found["change"].value_counts().items()) == [("first", 250), ("revision", 2)]


def test_what_is_known_of_a_symbol(night: Any, tables: LakeTables) -> None:
    def known(source: Source = Source.REPLAY) -> KnownSymbols:
        return KnownSymbols(tables, source, ("AAPL", "IBM"))

    assert known().of("AAPL") is None  # not even a table
    night(SPLIT, "AAPL")
    night(date(2004, 2, 27), "AAPL")
    assert known().of("AAPL") == Known(date(2003, 2, 28), SPLIT, "USD")
    assert known().of("IBM") is None
    assert known(Source.SIMULATED).of("AAPL") is None
