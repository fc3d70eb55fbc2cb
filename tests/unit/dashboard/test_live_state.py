"""Live prices and windows in memory."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from dashboard.live.prices import LiveState
from dashboard.live.windows import WindowState
from ticklake.records import Source, Tick, iso_ms

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


class Feed:
    def __init__(self, exchange: str = "XNYS", **limits: int) -> None:
        self.state = LiveState(**({"ticks_per_symbol": 100, "most_symbols": 10} | limits), exchange=exchange)
        self.sequence = 0

    def __call__(
        self,
        price: float,
        at: float = 0,
        *,
        symbol: str = "A",
        volume: int = 1,
        source: str = "simulated",
        arrived: float | None = None,
        sequence: int | None = None,
        run: str = "r",
    ) -> bool:
        self.sequence += 1
        tick = Tick(
            symbol=symbol,
            price=price,
            volume=volume,
            event_time=NOON + timedelta(seconds=at),
            source=Source(source),
            sequence=self.sequence if sequence is None else sequence,
            producer_run=run,
        )
        since = at if arrived is None else arrived
        return self.state.add(tick, round((NOON.timestamp() + since) * 1000))

    def quote(self, close: float | None = None) -> dict:
        return self.state.quote("A", close, full=True)


def test_change_is_against_the_close_or_else_the_first_tick():
    feed = Feed()
    feed(100.0, 0)
    feed(110.0, 1)
    assert (feed.quote()["change"], feed.quote()["change_since"]) == (10.0, "first_tick")
    against = feed.quote(88.0)
    assert (against["change"], round(against["change_percent"], 9), against["previous_close"]) == (22.0, 25.0, 88.0)
    assert against["change_since"] == "previous_close"


def test_ticks_out_of_order_do_not_turn_the_price_back():
    feed = Feed()
    feed(10.0, 5, arrived=5)
    feed(7.0, 1, arrived=6)
    quote = feed.quote()
    assert (quote["price"], quote["low"], quote["sparkline"]) == (10.0, 7.0, [7.0, 10.0])
    assert quote["event_time"] == NOON + timedelta(seconds=5)


def test_a_tick_that_is_sent_twice_counts_once():
    feed = Feed()
    assert feed(10.0, sequence=1, volume=5)
    assert not feed(10.0, sequence=1, volume=5)
    assert feed(10.0, sequence=1, volume=5, run="other")
    assert feed.quote()["volume"] == 10


def test_a_new_trading_day_begins_anew_and_a_late_tick_of_yesterday_is_not_in_it():
    feed = Feed()
    feed(10.0, 3 * 3600, volume=5)
    # After hours in New York, past midnight UTC, and before hours of the next day.
    feed(12.0, 13 * 3600, volume=6)
    assert (feed.quote()["low"], feed.quote()["volume"]) == (10.0, 11)
    feed(20.0, 21 * 3600, volume=7)
    feed(1.0, 13 * 3600, volume=9)
    quote = feed.quote()
    assert (quote["high"], quote["low"], quote["volume"]) == (20.0, 20.0, 7)


@pytest.mark.parametrize(
    ("exchange", "hours"),
    [("XASX", (11, 12, 16)), ("XNYS", (2.5, 9, 12.9)), ("CMES", (12, 24, 32)), ("24/7", (-11, 0, 11.9))],
)
def test_a_session_across_midnight_is_one_day(exchange: str, hours: tuple[float, ...]):
    feed = Feed(exchange)
    for number, hour in enumerate(hours):
        feed(10.0 - number, hour * 3600)
    quote = feed.quote()
    assert (quote["high"], quote["low"], quote["volume"]) == (10.0, 8.0, 3)


def test_days_that_no_calendar_knows_are_those_of_utc():
    for feed in (Feed("NOPE"), Feed()):
        feed(10.0, 400 * 365 * 86_400 // 2)
        feed(9.0, 400 * 365 * 86_400 // 2 + 3600)
        assert feed.quote()["volume"] == 2


def test_a_second_source_takes_over_only_from_one_that_fell_silent():
    feed = Feed()
    feed(10.0, 0)
    assert not feed(99.0, 1, source="alpha_vantage")
    assert feed.quote()["price"] == 10.0
    assert feed(99.0, 31, source="alpha_vantage")
    assert (feed.quote()["source"], feed.quote()["sparkline"]) == ("alpha_vantage", [99.0])
    assert feed.state.newest() == (round((NOON.timestamp() + 31) * 1000), "alpha_vantage")


def test_memory_is_bounded():
    feed = Feed(ticks_per_symbol=50, most_symbols=2)
    for number in range(1000):
        feed(float(number + 1), number)
    source, held = feed.state.ticks("A", 5000)
    assert (source, len(held), held[-1].price) == ("simulated", 50, 1000.0)
    assert len(feed.state._symbols["A"].ticks) <= 56
    assert feed(1.0, symbol="B")
    assert not feed(1.0, symbol="C")
    assert (feed.state.symbols(), feed.state.left_out()) == (["A", "B"], ["C"])
    for number in range(1000):
        feed(1.0, symbol=f"D{number}")
    assert len(feed.state.left_out()) == 100


def test_the_sparkline_has_sixty_points_with_both_ends():
    feed = Feed(ticks_per_symbol=500)
    for number in range(400):
        feed(float(number + 1), number)
    line = feed.quote()["sparkline"]
    assert (len(line), line[0], line[-1], sorted(line)) == (60, 1.0, 400.0, line)


def test_changed_symbols_are_reported_once():
    feed = Feed()
    feed(1.0)
    feed(2.0, 1)
    feed(1.0, symbol="B")
    assert feed.state.take_changed() == {"A", "B"}
    assert feed.state.take_changed() == set()
    feed(3.0, 2)
    assert feed.state.take_changed() == {"A"}


def message(minute: int, version: int, *, final: bool = False, source: str = "simulated", mean: float = 10.0) -> bytes:
    start = NOON + timedelta(minutes=minute)
    times = {
        "window_start": start,
        "window_end": start + timedelta(minutes=15),
        "first_event_time": start,
        "last_event_time": start + timedelta(seconds=min(version, 60)),
    }
    return json.dumps(
        {
            "symbol": "A",
            "window_length": "15m",
            **{name: iso_ms(value) for name, value in times.items()},
            "open": 1.0,
            "high": 1.0,
            "low": 1.0,
            "close": 1.0,
            "vwap": 1.0,
            "volume": 1,
            "tick_count": 1,
            "moving_average": mean,
            "volatility": None,
            "source": source,
            "version": version,
            "final": final,
        }
    ).encode()


def starts(windows: list[dict]) -> list[int]:
    return [round((window["window_start"] - NOON).total_seconds() / 60) for window in windows]


def test_the_running_window_is_the_one_that_closes_next():
    state = WindowState()
    for minute in range(5):
        assert state.add(message(minute, 1))
    assert starts(state.running()) == [0]
    assert state.add(message(0, 9, final=True))
    assert starts(state.running()) == [1]
    # All that are open now began after a pause: the old ones never heard of their end.
    assert state.add(message(60, 1))
    assert starts(state.running()) == [60]


def test_an_older_version_never_replaces_a_newer_one():
    state = WindowState()
    assert state.add(message(0, 5, mean=5.0))
    assert not state.add(message(0, 4, mean=4.0))
    assert state.add(message(0, 2**53 - 1, final=True, mean=6.0))
    assert not state.add(message(0, 6, mean=7.0))
    (window,) = state.find("A", "15m")
    assert (window["moving_average"], window["final"]) == (6.0, True)


def test_changed_windows_are_the_closed_and_the_fullest_running_ones():
    state = WindowState()
    for minute in range(3):
        state.add(message(minute, 1))
    state.add(message(0, 9, final=True))
    assert sorted(starts(state.take_changed())) == [0, 1]
    assert state.take_changed() == []
    assert not state.add(b"{}")


def test_windows_of_two_sources_are_not_mixed():
    state = WindowState()
    state.add(message(0, 1, source="alpha_vantage"))
    state.add(message(1, 2, source="simulated"))
    assert [window["source"] for window in state.find("A", "15m")] == ["simulated"]
    assert [window["source"] for window in state.find("A", "15m", "alpha_vantage")] == ["alpha_vantage"]
    assert state.find("A", "1h") == []
