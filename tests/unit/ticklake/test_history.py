"""History as known at a moment: from facts in memory; what can be asked for; and that equal rows are equal files."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import talib

from ticklake import history
from ticklake.errors import IntegrityError
from ticklake.facts import Facts
from ticklake.history import NothingKnownError
from ticklake.history_options import day, moment

NOW = datetime(2026, 3, 2, 15, 30, tzinfo=UTC)
FIRST = datetime(2024, 3, 1, 22, tzinfo=UTC)
SPLIT_KNOWN = datetime(2024, 3, 8, 22, tzinfo=UTC)
REVISED = datetime(2024, 3, 9, 22, tzinfo=UTC)
WITHDRAWN = datetime(2024, 3, 12, 22, tzinfo=UTC)
DAYS = [date(2024, 2, 27), date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 7), date(2024, 3, 8)]


def frame(columns: list[str], rows: list[tuple[Any, ...]], date_column: str) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(
        **{date_column: pd.to_datetime(found[date_column]), "known_at": pd.to_datetime(found["known_at"], utc=True)}
    )


def facts() -> Facts:
    """100 a share, a dividend of 2; later a split 4:1, a revision, and a dividend that is withdrawn."""
    bars = [
        ("S", DAYS[n], at, batch, "USD", close, close + 1, close - 1, close, volume)
        for n, at, batch, close, volume in (
            (0, FIRST, "a", 100.0, 1000),
            (1, FIRST, "a", 102.0, 1000),
            (2, FIRST, "a", 104.0, 1000),
            (3, SPLIT_KNOWN, "b", 26.0, 4001),
            (4, SPLIT_KNOWN, "b", 27.0, 4000),
            (1, REVISED, "c", 101.0, 1100),
        )
    ]
    actions = [
        ("S", date(2024, 2, 29), FIRST, "a", "USD", "dividend", 2.0, False),
        ("S", date(2024, 3, 7), SPLIT_KNOWN, "b", "USD", "split", 4.0, False),
        ("S", date(2024, 3, 8), SPLIT_KNOWN, "b", "USD", "dividend", 1.0, False),
        ("S", date(2024, 3, 8), WITHDRAWN, "d", "USD", "dividend", 1.0, True),
    ]
    of_bars = ["symbol", "session_date", "known_at", "batch_id", "currency", "open", "high", "low", "close", "volume"]
    of_actions = ["symbol", "ex_date", "known_at", "batch_id", "currency", "kind", "value", "withdrawn"]
    return Facts(frame(of_bars, bars, "session_date"), frame(of_actions, actions, "ex_date"))


def column(table: pa.Table, name: str) -> list[Any]:
    values: list[Any] = table[name].to_pylist()
    return values


def test_what_was_known_before_the_split_is_on_its_own_basis() -> None:
    before = history.bars_of(facts(), as_of=SPLIT_KNOWN - timedelta(seconds=1))
    assert column(before, "session_date") == DAYS[:3]
    assert column(before, "close") == [100, 102, 104]
    assert column(before, "volume") == [1000, 1000, 1000]
    assert column(before, "dividends") == [0, 0, 2]
    assert set(column(before, "known_at")) == {FIRST}


def test_a_version_counts_from_the_moment_that_it_was_known() -> None:
    at = history.bars_of(facts(), as_of=SPLIT_KNOWN)
    assert column(at, "close") == [25, 25.5, 26, 26, 27]
    assert column(at, "volume") == [4000, 4000, 4000, 4001, 4000]
    assert column(at, "dividends") == [0, 0, 0.5, 0, 1]
    assert column(at, "stock_splits") == [0, 0, 0, 4, 0]
    assert column(history.bars_of(facts(), as_of=REVISED), "close")[1] == 25.25
    assert column(history.bars_of(facts(), as_of=WITHDRAWN), "dividends")[4] == 0
    now = history.bars_of(facts())
    assert now.equals(history.bars_of(facts(), as_of=WITHDRAWN))
    assert set(column(now, "known_at")) == {WITHDRAWN}


def test_the_three_adjustments() -> None:
    none, splits, fully = (history.bars_of(facts(), adjust=adjust) for adjust in ("none", "splits", "all"))
    assert column(none, "close") == [100, 101, 104, 26, 27]
    assert column(none, "volume") == [1000, 1100, 1000, 4001, 4000]
    assert column(none, "dividends") == [0, 0, 2, 0, 0]
    assert column(none, "stock_splits") == [0, 0, 0, 4, 0]
    assert column(splits, "close") == [25, 25.25, 26, 26, 27]
    kept = 1 - 2 / 101  # of the close before it, as revised
    assert column(fully, "close") == pytest.approx([25 * kept, 25.25 * kept, 26, 26, 27])
    assert column(fully, "high") == pytest.approx([25.25 * kept, 25.5 * kept, 26.25, 27, 28])
    assert column(fully, "volume") == column(splits, "volume")
    assert none.schema == splits.schema == fully.schema == history.BARS


def test_until_a_day_leaves_later_sessions_and_actions_out_but_not_corrections() -> None:
    found = history.bars_of(facts(), until=date(2024, 3, 6))
    assert column(found, "session_date") == DAYS[:3]
    assert column(found, "close") == [100, 101, 104]
    assert set(column(found, "known_at")) == {REVISED}
    assert column(history.bars_of(facts(), until=date(2024, 3, 7)), "close") == [25, 25.25, 26, 26]
    both = history.bars_of(facts(), until=date(2024, 3, 6), as_of=SPLIT_KNOWN)
    assert column(both, "close") == [100, 102, 104]


def test_indicators_as_of_a_moment_are_talibs_on_that_history() -> None:
    sessions = pd.bdate_range("2023-01-02", periods=300)
    close = 100 + np.cumsum(np.random.default_rng(3).normal(0, 1, 300))
    bars = pd.DataFrame(
        {
            "symbol": "S",
            "session_date": sessions,
            "known_at": pd.to_datetime(sessions, utc=True),
            "batch_id": "a",
            "currency": "USD",
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": 1000,
        }
    )
    known = Facts(bars, facts().actions.iloc[:0])
    at = datetime(2024, 1, 31, 23, tzinfo=UTC)
    table = history.analytics(known, as_of=at)
    prices = close[: len(bars[bars["known_at"] <= at])]
    assert table.num_rows == len(prices) == 283
    assert table.schema == history.ANALYTICS
    frame = table.to_pandas()
    np.testing.assert_array_equal(frame["sma_50"], talib.SMA(prices, 50))
    np.testing.assert_array_equal(frame["rsi_14"], talib.RSI(prices, 14))
    returns = pd.Series(np.log(prices)).diff()
    np.testing.assert_allclose(frame["volatility_20"], returns.rolling(20).std() * 252**0.5, rtol=1e-9)
    np.testing.assert_allclose(frame["log_return"], returns, rtol=1e-9)
    np.testing.assert_array_equal(frame["drawdown"], prices / np.maximum.accumulate(prices) - 1)
    assert frame["history_sessions"].tolist() == list(range(1, 284))
    assert table["volatility_20"].null_count == 20
    assert history.analytics(known, until=sessions[0].date())["change"].to_pylist() == [None]


def test_before_anything_was_known_and_before_the_first_session() -> None:
    says = r"nothing of S was known at 2024-03-01T21:59:59\.999Z; the first answer is of 2024-03-01T22:00:00\.000Z"
    with pytest.raises(NothingKnownError, match=says):
        history.bars_of(facts(), as_of=FIRST - timedelta(microseconds=1))
    with pytest.raises(NothingKnownError, match="the first session known of S is 2024-02-27, after 2024-02-26"):
        history.bars_of(facts(), until=date(2024, 2, 26))
    for early in ({"as_of": datetime(1, 1, 1, tzinfo=UTC)}, {"until": date(1, 1, 1)}):
        for adjust in ("none", "all"):
            with pytest.raises(NothingKnownError):
                history.bars_of(facts(), adjust=adjust, **early)


def test_a_dividend_above_the_close_is_no_traceback() -> None:
    odd = facts()
    odd.actions.loc[0, "value"] = 150.0
    with pytest.raises(IntegrityError, match="S: the dividend of 2024-02-29 is not below the close before it"):
        history.bars_of(odd)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-01-31", datetime(2026, 1, 31, 23, 59, 59, 999_999, UTC)),
        ("2026-03-02", datetime(2026, 3, 2, 23, 59, 59, 999_999, UTC)),
        ("2026-01-31T21:00:00Z", datetime(2026, 1, 31, 21, tzinfo=UTC)),
        ("2026-01-31T21:00:00+02:00", datetime(2026, 1, 31, 19, tzinfo=UTC)),
        ("2026-03-03T04:00:00+13:00", datetime(2026, 3, 2, 15, tzinfo=UTC)),
    ],
)
def test_moments(text: str, found: datetime) -> None:
    assert moment(text, NOW) == found


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "neither a date"),
        ("yesterday", "neither a date"),
        ("2026-02-30", "neither a date"),
        ("2026-01-31T21:00:00", "has no offset"),
        ("2026-01-31T21:00:00 02:00", "%2B in an address"),
        ("2026-03-03", "is in the future"),
        ("2026-03-02T15:30:01Z", "is in the future"),
        ("0001-01-01T00:00:00+14:00", "neither a date"),
        ("9999-12-31T23:59:59-14:00", "neither a date"),
    ],
)
def test_moments_that_are_none(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as caught:
        moment(text, NOW)
    assert "\n" not in str(caught.value)


def test_days() -> None:
    assert day("2026-03-02", NOW) == date(2026, 3, 2)
    for text, says in (("2026-03-03", "in the future"), ("2026-03-02T10:00:00Z", "not a date"), ("", "not a date")):
        with pytest.raises(ValueError, match=says):
            day(text, NOW)


def test_equal_rows_are_equal_files_whatever_they_came_from() -> None:
    one = history.bars_of(facts(), adjust="all")
    stored = history.analytics(facts())
    # As PyIceberg gives it: in pieces, with metadata, and every column nullable.
    schema = pa.schema([field.with_nullable(True).with_metadata({"x": "y"}) for field in stored.schema])
    pieces = pa.concat_tables([stored.slice(0, 2).cast(schema), stored.slice(2).cast(schema)])
    other = history.priced(pieces, "all")
    for form in ("csv", "parquet"):
        assert history.encoded(one, form) == history.encoded(other, form)
