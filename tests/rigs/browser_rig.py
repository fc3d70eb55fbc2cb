"""An open page as the tests see it, and a dashboard with a live flow of its own."""

import itertools
import json
import os
import random
import uuid
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from dashboard_rig import Dashboard, Lake, TickSender, dashboard_running

from ticklake.alerts import Alert
from ticklake.kafka import ConfirmedProducer, ensure_topics
from ticklake.records import Source, Tick, iso_ms
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import live_topics
from ticklake_local.platform import Platform

PICTURES = os.environ.get("TICKLAKE_PICTURES")
"""Folder for the pictures of the README."""
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 360, "height": 740}
NETWORK_CHANGED = "ERR_NETWORK_CHANGED"
PRICES = {"AAPL": 430.0, "IBM": 202.5, "MSFT": 27.9}


@dataclass
class Page:
    """One open page and what went wrong on it."""

    tab: Any
    url: str
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    away: bool = False
    """Whether answers other than 2xx are part of the test; the browser logs each as an error."""

    def open(self, view: str = "", ready: str | None = "#quotes tbody tr") -> "Page":
        """Go to a view and wait until `ready` is seen."""
        for _ in range(4):
            self.tab.goto(f"{self.url}/{view}")
            # Chromium breaks off what it loads when a network interface comes or goes, as when a container starts.
            if not any(NETWORK_CHANGED in error for error in self.errors):
                break
            self.errors.clear()
        if ready:
            self.tab.wait_for_selector(ready)
        return self

    def note(self, message: Any) -> None:
        """Keep what the page logged, with the address that it is about."""
        self.errors.append(f"{message.text} {message.location.get('url', '')}")

    def faults(self) -> list[str]:
        """What the page logged as an error and should not have."""
        expected = [NETWORK_CHANGED, *(["Failed to load resource"] if self.away else [])]
        return [error for error in self.errors if not any(each in error for each in expected)]

    def chart(self, name: str) -> dict[str, Any]:
        """The data of a chart, read from the chart library once it is drawn."""
        self.until(f"window.ticklake?.chart({name!r})")
        found: dict[str, Any] = self.tab.evaluate(f"window.ticklake.chart({name!r})")
        return found

    def until(self, expression: str) -> None:
        """Wait until the expression is true on the page."""
        # As a function: an expression would be evaluated by the page itself, which its content security policy forbids.
        self.tab.wait_for_function(f"() => {expression}")

    def text(self, selector: str) -> str:
        """What a person reads there."""
        return str(self.tab.inner_text(selector))

    def wait_text(self, selector: str, part: str) -> None:
        """Wait until the text of `selector` has `part` in it."""
        self.tab.wait_for_function(
            "([s, part]) => [...document.querySelectorAll(s)].some((e) => e.innerText.includes(part))",
            arg=[selector, part],
        )

    def picture(self, name: str) -> None:
        """Save a picture where pictures are asked for."""
        if PICTURES:
            self.tab.wait_for_timeout(1200)
            self.tab.screenshot(path=Path(PICTURES) / f"{name}.png")


@dataclass
class Site:
    """A dashboard with its live flow."""

    server: Dashboard
    kafka: KafkaSettings
    live: LiveSettings
    ticks: TickSender

    def put(self, topic: str, key: str, value: str) -> None:
        """Send one message."""
        with ConfirmedProducer(self.kafka, "test", linger_ms=0) as producer:
            producer.send(topic, key=key.encode(), value=value.encode())

    def alert(self, **more: Any) -> Alert:
        """Send an alert, as market-alerts does."""
        now = datetime.now(UTC)
        alert = Alert(
            **{
                "alert_id": uuid.uuid4().hex,
                "rule": "big-move",
                "symbol": "AAPL",
                "kind": "change_percent",
                "severity": "warning",
                "message": "AAPL rose 1.4 % within 15 minutes",
                "value": 1.4,
                "threshold": 1.0,
                "event_time": now,
                "raised_at": now,
                "source": Source.SIMULATED,
                "state": "raised",
            }
            | more
        )
        self.put(self.live.names.alerts_topic, alert.symbol, alert.model_dump_json())
        return alert

    def windows(self, symbol: str = "AAPL", closed: int = 60, without: Container[int] = ()) -> None:
        """Send an hour of closed 15-minute windows and one that runs, as stream-analytics does; some can be missing."""
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        with ConfirmedProducer(self.kafka, "test") as producer:
            for n in (each for each in range(closed + 1) if each not in without):
                end = now - timedelta(minutes=closed - 1 - n)
                mean = PRICES[symbol] + n / 20
                value = {
                    "symbol": symbol,
                    "window_length": "15m",
                    "window_start": iso_ms(end - timedelta(minutes=15)),
                    "window_end": iso_ms(end),
                    "open": mean - 0.2,
                    "high": mean + 0.6,
                    "low": mean - 0.5,
                    "close": mean + 0.1,
                    "vwap": mean,
                    "volume": 3000 + n,
                    "tick_count": 450,
                    "moving_average": mean,
                    "volatility": 0.25,
                    "first_event_time": iso_ms(end - timedelta(minutes=15)),
                    "last_event_time": iso_ms(end - timedelta(seconds=2)),
                    "source": "simulated",
                    "version": n + 1,
                    "final": n < closed,
                }
                producer.send(
                    self.live.names.analytics_topic, key=f"{symbol}{n}".encode(), value=json.dumps(value).encode()
                )


def _past(kafka: KafkaSettings, topic: str) -> None:
    """Ten minutes of ticks that end four cents above `PRICES`."""
    start = datetime.now(UTC) - timedelta(seconds=600)
    with ConfirmedProducer(kafka, "test") as producer:
        for symbol, price in PRICES.items():
            chance = random.Random(symbol)
            walk = list(itertools.accumulate(chance.gauss(0, price / 4000) for _ in range(60)))
            for n, step in enumerate(walk):
                tick = Tick(
                    symbol=symbol,
                    price=round(price + 0.04 + step - walk[-1] * n / 59, 2),
                    volume=100,
                    event_time=start + timedelta(seconds=10 * n),
                    sequence=n,
                    producer_run="past",
                    source=Source.SIMULATED,
                )
                producer.send(topic, key=symbol.encode(), value=tick.model_dump_json().encode())


@contextmanager
def site_running(
    platform: Platform, programs: Path, lake: Lake, folder: Path, ticks: bool = True, **more: str
) -> Iterator[Site]:
    """A dashboard on a lake and a live flow of its own."""
    live = LiveSettings(namespace=f"page-{uuid.uuid4().hex[:8]}")
    ensure_topics(platform.kafka, live_topics(live.names))
    sender = TickSender(platform.kafka, live.names.topic)
    if ticks:
        _past(platform.kafka, live.names.topic)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TICKLAKE_")}
    own = lake.env | {"TICKLAKE_LIVE_NAMESPACE": live.namespace}
    with dashboard_running(programs, kept | platform.stage_env() | own, folder, **more) as server:
        yield Site(server, platform.kafka, live, sender)
