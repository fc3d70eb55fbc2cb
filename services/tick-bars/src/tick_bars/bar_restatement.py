"""Bars of the hours that ticks came for, recomputed from all ticks of these hours."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial

import pyarrow as pa
from pyiceberg.expressions import BooleanExpression

from tick_bars import bars
from tick_bars.hours import HOUR, MINUTE, Span, hours_of, hours_within, sessions, spans, trading_minutes
from tick_bars.silent_minutes import Silence
from tick_bars.table_progress import Ends, Note, notes, unmoved
from ticklake.catalog import LakeTables, between, matching, one_of
from ticklake.tables import TICK_BARS, TICKS

_TICK_COLUMNS = ("symbol", "source", "event_time", "sequence", "price", "volume")
ROWS_AT_ONCE = 500_000
"""Ticks that may be in memory together; the work on them takes about 400 MB."""


@dataclass(frozen=True)
class Restated:
    """Rows of a commit."""

    bars: int = 0
    silent: int = 0


@dataclass(frozen=True)
class Restating:
    """The bars of one flow in one namespace."""

    tables: LakeTables
    namespace: str
    flow: str
    calendar: str
    run_id: str

    def run(self, end: datetime, ends: Ends) -> Restated:
        """Make the bars of hours that ticks came for since they were made last, and of sessions that closed since.

        Spans of silence go first and the bars' note last, so what is repeated after a crash is all of it.

        Args:
            end: of the latest hour of arrival whose ticks are in the table `ticks`.
            ends: up to where the archive's ledger is in it.

        Raises:
            IntegrityError: the numbers of ticks do not agree.
            StageError: another run changed the bars meanwhile.
        """
        made = notes(self.tables, self.namespace, TICK_BARS, self.flow)
        last = made[0] if made else None
        hours = self._touched(last) if last is None or last.ends != ends else set()
        if last is None and not hours:
            return Restated()
        since = last.until if last is not None else None
        until = max(end, since or end)
        closed = self._sessions(hours, since, until)
        over = {hour for hour in {*hours, *hours_within(since or end - HOUR, end)} if hour + HOUR <= until}
        judged = {hour: trading for hour in over if (trading := trading_minutes(self.calendar, hour))}
        if not hours and not closed and not judged:
            return Restated()
        found = self._bars(hours, closed)
        check = partial(unmoved, self.tables, self.namespace, TICK_BARS, self.flow, last)
        silent = Silence(self.tables, self.namespace, self.flow, self.run_id).run(judged, hours, found, check)
        note = Note(flow=self.flow, ends=ends, until=until, first=last is None)
        where = self._filter(hours, closed)
        self.tables.replace(self.namespace, TICK_BARS, self.run_id, found, where, note.properties(), check)
        return Restated(found.num_rows, silent)

    def _touched(self, last: Note | None) -> set[datetime]:
        """Hours of event time with ticks that are not in the bars yet."""
        found: set[datetime] = set()
        for note in notes(self.tables, self.namespace, TICKS, self.flow):
            if last is not None and note.ends == last.ends:
                return found
            found.update(note.hours)
            if last is None and note.first:
                return found
        # The notes in between have expired with their snapshots.
        rows = self.tables.read(self.namespace, TICKS, matching(flow=[self.flow]), ("event_time",))
        return found.union(hours_of(rows["event_time"]))

    def _sessions(self, hours: Collection[datetime], since: datetime | None, until: datetime) -> dict[date, Span]:
        """The sessions that are over at `until` and have ticks in `hours` or have closed since."""
        days = {hour.date() for hour in (*hours, *hours_within(since or until, until))}
        found: dict[date, Span] = {}
        for day, (opens, closes) in sessions(self.calendar, days).items():
            ticked = any(hour < closes and hour + HOUR > opens for hour in hours)
            if closes <= until and (ticked or (since is not None and closes > since)):
                found[day] = opens, closes
        return found

    def _bars(self, hours: Collection[datetime], closed: Mapping[date, Span]) -> pa.Table:
        """The bars of whole hours and sessions."""
        of_sessions = {hour for span in closed.values() for hour in hours_within(*span)}
        kept: dict[datetime, pa.Table] = {}
        made = [bars.SCHEMA.empty_table()]
        for hour in sorted({*hours, *of_sessions}):
            sums, ticks = self._minutes(hour)
            if hour in of_sessions:
                kept[hour] = sums
            if hour in hours:
                made.append(bars.intraday(sums, ticks))
        for day, span in sorted(closed.items()):
            own = pa.concat_tables([kept[hour] for hour in hours_within(*span)])
            made.append(bars.session(own, day, *span))
        whole = pa.concat_tables(made)
        return whole.append_column("flow", pa.repeat(pa.scalar(self.flow, pa.string()), whole.num_rows))

    def _minutes(self, hour: datetime) -> tuple[pa.Table, int]:
        """The sums of an hour's minutes and the number of ticks, read a part of the hour at a time if it has many."""
        of_day = matching(flow=[self.flow], event_date=[hour.date().isoformat()])
        rows = matching(of_day, between("event_time", hour, hour + HOUR))
        most = sum(file["rows"] for file in self.tables.files(self.namespace, TICKS, rows))
        step = max(1, 60 // (1 + most // ROWS_AT_ONCE)) * MINUTE
        sums: list[pa.Table] = []
        start, count = hour, 0
        while start < hour + HOUR:
            end = min(start + step, hour + HOUR)
            found = self.tables.read(
                self.namespace, TICKS, matching(of_day, between("event_time", start, end)), _TICK_COLUMNS
            )
            sums.append(bars.minutes(found))
            start, count = end, count + found.num_rows
        return pa.concat_tables(sums), count

    def _filter(self, hours: Collection[datetime], closed: Mapping[date, Span]) -> BooleanExpression:
        """What the bars of these hours and sessions replace."""
        within = one_of(between("bar_start", *span) for span in spans(hours, HOUR))
        days = {hour.date().isoformat() for hour in hours}
        within = matching(within, bar_length=bars.INTRADAY, bar_date=days)
        of_sessions = matching(bar_length=[bars.SESSION], bar_date=[day.isoformat() for day in closed])
        chosen = [*([within] if hours else ()), *([of_sessions] if closed else ())]
        return matching(matching(flow=[self.flow]), one_of(chosen))
