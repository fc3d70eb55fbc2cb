"""From raw rows to bars: what is taken, repaired, rejected, left out."""

import dataclasses
import json
import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetch_historical.answer_store import ROWS, Action, Answer
from fetch_historical.bar_cleaning import BatchFields, Cleaned, clean, raw_json, wanted_days, widened_range
from fetch_historical.batch_period import Period
from fetch_historical.settings import FetchSettings
from fetch_historical.stage import _clean
from ticklake.batch_stage import Run
from ticklake.records import Source, SymbolStatus
from ticklake.settings import CatalogSettings

# Four sessions of a week in which the exchange was closed on the Monday (Washington's birthday).
SESSIONS = tuple(date(2013, 2, day) for day in (19, 20, 21, 22))
WEEK = [date(2013, 2, 16) + timedelta(days=n) for n in range(8)]
FIELDS = BatchFields("IBM", Source.REPLAY, "run", date(2013, 2, 22), datetime(2013, 2, 22, 22, tzinfo=UTC))
NAN = float("nan")


def row(day: int, **changes: Any) -> dict[str, Any]:
    values = {"open": 100.0, "high": 103.0, "low": 99.0, "close": 102.0, "adj_close": 101.0, "volume": 5e6}
    return {"session_date": date(2013, 2, day), **values, "dividends": 0.0, "stock_splits": 0.0} | changes


def cleaned(*rows: dict[str, Any], closed: tuple[date, ...] = SESSIONS) -> Cleaned:
    return clean(rows, FIELDS, wanted_days(WEEK, SESSIONS, closed), SESSIONS)


def test_good_rows_become_numbered_bars() -> None:
    found = cleaned(row(19), row(20), row(21), row(22))
    assert [(bar.session_date.day, bar.sequence, bar.volume) for bar in found.bars] == [
        (19, 0, 5_000_000),
        (20, 1, 5_000_000),
        (21, 2, 5_000_000),
        (22, 3, 5_000_000),
    ]
    assert (found.rejected, found.left_out, found.widened, found.missing) == ((), 0, 0, ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"open": NAN}, "open"),
        ({"close": None}, "close"),
        ({"adj_close": NAN}, "adj_close"),
        ({"volume": NAN}, "volume"),
        ({"volume": -1.0}, "volume"),
        ({"volume": 0.5}, "volume"),
        ({"volume": 1e19}, "volume"),
        ({"high": math.inf}, "high"),
        ({"low": 0.0}, "low"),
        ({"high": 98.0}, "below low"),
        ({"high": 101.0}, "close 102.0 is outside"),
        ({"low": 100.5}, "open 100.0 is outside"),
        ({"session_date": date(2013, 2, 23)}, "no session of the exchange"),
        ({"session_date": date(2013, 2, 19)}, "duplicate session 2013-02-19"),
        ({"session_date": None}, "session_date"),
    ],
)
def test_a_bad_row_is_rejected_and_the_others_stay(changes: dict[str, Any], reason: str) -> None:
    bad = row(20, **changes)
    found = cleaned(row(19), bad, row(21), row(22))
    assert [(bar.session_date.day, bar.sequence) for bar in found.bars] == [(19, 0), (21, 1), (22, 2)]
    assert [rejected.position for rejected in found.rejected] == [1]
    assert reason in found.rejected[0].reason
    assert found.rejected[0].original == raw_json(bad)
    assert found.fetched == 4
    assert found.missing == (date(2013, 2, 20),)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"dividends": NAN}, "dividend"),
        ({"dividends": -0.1}, "dividend"),
        ({"stock_splits": -2.0}, "split"),
        ({"stock_splits": math.inf}, "split"),
    ],
)
def test_an_action_that_cannot_be_is_rejected_without_its_bar(changes: dict[str, Any], kind: str) -> None:
    found = cleaned(row(19), row(20, **changes), row(21))
    assert [bar.session_date.day for bar in found.bars] == [19, 20, 21]
    assert (found.bars[1].dividends, found.bars[1].stock_splits, found.rejected) == (0.0, 0.0, ())
    (rejected,) = found.rejected_actions
    assert (rejected.position, rejected.kind) == (1, kind)
    assert next(iter(changes)) in rejected.original.decode()
    # Where the bar itself is rejected, the action is there with it.
    both = cleaned(row(19), row(20, close=NAN, **changes))
    assert (len(both.rejected), both.rejected_actions) == (1, ())


def test_volume_that_no_row_has_is_none() -> None:
    found = cleaned(row(19, volume=NAN), row(20, volume=None), row(21, volume=0.0), row(22, volume=math.inf))
    assert [(bar.session_date.day, bar.volume) for bar in found.bars] == [(19, 0), (20, 0), (21, 0)]
    assert (found.no_volume, [rejected.position for rejected in found.rejected]) == (True, [3])
    assert not cleaned(row(19, volume=NAN), row(20)).no_volume


def paid(day: int, amount: float, currency: str | None = None) -> Action:
    return Action(date(2013, 2, day), "dividend", amount, currency, {"amount": amount})


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (paid(21, 102.0), "not below the close before it"),
        (paid(21, 250.0), "not below the close before it"),
        (paid(27, 102.0), "not below the close before it"),
        (paid(21, 101.9), None),
        (paid(19, 500.0), None),  # what was before the first bar, others know
        (paid(21, 15_000.0, "VND"), "a dividend in VND, prices in USD"),
        (paid(21, 0.5, "GBp"), "a dividend in GBp"),
        (paid(21, 0.5, "USD"), None),
    ],
)
def test_a_dividend_that_the_prices_cannot_be_adjusted_for_is_rejected_without_its_bar(
    action: Action, reason: str | None
) -> None:
    rows = [row(day, dividends=action.value if day == action.day.day else 0.0) for day in (19, 20, 21, 22)]
    fields = dataclasses.replace(FIELDS, currency="USD")
    found = clean(rows, fields, wanted_days(WEEK, SESSIONS, SESSIONS), SESSIONS, [action])
    assert (len(found.bars), found.rejected) == (4, ())
    if reason is None:
        assert (found.rejected_actions, len(found.actions)) == ((), 1)
        return
    (rejected,) = found.rejected_actions
    assert (rejected.kind, rejected.position, found.actions) == ("dividend", 3 if action.day.day == 27 else 2, ())
    assert reason in rejected.reason
    assert str(action.value) in rejected.original.decode()
    assert {bar.dividends for bar in found.bars} == {0.0}


def test_out_of_order_is_rejected() -> None:
    found = cleaned(row(19), row(21), row(20), row(22))
    assert [bar.session_date.day for bar in found.bars] == [19, 21, 22]
    assert "out of order" in found.rejected[0].reason


def test_a_broken_row_does_not_displace_a_good_one_of_the_same_session() -> None:
    found = cleaned(row(19), row(20, close=NAN), row(20), row(21))
    assert [(bar.session_date.day, bar.sequence) for bar in found.bars] == [(19, 0), (20, 1), (21, 2)]
    assert [rejected.position for rejected in found.rejected] == [1]


def test_a_session_that_has_not_closed_and_days_outside_the_period_are_left_out() -> None:
    found = cleaned(row(14), row(19), row(20), row(21), row(22), row(25), closed=SESSIONS[:-1])
    assert [bar.session_date.day for bar in found.bars] == [19, 20, 21]
    assert (found.left_out, found.fetched, found.rejected) == (3, 3, ())


@pytest.mark.parametrize(
    ("changes", "high", "low"),
    [
        ({"high": math.nextafter(102.0, 0)}, 102.0, 99.0),
        ({"low": math.nextafter(100.0, 200)}, 103.0, 100.0),
        ({"high": 102.0 * (1 - 9e-10)}, 102.0, 99.0),
    ],
)
def test_dust_is_repaired(changes: dict[str, float], high: float, low: float) -> None:
    found = cleaned(row(19, **changes))
    assert (found.bars[0].high, found.bars[0].low, found.widened) == (high, low, 1)


def test_more_than_dust_is_not_repaired() -> None:
    found = cleaned(row(19, high=102.0 * (1 - 2e-9)))
    assert (len(found.bars), len(found.rejected), found.widened) == (0, 1, 0)


NUMBERS = st.one_of(st.floats(), st.none(), st.sampled_from([0.0, -1.0, 1e-320, 1e308, 99.0, 100.0]))
DAYS = st.one_of(st.none(), st.sampled_from(WEEK))


@given(
    st.lists(
        st.fixed_dictionaries({"session_date": DAYS} | dict.fromkeys(set(row(19)) - {"session_date"}, NUMBERS)),
        max_size=8,
    )
)
def test_any_rows_are_judged_without_loss(rows: list[dict[str, Any]]) -> None:
    found = cleaned(*rows)
    assert len(found.bars) + len(found.rejected) + found.left_out == len(rows)
    days = [bar.session_date for bar in found.bars]
    assert days == sorted(set(days))
    assert set(days) <= set(SESSIONS)
    assert [bar.sequence for bar in found.bars] == list(range(len(found.bars)))
    for rejected in found.rejected:
        assert json.loads(rejected.original).keys() == rows[rejected.position].keys()


@given(st.floats(min_value=0.01, max_value=1e6), st.integers(-4, 4), st.integers(-4, 4))
def test_widening_moves_nothing_but_high_and_low_and_by_dust_only(price: float, up: int, down: int) -> None:
    high, low = price, price
    for _ in range(abs(up)):
        high = math.nextafter(high, math.inf if up > 0 else 0)
    for _ in range(abs(down)):
        low = math.nextafter(low, math.inf if down > 0 else 0)
    before = row(19, open=price, close=price, high=high, low=low)
    after = widened_range(before)
    assert after["low"] <= price <= after["high"]
    assert abs(after["high"] - high) <= 1e-9 * price
    assert {name: after[name] for name in before if name not in ("high", "low")} == {
        name: before[name] for name in before if name not in ("high", "low")
    }


@pytest.mark.parametrize(
    ("seconds", "settings", "last"), [(30, {}, 21), (900, {}, 22), (30, {"settle_minutes": 0}, 22), (-1, {}, 21)]
)
def test_a_bar_is_final_some_minutes_after_the_close(seconds: int, settings: dict[str, Any], last: int) -> None:
    closes = datetime(2013, 2, 22, 21, tzinfo=UTC)
    answer = Answer(
        symbol="IBM",
        source=Source.REPLAY,
        status=SymbolStatus.OK,
        fetched_at=closes + timedelta(seconds=seconds),
        reason="",
        request={},
        rows=pa.Table.from_pylist([row(day) for day in (19, 20, 21, 22)], schema=ROWS),
    )
    period = Period(WEEK[0], WEEK[-1])
    catalog = CatalogSettings(uri="sqlite:///none")
    found = _clean(answer, Run("run", WEEK[-1]), period, SESSIONS, FetchSettings(catalog=catalog, **settings))
    assert (found.bars[-1].session_date.day, found.left_out) == (last, 22 - last)
