"""Which of the windows that close a checkpoint's query writes as final.

A query with a new checkpoint reads the live topic from where its log begins (`Epoch.starts`). It knows a window
completely where every tick that the flow ever had for it lies there. Ticks are missing before a *gap*, a set of offsets
by partition:

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

Windows that end no later than the newest that earlier checkpoints wrote (of the same length) are not written again:
windows close in the order of their ends, so what was known of those was written then.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from stream_analytics.epochs import Epoch, Gap
from stream_analytics.live_log import first_records
from stream_analytics.settings import StreamAnalyticsSettings
from ticklake import logs
from ticklake.records import Tick

if TYPE_CHECKING:
    import pyarrow as pa

Reason = Literal["partial", "written"]

log = logs.get(__name__)


class History:
    """Decides for one checkpoint; `keep` is called by one thread at a time.

    Args:
        epoch: the checkpoint's record.
        save: keeps a changed record in the lake.
        on_skipped: is told how many windows of a length were left out, and why.
    """

    def __init__(
        self, settings: StreamAnalyticsSettings, epoch: Epoch, save: Callable[[Epoch], None],
        on_skipped: Callable[[str, Reason, int], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._epoch = epoch
        self._save = save
        self._on_skipped = on_skipped
        self._skipped: dict[tuple[str, Reason], list[datetime]] = defaultdict(list)
        """Starts of windows left out that no line of the log has told of yet."""

    def keep(self, windows: "pa.Table") -> "pa.Table":
        """Of the windows that closed in one micro-batch, those to write.

        Args:
            windows: with the columns of `ticklake.tables.WINDOW_COLUMNS`, at least.

        Raises:
            StageError: the broker or the store did not answer.
        """
        import pyarrow as pa

        if not self._epoch.gaps and not self._epoch.written_until:
            return windows
        complete_after = self._complete_after()
        lengths = windows["window_length"].to_pylist()
        starts, ends = windows["window_start"].to_pylist(), windows["window_end"].to_pylist()
        reasons: list[Reason | None] = []
        for length, start, end in zip(lengths, starts, ends, strict=True):
            until = self._epoch.written_until.get(length)
            partial = complete_after is not None and start <= complete_after
            reasons.append("written" if until is not None and end <= until else "partial" if partial else None)
        self._count(lengths, starts, reasons)
        return windows.filter(pa.array([reason is None for reason in reasons]))

    def report(self) -> None:
        """Log what was left out and not logged yet."""
        for length in {length for length, _ in self._skipped}:
            self._report(length)

    def _complete_after(self) -> datetime | None:
        """The time after which windows must begin to be complete; None if all are."""
        if not self._epoch.gaps or self._epoch.complete_after is not None:
            return self._epoch.complete_after
        found = [missing_until(self._settings, gap) for gap in self._epoch.gaps]
        known = [time for time in found if time is not None]
        if len(known) < len(found):
            return datetime.max.replace(tzinfo=UTC)
        self._epoch = self._epoch.model_copy(update={"complete_after": max(known)})
        self._save(self._epoch)
        log.warning("ticks before these are missing: windows are final that begin later", time=max(known).isoformat())
        return max(known)

    def _count(self, lengths: list[str], starts: list[datetime], reasons: list[Reason | None]) -> None:
        counts: dict[tuple[str, Reason], int] = defaultdict(int)
        for length, start, reason in zip(lengths, starts, reasons, strict=True):
            if reason is not None:
                self._skipped[length, reason].append(start)
                counts[length, reason] += 1
        for (length, reason), count in counts.items():
            self._on_skipped(length, reason, count)
        # In the order of their ends they all close before the first that is written: the line has all of them.
        written = {length for length, reason in zip(lengths, reasons, strict=True) if reason is None}
        for length in written:
            self._report(length)

    def _report(self, length: str) -> None:
        for reason in ("partial", "written"):
            if starts := self._skipped.pop((length, reason), None):
                log.warning(
                    "windows left out", window=length, reason=reason, count=len(starts),
                    first_start=min(starts).isoformat(), last_start=max(starts).isoformat(),
                )  # fmt: skip


def missing_until(settings: StreamAnalyticsSettings, gap: Gap) -> datetime | None:
    """The latest event time that a tick missing before `gap` can have; None where no tick is behind it yet.

    Raises:
        StageError: the broker did not answer.
    """
    tolerance = settings.future_tolerance_seconds
    # Where the append time tells, any message will do.
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
    try:
        return Tick.model_validate_json(record.value or b"", strict=True).event_time
    except ValidationError:
        return None
