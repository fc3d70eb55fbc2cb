"""The state of everything in one look, kept up by a thread so that no request waits for it."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from dashboard.lake.daily_history import DailyLake
from dashboard.live.consumer import LiveConsumer
from dashboard.live.prices import LiveState
from dashboard.metrics import Metrics
from dashboard.settings import DashboardSettings
from ticklake import calendar, logs
from ticklake.errors import ConfigurationError, StageError
from ticklake.records import Source

log = logs.get(__name__)

_LOOK_AHEAD = timedelta(days=14)
_IDLE_SECONDS = 30.0
"""Time between two checks of the store while no page is open."""

_SAME_KIND = {Source.ALPHA_VANTAGE.value: Source.YAHOO.value}
"""Live source to the daily one whose closes its changes are measured against; the others go by their own name."""


class Watcher(threading.Thread):
    """Looks after the store, the exchange's hours and the closes that live prices are measured against.

    Args:
        busy: whether a page is open.
        on_change: called when the store, the broker or the live flow changed state.
    """

    def __init__(
        self,
        settings: DashboardSettings,
        lake: DailyLake,
        live: LiveState,
        metrics: Metrics,
        busy: Callable[[], bool],
        on_change: Callable[[], None],
    ) -> None:
        super().__init__(name="watcher", daemon=True)
        self._settings, self._lake, self._live, self._metrics = settings, lake, live, metrics
        self._busy, self._on_change = busy, on_change
        self._stopping = threading.Event()
        self._market: dict[str, Any] | None = None
        self._zone: ZoneInfo | None = None
        self._reported: tuple[object, ...] = ()
        self.consumer: LiveConsumer | None = None
        """The reader of the live topics, whose failure is reported."""

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def run(self) -> None:
        """Watch until asked to stop."""
        looked: float | None = None
        while not self._stopping.is_set():
            try:
                pause = self._settings.dashboard.refresh_seconds if self._busy() or looked is None else _IDLE_SECONDS
                if looked is None or time.monotonic() - looked >= pause:
                    self._refresh_lake()
                    looked = time.monotonic()
                self._update_market()
                self._notify_changes()
            except Exception as error:
                log.error("looking after the state failed", exc_info=error)
            self._stopping.wait(1)

    def _refresh_lake(self) -> None:
        try:
            self._lake.refresh()
        except StageError as error:
            log.debug("the lake cannot be read", error=str(error))
        self._metrics.store_up.set(0 if self._lake.failure else 1)

    def _update_market(self) -> None:
        now, market = datetime.now(UTC), self._market
        if market is not None and now < (market["next_close"] if market["open"] else market["next_open"]):
            return
        code = self._settings.calendar
        try:
            self._zone = self._zone or ZoneInfo(calendar.zone(code))
            self._market = market_hours(code, now)
        except ConfigurationError as error:
            log.error("no exchange hours", error=str(error))
            self._stopping.wait(_IDLE_SECONDS)

    def _notify_changes(self) -> None:
        state = (self._lake.failure == "", self.broker()["state"], self.live_state()["state"])
        if self._reported and state != self._reported:
            self._on_change()
        self._reported = state

    def previous_close(self, symbol: str) -> float | None:
        """The last daily close before the session of a symbol's newest tick, as far as it is known by now."""
        found = self._live.session_dates().get(symbol)
        return None if found is None else self._close_before(symbol, *found)

    def previous_closes(self) -> dict[str, float | None]:
        """The same for every live symbol."""
        return {symbol: self._close_before(symbol, *found) for symbol, found in self._live.session_dates().items()}

    def _close_before(self, symbol: str, source: str, moment: datetime) -> float | None:
        summary = self._lake.summary(symbol, _SAME_KIND.get(source, source))
        return summary.close_before(moment.astimezone(self._zone or UTC).date()) if summary else None

    def broker(self) -> dict[str, str]:
        """Whether the broker answers."""
        consumer = self.consumer
        if consumer is None or consumer.failure:
            return {"state": "error", "detail": consumer.failure if consumer else "not asked yet"}
        detail = f"no topic {', '.join(consumer.missing)} yet" if consumer.missing else ""
        return {"state": "ok", "detail": detail}

    def live_state(self) -> dict[str, Any]:
        """The live flow as `models.LiveState` has it."""
        symbols = {"symbols": self._live.symbols(), "left_out": self._live.left_out()}
        newest = self._live.newest()
        if newest is None:
            return {"state": "empty", "source": None, "last_tick": None, "age_seconds": None, **symbols}
        arrived_ms, source = newest
        age = max(0.0, time.time() - arrived_ms / 1000)
        state = "stale" if age > self._settings.dashboard.stale_seconds else "live"
        last = datetime.fromtimestamp(arrived_ms / 1000, UTC)
        return {"state": state, "source": source, "last_tick": last, "age_seconds": round(age, 3), **symbols}

    def status(self) -> dict[str, Any]:
        """Everything, as `models.Status` has it."""
        live = self.live_state()
        failure = self._lake.failure
        sources = self._lake.sources()
        if live["source"] and live["source"] not in sources:
            sources.append(live["source"])
        return {
            "now": datetime.now(UTC),
            "version": self._settings.code_version,
            "calendar": self._settings.calendar,
            "zone": str(self._zone) if self._zone else None,
            "market": self._market,
            "live": live,
            "store": {"state": "error" if failure else "ok", "detail": failure},
            "broker": self.broker(),
            "data_sources": sources,
        }


def market_hours(code: str, now: datetime) -> dict[str, Any]:
    """The exchange's hours around `now` as `models.Market` has them.

    Raises:
        ConfigurationError: there is no such calendar.
    """
    day = now.date()
    upcoming = [
        (calendar.session_open(code, session), calendar.session_close(code, session))
        for session in calendar.sessions(code, day - timedelta(days=1), day + _LOOK_AHEAD)
    ]
    ahead = [hours for hours in upcoming if hours[1] > now]
    next_open = next(opens for opens, _ in ahead if opens > now)
    return {"open": ahead[0][0] <= now, "next_open": next_open, "next_close": ahead[0][1]}
