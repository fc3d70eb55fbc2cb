"""`ticklake live`: the page, ticks, archive, streaming analytics, alerts and the daily batch, until Ctrl-C."""

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fetch_historical.recordings import recorded
from ticklake import calendar
from ticklake.catalog import LakeTables
from ticklake.errors import ExitCode, StageError
from ticklake.pipeline import LOAD_LIVE, TICK_BARS
from ticklake.records import Source
from ticklake.tables import DAILY_ANALYTICS, namespace_of
from ticklake_local import batch_source
from ticklake_local.batch import run_stage
from ticklake_local.data_folder import DataFolder
from ticklake_local.live_services import (
    ARCHIVE_TICKS,
    BATCH_EXPORTER,
    CHECK_RULES,
    DASHBOARD,
    MARKET_ALERTS,
    STREAM_ANALYTICS,
    STREAM_TICKS,
    Service,
)
from ticklake_local.platform import Platform
from ticklake_local.processes import free_port, port_in_use
from ticklake_local.report import Journal, plain_console
from ticklake_local.run import new_run_id, run_into, running_platform
from ticklake_local.stage_host_client import Hosts

_AFTER_CLOSE = timedelta(minutes=30)
"""Yahoo's bar of a session settles some minutes after the close."""
_LOAD_EVERY = timedelta(minutes=10)
_BARS_AFTER = timedelta(minutes=5)
"""By then the archive has written what came in the hour before."""
_SAY_EVERY_SECONDS = 10
_LONGEST_PAUSE_SECONDS = 30
_PAGE_PORT = 8000


_BEHIND_THE_PAGE = (BATCH_EXPORTER, STREAM_ANALYTICS, ARCHIVE_TICKS, MARKET_ALERTS, STREAM_TICKS)
"""In the order of their start; stopped the other way round, the producer first, then those who read from it."""


@dataclass(frozen=True)
class LiveOptions:
    """What `ticklake live` was called with."""

    folder: Path
    cache: Path
    source: str = "auto"
    symbols: str | None = None
    calendar: str = "XNYS"


def live(options: LiveOptions) -> None:
    """Run until SIGINT or SIGTERM, then stop everything cleanly.

    Raises:
        StageError: a service cannot run with its settings.
    """
    console = plain_console()
    folder = DataFolder.at(options.folder)
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    with (
        folder.locked("run"),
        running_platform(folder, options.cache, console.print) as (here, hosts),
        ExitStack() as stack,
    ):
        page_port = os.environ.get("TICKLAKE_DASHBOARD_PORT") or str(_page_port())
        asked = batch_source.choose(options.source, None, options.symbols, console.print)
        watched = [_Watched(service) for service in _services(here, page_port, asked)]
        lake = LakeTables(here.catalog, here.store)
        if all(lake.version(namespace_of(source), DAILY_ANALYTICS) is None for source in Source):
            # Simulated prices start at the last closes, so they wait for the first.
            watched[-1].start_at = math.inf
            console.print("The lake is empty: ticks start after the first batch, at its closes")
        for each in watched:
            stack.callback(each.service.stop)
            if each.start_at is None:
                each.service.start()
        console.print(
            f"Live: {_ticks_from()}, archive, streaming analytics and the daily batch; Ctrl-C stops everything"
        )
        console.print(f"  See it at http://127.0.0.1:{page_port}")
        for each in watched:
            console.print(f"  {each.service.program}: metrics at http://127.0.0.1:{each.service.port}/metrics")
        worker = stack.enter_context(ThreadPoolExecutor(1, "batch"))
        # Before the pool waits for its job: a batch that is under way ends with its host, and a retry is safe.
        stack.callback(hosts.stop)
        _Loop(options, here, hosts, watched, worker, console.print, stop, asked).run()
        console.print("Stopping everything …")
        for each in reversed(watched):
            code = each.service.stop()
            if code not in (ExitCode.DONE, None):
                console.print(f"{each.service.program} ended with exit code {code}; see {each.service.log}")


@dataclass
class _Watched:
    """A service and when to start it, first or again after it ended; infinite: after the first batch."""

    service: Service
    failures: int = 0
    start_at: float | None = None


@dataclass
class _Loop:
    options: LiveOptions
    platform: Platform
    hosts: Hosts
    watched: list[_Watched]
    worker: ThreadPoolExecutor
    say: Callable[[str], None]
    stop: threading.Event
    asked: batch_source.BatchInput | None
    """Of the first batch; later ones ask again."""
    next_batch: datetime = field(default_factory=lambda: datetime.now(UTC))
    next_load: datetime = field(default_factory=lambda: datetime.now(UTC) + _LOAD_EVERY)
    job: Future[None] | None = None

    def run(self) -> None:
        reported = time.monotonic()
        while not self.stop.wait(0.5):
            self.platform.check()
            for each in self.watched:
                self._restart(each)
            self._schedule()
            if time.monotonic() - reported >= _SAY_EVERY_SECONDS:
                reported = time.monotonic()
                self.say(self._status())

    def _restart(self, each: _Watched) -> None:
        """Start a service again that ended, later each time it does."""
        service = each.service
        if each.start_at is not None:
            if time.monotonic() >= each.start_at:
                each.start_at = None
                service.start()
            return
        if service.child is None or (code := service.child.poll()) is None:
            return
        if code == ExitCode.UNUSABLE:
            raise StageError(f"{service.program} cannot run with its settings: {service.child.tail(1)}")
        pause = min(2**each.failures, _LONGEST_PAUSE_SECONDS)
        each.failures += 1
        each.start_at = time.monotonic() + pause
        self.say(f"{service.program} ended with exit code {code}; starting it again in {pause} s. Its log ends:")
        self.say(service.child.tail(10))

    def _schedule(self) -> None:
        if self.job is not None:
            if not self.job.done():
                return
            if (error := self.job.exception()) is not None:
                if not isinstance(error, StageError):
                    raise error
                self.say(f"The scheduled work failed: {error}")
            self.job = None
            for each in self.watched:
                if each.start_at == math.inf:
                    each.start_at = time.monotonic()
        now = datetime.now(UTC)
        if now >= self.next_batch:
            self.next_batch = next_batch_time(self.options.calendar, now)
            self.job = self.worker.submit(self._batch)
        elif now >= self.next_load:
            self.next_load = now + _LOAD_EVERY
            self.job = self.worker.submit(self._load, now)

    def _load(self, now: datetime) -> None:
        """Make the bars of the last full hour, then bring windows and bars into the warehouse."""
        hour = (now - _BARS_AFTER).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
        run_id, host = new_run_id(), self.hosts.python
        of_hour = ["--date", f"{hour:%Y-%m-%d}", "--hour", str(hour.hour), "--run-id", run_id]
        # Who starts amid a session has been silent before.
        flow = {"TICKLAKE_LIVE_NAMESPACE": "", "TICKLAKE_BARS_MAX_SILENCE_SECONDS": "0"}
        run_stage(self.platform, host, TICK_BARS, of_hour, flow, self.say)
        run_stage(self.platform, host, LOAD_LIVE, ["--run-id", run_id], flow, self.say)

    def _batch(self) -> None:
        asked = self.asked or batch_source.choose(self.options.source, None, self.options.symbols, self.say)
        self.asked = None
        journal = Journal(new_run_id())
        run_into(journal, self.platform, self.hosts, asked, self.say)
        self.say(f"Batch {journal.run_id} reconciled; the next is due {self.next_batch:%Y-%m-%d %H:%M} UTC")

    def _status(self) -> str:
        by_name = {each.service.program: each.service for each in self.watched}
        sent = by_name[STREAM_TICKS].metric("ticklake_stream_ticks_ticks_total")
        archived = by_name[ARCHIVE_TICKS].metric("ticklake_archive_ticks_rows_total")
        closed = by_name[STREAM_ANALYTICS].metric("ticklake_stream_analytics_closed_windows_total")
        return (
            f"{datetime.now(UTC):%H:%M:%S} UTC  ticks sent {sent:,.0f}  archived {archived:,.0f}  "
            f"windows closed {closed:,.0f}"
        )


def _services(here: Platform, page_port: str, asked: batch_source.BatchInput) -> list[Service]:
    """The page, what checks the alert rules, and all that they look at; what sends ticks comes last."""
    behind = [Service(name, here, "") for name in _BEHIND_THE_PAGE]
    if symbols := _live_symbols(asked):
        behind[-1] = Service(STREAM_TICKS, here, "", STREAM_SYMBOLS=symbols)
    targets = ",".join(f"{each.program}=http://127.0.0.1:{each.port}/metrics" for each in behind)
    rules = Service(CHECK_RULES, here, "", RULES_TARGETS=targets, RULES_DISK=str(here.folder.root))
    page = Service(
        DASHBOARD, here, "", DASHBOARD_PORT=page_port, DASHBOARD_ALERTMANAGER=f"http://127.0.0.1:{rules.port}"
    )
    return [page, rules, *behind]


def _live_symbols(asked: batch_source.BatchInput) -> str | None:
    """The symbols to have ticks of, where not the usual: those that have a daily history too."""
    if os.environ.get("TICKLAKE_STREAM_SYMBOLS"):
        return None
    return asked.symbols or (",".join(sorted(recorded())) if asked.source is Source.REPLAY else None)


def _page_port() -> int:
    """The page's usual port, for a bookmark's sake; another where that is taken."""
    return free_port() if port_in_use(_PAGE_PORT) else _PAGE_PORT


def _ticks_from() -> str:
    if os.environ.get("TICKLAKE_ALPHA_VANTAGE_API_KEY"):
        return "ticks from Alpha Vantage"
    return "simulated ticks (Alpha Vantage's with TICKLAKE_ALPHA_VANTAGE_API_KEY)"


def next_batch_time(calendar_code: str, now: datetime) -> datetime:
    """When the next batch is due: after the close of the first session that has not closed for that long at `now`."""
    day = now.date()
    for session in calendar.sessions(calendar_code, day - timedelta(days=1), day + timedelta(days=14)):
        due = calendar.session_close(calendar_code, session) + _AFTER_CLOSE
        if due > now:
            return due
    raise StageError(f"the calendar {calendar_code} has no session within two weeks of {day}")
