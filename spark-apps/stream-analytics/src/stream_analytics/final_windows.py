"""Which of the windows that close a checkpoint's query writes as final.

A query with a new checkpoint reads the live topic from where its log begins (`CheckpointRecord.starts`). It knows a
window completely where every tick that the flow ever had for it lies there. Ticks are missing before a *gap*, a set of
offsets by partition:

- the beginnings of all partitions, where an earlier checkpoint of the flow read a topic of another id: the topic was
  recreated, and the ticks of the old one are gone;
- the beginning of each partition whose log does not begin at offset 0: what was before is deleted. Where such a
  partition is empty, the ends of all partitions as they were when the checkpoint was new.

All that is missing was appended before the first tick behind its gap, so its event times cannot be later than

- that tick's append time plus the tolerance for ticks from the future, where there is one (others are in no window);
- else that tick's event time plus the watermark's delay: a later one would have made that tick late.

A window that begins after the latest of these times is complete. One that begins earlier is partial and not written:
neither to the lake nor as a final message. Until there is a tick behind every gap, all are partial.

There is no gap, and every window is complete, for the first checkpoint of a flow on a log that begins at offset 0, and
for a later one on the same topic (the earlier was lost) while its log still does. So the rule is about what the log
holds, not about when it was read: offsets are fixed before the query starts, the first tick behind them is a property
of the log, and the result is kept with them in the checkpoint's record.

Windows that end no later than the newest one in the table (of the same length) are not written again: windows close in
the order of their ends, so all of those were written then. That is also what makes a micro-batch that Spark repeats,
after a crash between the table's commit and the checkpoint's, write nothing twice.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pyspark.sql import Column
from pyspark.sql import functions as F

from stream_analytics.checkpoint_records import CheckpointRecord, Gap
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.topic_log import first_records
from stream_analytics.windows_table import WrittenUntil, written
from ticklake import logs
from ticklake.ticks import InvalidTick, read_tick

Reason = Literal["partial", "written"]

log = logs.get(__name__)


@dataclass
class LeftOut:
    """Windows of one length that are left out for one reason."""

    count: int
    first_start: datetime
    last_start: datetime


class History:
    """Decides for one checkpoint, by one thread at a time.

    Args:
        record: the checkpoint's record.
        written_until: see `lake.WindowLake`; kept up to date by who writes.
        save: keeps a changed record in the lake.
        on_skipped: called with how many windows of a length were left out, and why.
    """

    def __init__(
        self,
        settings: StreamAnalyticsSettings,
        record: CheckpointRecord,
        written_until: WrittenUntil,
        save: Callable[[CheckpointRecord], None],
        on_skipped: Callable[[str, Reason, int], None],
    ) -> None:
        self._settings = settings
        self._record = record
        self._written_until = written_until
        self._save = save
        self._on_skipped = on_skipped
        self._skipped: dict[tuple[str, Reason], LeftOut] = {}
        """What no line of the log has reported yet."""

    def reason(self) -> Column:
        """Why a closed window (the columns of `ticklake.tables.WINDOW_COLUMNS`) is left out; null for one to write.

        Raises:
            StageError: the broker or the store did not answer.
        """
        partial = F.lit(False)
        if self._record.gaps:
            complete_after = self._complete_after()
            partial = F.lit(True) if complete_after is None else F.col("window_start") <= F.lit(complete_after)
        return F.when(written(self._written_until), "written").when(partial, "partial")

    def left_out(self, length: str, reason: Reason, found: LeftOut) -> None:
        """Count what one micro-batch left out."""
        self._on_skipped(length, reason, found.count)
        before = self._skipped.get((length, reason), found)
        self._skipped[length, reason] = LeftOut(
            found.count + (before.count if before is not found else 0),
            min(before.first_start, found.first_start),
            max(before.last_start, found.last_start),
        )

    def report(self, lengths: Iterable[str] | None = None) -> None:
        """Log what was left out and not logged yet.

        Args:
            lengths: only of these; in the order of their ends, all that are left out close before the first to write.
        """
        for length, reason in sorted(self._skipped):
            if lengths is None or length in lengths:
                found = self._skipped.pop((length, reason))
                log.warning(
                    "windows left out",
                    window=length,
                    reason=reason,
                    count=found.count,
                    first_start=found.first_start.isoformat(),
                    last_start=found.last_start.isoformat(),
                )

    def _complete_after(self) -> datetime | None:
        """The time after which windows must begin to be complete; None while that is not known."""
        if self._record.complete_after is not None:
            return self._record.complete_after
        found = [missing_until(self._settings, gap) for gap in self._record.gaps]
        known = [time for time in found if time is not None]
        if len(known) < len(found):
            return None
        self._record = self._record.model_copy(update={"complete_after": max(known)})
        self._save(self._record)
        log.warning("ticks before these are missing: windows are final that begin later", time=max(known).isoformat())
        return max(known)


def missing_until(settings: StreamAnalyticsSettings, gap: Gap) -> datetime | None:
    """The latest event time that a tick missing before `gap` can have; None where no tick is behind it yet.

    Raises:
        StageError: the broker did not answer.
    """
    tolerance = settings.live.future_tolerance
    # Where the append time decides, any message will do.
    usable = (lambda _: True) if tolerance is not None else (lambda record: _event_time(record) is not None)
    records = first_records(settings.kafka, settings.live.names.topic, gap, usable)
    if not records:
        return None
    if tolerance is not None:
        return _append_time(min(records, key=_append_time)) + timedelta(seconds=tolerance)
    # Of messages appended in the same millisecond the later event, to be on the safe side.
    first = min(map(_append_time, records))
    events = [event for record in records if _append_time(record) == first and (event := _event_time(record))]
    return max(events) + timedelta(seconds=settings.stream.watermark_seconds)


def _append_time(record: Any) -> datetime:
    return datetime.fromtimestamp(record.timestamp / 1000, UTC)


def _event_time(record: Any) -> datetime | None:
    tick = read_tick(record.key, record.value, record.timestamp)
    return None if isinstance(tick, InvalidTick) else tick.event_time
