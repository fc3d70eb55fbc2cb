"""Everything that the routes answer from, put together once."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from dashboard.api.models import QuoteChanges, Status, Window
from dashboard.api.models_platform import Hello
from dashboard.lake.daily_history import DailyLake
from dashboard.lake.facts import FactsLake
from dashboard.lake.row_cache import RowCache
from dashboard.lake.store_guard import StoreGuard
from dashboard.lake.windows import WindowLake
from dashboard.live.alerts import AlertState
from dashboard.live.consumer import LiveConsumer
from dashboard.live.hub import Hub
from dashboard.live.prices import LiveState
from dashboard.live.rules import RulesReader
from dashboard.live.windows import WindowState
from dashboard.metrics import Metrics
from dashboard.platform.alerts import PlatformAlertsReader
from dashboard.platform.consumer_lag import LagReader
from dashboard.platform.held_symbols import HeldView
from dashboard.platform.quarantine import QuarantineView
from dashboard.platform.runs import Runs
from dashboard.settings import DashboardSettings
from dashboard.status import Watcher
from ticklake.catalog import LakeTables
from ticklake.errors import StageError
from ticklake.objects import ObjectStore

_READERS = 16
"""Objects of runs and quarantine that are read at a time."""
_HELLO_ALERTS = 20
_STOP_SECONDS = 2.0
_BUSY_SECONDS = 60.0
"""How long after a request the store is checked as often as while a page is open."""


class Service:
    """The state behind the API. `start` needs a running event loop."""

    def __init__(self, settings: DashboardSettings, metrics: Metrics) -> None:
        options = settings.dashboard
        self.settings, self.options, self.metrics = settings, options, metrics
        timeout = min(settings.store.timeout_seconds, options.store_timeout_seconds)
        store = settings.store.model_copy(update={"timeout_seconds": timeout})
        self.guard = StoreGuard(ObjectStore(store), options.refresh_seconds)

        def tables() -> StoreGuard[LakeTables]:
            return StoreGuard(LakeTables(settings.catalog, store), options.refresh_seconds)

        self.tables, cache = tables(), RowCache(options.lake_cache_bytes)
        self.lake = DailyLake(self.guard, self.tables, options.refresh_seconds, cache)
        self.facts = FactsLake(tables(), options.refresh_seconds, cache)
        self.closed_windows = WindowLake(tables(), settings.live, options.refresh_seconds)
        self._readers = ThreadPoolExecutor(_READERS, "lake")
        self.runs = Runs(self.guard, options.refresh_seconds, self._readers)
        self.held = HeldView(self.guard, options.refresh_seconds)
        self.quarantine = QuarantineView(self.guard, options.refresh_seconds, self._readers)
        self.live = LiveState(options.ticks_per_symbol, options.live_symbols, settings.calendar)
        self.windows, self.alerts = WindowState(), AlertState()
        self.lag = LagReader(settings.kafka, settings.live.names)
        self.platform_alerts = PlatformAlertsReader(settings.dashboard.alertmanager_address)
        self.rules = RulesReader(settings.kafka, settings.live.names)
        self.hub: Hub | None = None
        self._asked = 0.0
        self.watcher = Watcher(
            settings, self.lake, self.live, metrics, self._busy, lambda: self._hub_call("status_changed")
        )
        self.consumer = LiveConsumer(
            settings, self.live, self.windows, self.alerts, metrics, lambda: self._hub_call("wake")
        )
        self.watcher.consumer = self.consumer

    def start(self) -> Hub:
        """Start reading; to be called within the event loop that serves."""
        self.hub = Hub(self.hello, self.changes, self.status, self.metrics)
        self.watcher.start()
        self.consumer.start()
        return self.hub

    def stop(self) -> None:
        """Stop reading."""
        for thread in (self.consumer, self.watcher):
            thread.stop()
        self._readers.shutdown(wait=False, cancel_futures=True)
        for thread in (self.consumer, self.watcher):
            if thread.is_alive():
                thread.join(_STOP_SECONDS)

    def touch(self) -> None:
        """Note that somebody asks."""
        self._asked = time.monotonic()

    def _busy(self) -> bool:
        streams = self.hub.open_streams if self.hub is not None else 0
        return streams > 0 or time.monotonic() - self._asked < _BUSY_SECONDS

    def _hub_call(self, name: str) -> None:
        if self.hub is not None:
            getattr(self.hub, name)()

    def refresh_lake(self) -> None:
        """See which rows there are. A lake that is away is answered from what is known, if anything is.

        Raises:
            StageError: nothing is known and the store does not answer.
        """
        try:
            self.lake.refresh()
        except StageError:
            if not self.lake.listed():
                raise

    def expect_broker(self) -> None:
        """Spare a request the wait for a broker that is known to be away.

        Raises:
            StageError: it is.
        """
        if self.consumer.away:
            raise StageError(self.consumer.failure)

    def quotes(self) -> list[dict[str, Any]]:
        """All live prices in full, by symbol."""
        closes = self.watcher.previous_closes()
        return [self.live.quote(symbol, close, full=True) for symbol, close in sorted(closes.items())]

    def hello(self) -> Hello:
        """What a page begins with."""
        return Hello.model_validate(
            {
                "quotes": self.quotes(),
                "windows": self.windows.running(),
                "alerts": self.alerts.newest(_HELLO_ALERTS),
                "status": self.watcher.status(),
            }
        )

    def status(self) -> Status:
        """The state of everything."""
        return Status.model_validate(self.watcher.status())

    def changes(self) -> list[tuple[str, Any]]:
        """Events for the pages, as (event, data); everything since the last call."""
        found: list[tuple[str, Any]] = []
        changed = self.live.take_changed()
        if changed:
            closes = self.watcher.previous_closes()
            items = [self.live.quote(symbol, closes.get(symbol), full=False) for symbol in sorted(changed)]
            found.append(("quotes", QuoteChanges.model_validate({"items": items})))
            self._observe(items)
        found += [("window", Window.model_validate(window)) for window in self.windows.take_changed()]
        found += [("alert", alert) for alert in self.alerts.take_new()]
        return found

    def _observe(self, items: list[dict[str, Any]]) -> None:
        now = datetime.now(UTC)
        for item in items:
            self.metrics.delay.observe(max(0.0, (now - item["arrived_at"]).total_seconds()))
