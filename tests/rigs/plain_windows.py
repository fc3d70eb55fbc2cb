"""Ticks as they are sent, and windows by a plain computation to compare with."""

import json
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

Key = tuple[str, str, str, datetime]
START = datetime(2026, 1, 30, 14, 30, tzinfo=UTC)
DELAY = timedelta(minutes=5)
"""Of the watermark, unless a test sets it."""
LENGTHS = {"15m": timedelta(minutes=15), "1h": timedelta(hours=1)}
KINDS = {"15m": (timedelta(minutes=15), timedelta(minutes=1)), "1h": (timedelta(hours=1), timedelta(minutes=5))}


@dataclass(frozen=True)
class Sent:
    """One tick as it was sent."""

    symbol: str
    price: float
    volume: int
    event_time: datetime
    sequence: int

    def message(self) -> bytes:
        value = {
            "schema_version": 1,
            "symbol": self.symbol,
            "price": self.price,
            "volume": self.volume,
            "event_time": f"{self.event_time:%Y-%m-%dT%H:%M:%S}.{self.event_time.microsecond // 1000:03d}Z",
            "sequence": self.sequence,
            "producer_run": "test",
            "source": "simulated",
        }
        return json.dumps(value).encode()


def earliest_start(moment: datetime, length: timedelta, slide: timedelta) -> datetime:
    """The first multiple of the slide after moment - length."""
    since = moment - length - datetime(1970, 1, 1, tzinfo=UTC)
    return datetime(1970, 1, 1, tzinfo=UTC) + (since // slide + 1) * slide


def plain_windows(
    ticks: Iterable[Sent],
    *,
    kinds: dict[str, tuple[timedelta, timedelta]] = KINDS,
    missed: Callable[[Sent, datetime], bool] = lambda *_: False,
) -> dict[Key, dict[str, Any]]:
    """Every window of the ticks; `missed` says that a tick came too late for the window with that end."""
    groups: dict[Key, list[Sent]] = {}
    for tick in ticks:
        for name, (length, slide) in kinds.items():
            start = earliest_start(tick.event_time, length, slide)
            while start <= tick.event_time:
                if not missed(tick, start + length):
                    groups.setdefault((tick.symbol, "simulated", name, start), []).append(tick)
                start += slide
    return {key: _values(sorted(found, key=lambda t: (t.event_time, t.sequence))) for key, found in groups.items()}


def _values(ticks: list[Sent]) -> dict[str, Any]:
    prices, volume = [tick.price for tick in ticks], sum(tick.volume for tick in ticks)
    return {
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume": volume,
        "vwap": math.fsum(t.price * t.volume for t in ticks) / volume if volume else statistics.fmean(prices),
        "tick_count": len(ticks),
        "moving_average": statistics.fmean(prices),
        "volatility": statistics.stdev(prices) if len(prices) > 1 else None,
        "first_event_time": ticks[0].event_time,
        "last_event_time": ticks[-1].event_time,
    }


def assert_windows(seen: dict[Key, dict[str, Any]], expected: dict[Key, dict[str, Any]]) -> None:
    """The same windows with the same values; floats to 1e-12 of their size."""
    assert seen.keys() == expected.keys()
    for key, wanted in expected.items():
        for name, value in wanted.items():
            if isinstance(value, float):
                assert seen[key][name] == pytest.approx(value, rel=1e-12, abs=1e-9 if name == "volatility" else 0)
            else:
                assert seen[key][name] == value, (key, name)


def closed_by(windows: dict[Key, dict[str, Any]], newest: Sent) -> dict[Key, dict[str, Any]]:
    """The windows that are closed once `newest` is the newest tick."""
    watermark = newest.event_time - DELAY
    return {key: value for key, value in windows.items() if key[3] + LENGTHS[key[2]] <= watermark}


def minutely(minutes: range) -> list[Sent]:
    """A tick of two symbols each minute, and so a window of each that closes each minute."""
    return [
        Sent(symbol, 100.0 + minute, 5, START + timedelta(minutes=minute), minute)
        for minute in minutes
        for symbol in ("AAPL", "MSFT")
    ]
