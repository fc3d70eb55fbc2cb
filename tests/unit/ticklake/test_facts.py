"""Facts as traded: the inverse of Yahoo's adjustment, what counts as a change, and no matter in which order."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from fetch_historical.recordings import Bars, adjust
from ticklake import facts
from ticklake.adjustment import Actions, later_dividends, later_splits
from ticklake.facts import ACTION_KEY, BAR_KEY, Changes, Facts
from ticklake.records import Source, known_at
from ticklake.tables import CORPORATE_ACTIONS, DAILY_BARS, arrow_schema

SESSIONS = tuple(day.date() for day in pd.bdate_range("2024-01-01", periods=40))
SCHEMAS = tuple(arrow_schema(table.columns) for table in (DAILY_BARS, CORPORATE_ACTIONS))


def read(*tables: pa.Table) -> Facts:
    return Facts(*(table.to_pandas(date_as_object=False) for table in tables))


NOTHING = read(*(schema.empty_table() for schema in SCHEMAS))


def traded(*, splits: dict[int, float] | None = None, dividends: dict[int, float] | None = None) -> Bars:
    """Forty sessions as traded, whose price falls where a split is."""
    ratios, cash = np.zeros(len(SESSIONS)), np.zeros(len(SESSIONS))
    for place, ratio in (splits or {}).items():
        ratios[place] = ratio
    for place, value in (dividends or {}).items():
        cash[place] = value
    scale = np.cumprod(np.where(ratios > 0, ratios, 1.0))
    close = np.round((100 + np.arange(len(SESSIONS)) % 7) / scale, 2)
    return Bars(SESSIONS, close - 0.5, close + 1, close - 1, close, np.rint(10_000 * scale), cash, ratios)


def answer(bars: Bars, at: datetime, batch: str, *, change: dict[int, float] | None = None, jitter: int = 0) -> Facts:
    """What a source that knows `bars` answers at `at`, as traded again.

    Args:
        change: by place, a factor for that session's prices.
        jitter: seed of the noise of a source's prices; 0 for none.
    """
    given = adjust(bars)
    factor = np.ones(len(given.sessions))
    for place, value in (change or {}).items():
        factor[place] = value
    if jitter:
        factor = factor * (1 + np.random.default_rng(jitter).uniform(-4e-7, 4e-7, len(factor)))
    days = pd.to_datetime(pd.Series(given.sessions)).dt.as_unit("s")
    frame = pd.DataFrame(
        {"symbol": "AAPL", "session_date": days, "volume": given.volume, "currency": "USD"}
        | {name: getattr(given, name) * factor for name in ("open", "high", "low", "close")}
    )
    found = [
        ("AAPL", day, kind, value, "USD")
        for kind, values in (("split", given.splits), ("dividend", given.dividends))
        for day, value in zip(days, values, strict=True)
        if value
    ]
    actions = pd.DataFrame(found, columns=[*ACTION_KEY, "value", "currency"])
    actions["ex_date"] = pd.to_datetime(actions["ex_date"]).dt.as_unit("s")
    stamps = {"known_at": pd.Timestamp(at), "source": "yahoo", "batch_id": batch, "batch_date": at.date()}
    return facts.as_traded(frame.assign(**stamps), actions.assign(**stamps))


def stored(known: Facts, changes: Changes) -> Facts:
    """The tables after an append."""
    parts = ((known.bars, changes.rows.bars), (known.actions, changes.rows.actions))
    return read(
        *(
            pa.concat_tables(pa.Table.from_pandas(rows, schema, preserve_index=False) for rows in both)
            for both, schema in zip(parts, SCHEMAS, strict=True)
        )
    )


def recorded(*answers: Facts) -> Facts:
    known = NOTHING
    for one in answers:
        known = stored(known, facts.compare(one, known))
    return known


def night(number: int) -> datetime:
    return datetime(2024, 3, 1, 22, tzinfo=UTC) + timedelta(days=number)


def test_what_a_source_adjusted_for_splits_comes_back_as_traded() -> None:
    bars = traded(splits={10: 4.0, 25: 0.1, 30: 1.5}, dividends={5: 0.25, 28: 0.5})
    found = answer(bars, night(0), "b")
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(found.bars[name], getattr(bars, name), rtol=1e-12)
    assert (abs(found.bars["volume"] - bars.volume) <= found.bars["unit"]).all()
    by_kind = dict(tuple(found.actions.groupby("kind")))
    np.testing.assert_allclose(by_kind["dividend"]["value"], [0.25, 0.5])
    assert by_kind["split"]["value"].tolist() == [4.0, 0.1, 1.5]


def test_adjusting_is_that_of_the_source() -> None:
    bars = traded(splits={10: 4.0, 25: 0.1}, dividends={5: 0.25, 10: 0.3, 28: 0.5})
    given, days = adjust(bars), np.array(SESSIONS, "datetime64[D]")
    actions = Actions(days[[10, 25]], np.array([4.0, 0.1]), days[[5, 10, 28]], np.array([0.25, 0.3, 0.5]))
    split = later_splits(days, actions)
    np.testing.assert_allclose(bars.close / split, given.close, rtol=1e-12)
    factor = later_dividends(days, bars.close, actions)
    np.testing.assert_allclose(bars.close / split * factor, given.adj_close, rtol=1e-12)


def test_a_dividend_as_high_as_the_price_is_rejected() -> None:
    days = np.array(SESSIONS, "datetime64[D]")
    actions = Actions(days[:0], np.array([]), days[[5]], np.array([500.0]))
    with pytest.raises(ValueError, match=f"dividend of {SESSIONS[5]} is not below"):
        later_dividends(days, traded().close, actions)


def test_a_dividend_whose_close_before_is_not_known_has_no_effect() -> None:
    """Sessions of 2010 that were asked for later come with all dividends since; their closes are others."""
    days = np.array(["2010-12-30", "2010-12-31", "2016-03-01", "2016-03-02"], "datetime64[D]")
    paid = {
        "2010-12-31": 1.0,
        "2011-01-31": 2.0,
        "2011-02-01": 50.0,
        "2015-06-01": 50.0,
        "2016-03-01": 50.0,
        "2016-03-02": 5.0,
        "2016-09-01": 50.0,
    }
    actions = Actions(days[:0], np.array([]), np.array(list(paid), "datetime64[D]"), np.array(list(paid.values())))
    factor = later_dividends(days, np.array([10.0, 20.0, 100.0, 100.0]), actions)
    np.testing.assert_allclose(factor, [0.9 * 0.9 * 0.95, 0.9 * 0.95, 0.95, 1.0], rtol=1e-12)


def test_dividends_that_no_history_can_be_adjusted_for_are_counted() -> None:
    """Those on an answer's first day show only beside what is known from before."""
    known = recorded(answer(traded(), night(0), "b0"))

    def count(bars: Bars) -> dict[str, int]:
        return facts.great_dividends(known, facts.compare(answer(bars, night(1), "b1"), known))

    assert count(traded(dividends={5: 0.25})) == {}
    assert count(traded(dividends={0: 500.0})) == {}
    assert count(traded(dividends={5: 500.0, 9: 600.0, 20: 0.25})) == {"AAPL": 2}
    # Paid in shares of which four were one before.
    assert count(traded(splits={9: 4.0}, dividends={9: 40.0})) == {"AAPL": 1}
    assert count(traded(splits={9: 4.0}, dividends={9: 10.0})) == {}
    assert facts.great_dividends(NOTHING, facts.compare(answer(traded(), night(0), "b0"), NOTHING)) == {}


def test_the_same_answer_again_changes_nothing() -> None:
    first = answer(traded(dividends={5: 0.25}), night(0), "b0")
    known = recorded(first)
    assert len(known.bars) == len(SESSIONS)
    again = facts.compare(answer(traded(dividends={5: 0.25}), night(1), "b1"), known)
    part = again.symbols["AAPL"]
    assert (part.new, part.unchanged, part.revised, part.actions_new) == (0, len(SESSIONS), 0, 0)
    assert again.rows.bars.empty
    assert again.rows.actions.empty


def test_thirty_jittered_nights_revise_nothing_and_each_planted_change_is_found() -> None:
    known, planted = NOTHING, {3: {7: 1.1}, 11: {20: 1 + 3e-6}, 29: {0: 0.5}}
    values: dict[int, float] = {}
    for number in range(30):
        values |= planted.get(number, {})
        one = answer(traded(), night(number), f"b{number:02}", change=values, jitter=number + 1)
        changes = facts.compare(one, known)
        expected = len(planted.get(number, {})) if number else 0
        assert changes.symbols["AAPL"].revised == expected, number
        if expected:
            place = next(iter(planted[number]))
            (row,) = changes.revisions.itertuples()
            assert row.session_date.date() == SESSIONS[place]
            assert row.close / row.close_before == pytest.approx(planted[number][place], abs=1e-6)
        known = stored(known, changes)
    assert len(known.bars) == len(SESSIONS) + len(planted)


def test_a_new_split_or_dividend_is_an_action_and_changes_no_bar() -> None:
    known = recorded(answer(traded(dividends={5: 0.25}), night(0), "b0"))
    # Two more events that the source has put into all its older prices.
    bars = traded(dividends={5: 0.25})
    later = Bars(
        (*SESSIONS, date(2024, 3, 4)),
        *(np.append(column, column[-1] / 4) for column in (bars.open, bars.high, bars.low, bars.close)),
        np.append(bars.volume, 40_000.0),
        np.append(bars.dividends, 0.1),
        np.append(bars.splits, 4.0),
    )
    changes = facts.compare(answer(later, night(3), "b1"), known)
    part = changes.symbols["AAPL"]
    assert (part.new, part.unchanged, part.revised) == (1, len(SESSIONS), 0)
    assert (part.actions_new, part.actions_revised, part.actions_withdrawn) == (2, 0, 0)


def test_an_action_that_the_source_no_longer_has_is_withdrawn_and_can_come_back() -> None:
    known = recorded(answer(traded(dividends={5: 0.25, 9: 0.4}), night(0), "b0"))
    gone = facts.compare(answer(traded(dividends={9: 0.4}), night(1), "b1"), known)
    assert gone.symbols["AAPL"].actions_withdrawn == 1
    known = stored(known, gone)
    assert len(facts.in_force(known.actions, ACTION_KEY)) == 1
    assert len(facts.in_force(known.actions, ACTION_KEY, as_of=night(0))) == 2
    back = facts.compare(answer(traded(dividends={5: 0.25, 9: 0.4}), night(2), "b2"), known)
    assert back.symbols["AAPL"].actions_new == 1
    assert len(facts.in_force(stored(known, back).actions, ACTION_KEY)) == 2


def test_an_action_before_the_first_bar_is_not_withdrawn() -> None:
    known = recorded(answer(traded(dividends={5: 0.25}), night(0), "b0"))
    short = answer(traded(), night(1), "b1")
    short = Facts(short.bars.iloc[10:], short.actions)
    assert facts.compare(short, known).symbols["AAPL"].actions_withdrawn == 0


def test_every_order_of_batches_gives_the_same_history() -> None:
    """A provisional close, a jittered night, a split with a dividend, and a backfill that is recorded late."""
    early, full = traded(dividends={5: 0.25}), traded(splits={30: 4.0}, dividends={5: 0.25, 33: 0.1})
    backfill = answer(full, night(4), "b4", jitter=5)  # of an old date, asked for last: with all splits up to then
    batches = [
        answer(early.until(SESSIONS[28]), night(0), "b0", change={28: 1.1}),
        answer(early.until(SESSIONS[29]), night(1), "b1", jitter=3),
        answer(full.until(SESSIONS[33]), night(2), "b2", jitter=4),
        answer(full, night(3), "b3"),
        Facts(backfill.bars[:21], backfill.actions),
    ]

    def seen(known: Facts) -> list[str]:
        shown = []
        for moment in (None, night(1), night(3)):
            for rows, key in ((known.bars, BAR_KEY), (known.actions, ACTION_KEY)):
                found = facts.in_force(rows, key, as_of=moment)
                values = ["open", "high", "low", "close", "volume"] if key is BAR_KEY else ["value"]
                shown.append(found[[*key, *values]].to_csv(index=False))
        return shown

    expected = seen(recorded(*batches))
    orders = 0

    def go_on(known: Facts, left: list[Facts]) -> None:
        nonlocal orders
        if not left:
            assert seen(known) == expected
            orders += 1
        for place, one in enumerate(left):
            go_on(stored(known, facts.compare(one, known)), left[:place] + left[place + 1 :])

    go_on(NOTHING, batches)
    assert orders == 120


def test_a_retry_finds_the_same_changes_and_nothing_left_to_append() -> None:
    known = recorded(answer(traded(), night(0), "b0"))
    one = answer(traded(dividends={5: 0.25}), night(1), "b1", change={3: 1.2})
    first = facts.compare(one, known)
    after = stored(known, first)
    later = stored(after, facts.compare(answer(traded(), night(2), "b2"), after))
    for tables in (after, later):
        again = facts.compare(one, tables)
        assert again.symbols == first.symbols
        assert again.rows.bars.empty
        assert again.rows.actions.empty
    half = Facts(known.bars, after.actions)
    assert len(facts.compare(one, half).rows.bars) == 1


def test_a_replayed_answer_is_known_on_the_evening_that_it_plays() -> None:
    asked = datetime(2026, 1, 5, 12, tzinfo=UTC)
    assert known_at(Source.YAHOO, asked, date(2005, 2, 25)) == asked
    assert known_at(Source.REPLAY, asked, date(2005, 2, 25)).date() == date(2005, 2, 25)
    assert known_at(Source.SIMULATED, asked, date(2026, 1, 5)) == asked
