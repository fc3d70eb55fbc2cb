"""Archived ticks to the table `ticks`, each once, and what the archive lacks of its offsets to `tick_gaps`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tick_bars import bars
from tick_bars.hours import hours_of, spans_of
from tick_bars.pending_ranges import Found, Part
from tick_bars.table_progress import Ends, Note, ends_of_ticks, merged, notes, unmoved
from ticklake import logs
from ticklake.catalog import LakeTables, between, from_on, matching, one_of
from ticklake.records import Source
from ticklake.tables import TICK_GAPS, TICK_TABLES, TICKS, arrow_schema, namespace_of

LOST, INVALID = "lost", "invalid"

log = logs.get(__name__)


@dataclass
class Recording:
    """The ticks of one flow in one namespace."""

    tables: LakeTables
    namespace: str
    flow: str
    run_id: str
    ends: Ends
    """Up to where the ledger is in the table."""
    note: Note | None
    """The latest commit's."""

    @classmethod
    def begin(cls, tables: LakeTables, namespace: str, flow: str, run_id: str) -> "Recording":
        """Make the tables where they are missing, and find out how far they are."""
        for table in TICK_TABLES:
            tables.ensure(namespace, table)
        found = notes(tables, namespace, TICKS, flow)
        ends = found[0].ends if found else ends_of_ticks(tables, namespace, flow)
        return cls(tables, namespace, flow, run_id, ends, found[0] if found else None)

    def add(self, part: Part) -> int:
        """Bring the ticks of a part's ranges into the table, in one commit; returns how many there were.

        A part without any is noted too: of a flow with ticks from several sources each namespace knows how far it is.
        The gaps go first, so that what is repeated after a crash is both.

        Raises:
            StageError: another run has done so meanwhile.
        """
        own = [found for found in part.ranges if self._lacks(found)]
        if not own:
            return 0
        self._note_gaps(own)
        ticks = self._new(own)
        ends: Ends = {}
        covers: dict[str, dict[int, tuple[int, int]]] = {}
        for found in own:
            entry = found.entry
            ends.setdefault(entry.topic_id, {})[entry.partition] = found.end
            spans = covers.setdefault(entry.topic_id, {})
            first = spans.get(entry.partition, (entry.first_offset,))[0]
            spans[entry.partition] = first, entry.last_offset
        note = Note(
            flow=self.flow,
            ends=merged(self.ends, ends),
            covers=covers,
            hours=tuple(hours_of(ticks["event_time"])),
            first=not self.ends,
        )

        def missing(snapshot: int | None) -> pa.Table:
            unmoved(self.tables, self.namespace, TICKS, self.flow, self.note, snapshot)
            return ticks

        count = self.tables.append(self.namespace, TICKS, self.run_id, missing, note.properties())
        self.ends, self.note = note.ends, note
        return count

    def _lacks(self, found: Found) -> bool:
        end = self.ends.get(found.entry.topic_id, {}).get(found.entry.partition)
        return end is None or found.entry.first_offset >= end.offset

    def _new(self, ranges: list[Found]) -> pa.Table:
        """The namespace's distinct ticks in the table's columns, without those that the table has."""
        tables = []
        for found in ranges:
            named = pa.repeat(pa.scalar(found.entry.topic_id), found.ticks.num_rows)
            tables.append(found.ticks.sort_by("offset").append_column("topic_id", named))
        ticks = pa.concat_tables(tables)
        sources = [source.value for source in Source if namespace_of(source) == self.namespace]
        ticks = ticks.filter(pc.is_in(ticks["source"], value_set=pa.array(sources)))
        ticks = bars.distinct(ticks, self._known(ticks))
        days = ticks["event_time"].cast(pa.timestamp("us", "UTC")).cast(pa.date32())
        flow = pa.repeat(pa.scalar(self.flow, pa.string()), ticks.num_rows)
        return ticks.append_column("event_date", days).append_column("flow", flow)

    def _known(self, ticks: pa.Table) -> pa.Table:
        """Identities in the table that can be among `ticks`: a tick that was sent again has the same event time."""
        days = {hour.date().isoformat() for hour in hours_of(ticks["event_time"])}
        spans = one_of(between("event_time", *span) for span in spans_of(ticks["event_time"]))
        rows = matching(spans, flow=[self.flow], event_date=days)
        return self.tables.read(self.namespace, TICKS, rows, bars.IDENTITY)

    def _note_gaps(self, ranges: list[Found]) -> None:
        rows = [row for found in ranges for row in self._gaps(found)]
        if not rows:
            return
        # What is stored there from the part's beginning on was left by a run that got no further.
        starts: dict[tuple[str, int], int] = {}
        for found in ranges:
            first = found.before.offset if found.before else found.entry.first_offset
            starts.setdefault((found.entry.topic_id, found.entry.partition), first)
        places = one_of(
            matching(from_on("first_offset", first), topic_id=[topic], partition=[partition])
            for (topic, partition), first in starts.items()
        )
        where = matching(places, flow=[self.flow], kind=[LOST, INVALID])
        table = pa.Table.from_pylist(rows, arrow_schema(TICK_GAPS.columns))
        check = partial(unmoved, self.tables, self.namespace, TICKS, self.flow, self.note, None)
        self.tables.replace(self.namespace, TICK_GAPS, self.run_id, table, where, check=lambda _: check())
        for row in rows:
            log.warning("offsets without a tick", **{name: str(value) for name, value in row.items()})

    def _gaps(self, found: Found) -> Iterator[dict[str, Any]]:
        entry = found.entry
        place = {"flow": self.flow, "topic_id": entry.topic_id, "partition": entry.partition}
        if found.before is not None and found.lost is not None:
            first, last = found.lost
            yield place | {
                "kind": LOST,
                "gap_start": found.before.append_time,
                "gap_end": entry.first_append_time,
                "count": last - first + 1,
                "first_offset": first,
                "last_offset": last,
            }
        for kind, spans in ((INVALID, entry.invalid), (LOST, entry.absent if entry.lost else ())):
            for first, last in spans or ():
                yield place | {
                    "kind": kind,
                    "gap_start": entry.first_append_time,
                    "gap_end": entry.last_append_time,
                    "count": last - first + 1,
                    "first_offset": first,
                    "last_offset": last,
                }
