"""Which closed windows are written, given what is missing."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from structlog.testing import capture_logs

from stream_analytics import history
from stream_analytics.epochs import Epoch, Gap, gaps
from stream_analytics.history import History
from stream_analytics.settings import WINDOW_LENGTHS, StreamAnalyticsSettings

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
GAP = {0: 0, 1: 0}


def minutes(*numbers: int) -> list[datetime]:
    return [NOON + timedelta(minutes=number) for number in numbers]


class Kept:
    """A `History`, with what it told and saved."""

    def __init__(self, epoch: Epoch) -> None:
        self.saved: list[Epoch] = []
        self.skipped: Counter[tuple[str, str]] = Counter()
        self.history = History(StreamAnalyticsSettings(), epoch, self.saved.append, self._count)

    def _count(self, length: str, reason: str, count: int) -> None:
        self.skipped[length, reason] += count

    def of(self, starts: dict[str, list[datetime]]) -> dict[str, list[datetime]]:
        """Of the windows of each length that begin at `starts` and close in one micro-batch, those to write."""
        rows = [(length, start, start + WINDOW_LENGTHS[length]) for length, many in starts.items() for start in many]
        time = pa.timestamp("us", tz="UTC")
        schema = pa.schema([("window_length", pa.string()), ("window_start", time), ("window_end", time)])
        kept = self.history.keep(
            pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
        )
        found: dict[str, list[datetime]] = {}
        for row in kept.to_pylist():
            found.setdefault(row["window_length"], []).append(row["window_start"])
        return found


@pytest.mark.parametrize(
    ("bounds", "recreated", "expected"),
    [
        ({0: (0, 5), 1: (0, 0)}, False, ()),
        ({0: (0, 5), 1: (0, 0)}, True, ({0: 0, 1: 0},)),
        ({0: (3, 5), 1: (0, 9), 2: (2, 8)}, False, ({0: 3}, {2: 2})),
        ({0: (3, 5), 1: (0, 9)}, True, ({0: 3, 1: 0}, {0: 3})),
        ({0: (5, 5), 1: (0, 9)}, False, ({0: 5, 1: 9},)),
    ],
)
def test_gaps(bounds: dict[int, tuple[int, int]], recreated: bool, expected: tuple[Gap, ...]) -> None:
    assert gaps(bounds, recreated=recreated) == expected


def test_the_first_checkpoint_of_a_whole_log_writes_everything() -> None:
    kept, closed = Kept(Epoch(topic_id="t")), {"15m": minutes(-14, 0, 3), "1h": minutes(-55)}
    assert kept.of(closed) == closed
    assert not kept.skipped


def test_windows_that_begin_no_later_than_what_is_missing_are_partial() -> None:
    kept = Kept(Epoch(topic_id="t", gaps=(GAP,), complete_after=NOON))
    with capture_logs() as lines:
        assert kept.of({"15m": minutes(-14, -1), "1h": minutes(-55)}) == {}
        assert lines == []
        assert kept.of({"15m": minutes(0, 1), "1h": minutes(0)}) == {"15m": minutes(1)}
        assert kept.of({"15m": minutes(2), "1h": minutes(5)}) == {"15m": minutes(2), "1h": minutes(5)}
    assert kept.skipped == {("15m", "partial"): 3, ("1h", "partial"): 2}
    told = {(line["window"], line["count"], line["first_start"], line["last_start"]) for line in lines}
    assert told == {
        ("15m", 3, "2026-01-30T11:46:00+00:00", "2026-01-30T12:00:00+00:00"),
        ("1h", 2, "2026-01-30T11:05:00+00:00", "2026-01-30T12:00:00+00:00"),
    }


def test_the_log_tells_at_the_end_what_it_has_not_told() -> None:
    kept = Kept(Epoch(topic_id="t", gaps=(GAP,), complete_after=NOON))
    kept.of({"15m": minutes(-3, -2)})
    with capture_logs() as lines:
        kept.history.report()
        kept.history.report()
    (line,) = lines
    assert (line["event"], line["reason"], line["count"]) == ("windows left out", "partial", 2)


def test_what_was_written_before_is_not_written_again() -> None:
    kept = Kept(Epoch(topic_id="t", written_until={"15m": NOON}))
    assert kept.of({"15m": minutes(-20, -15, -14), "1h": minutes(-61)}) == {"15m": minutes(-14), "1h": minutes(-61)}
    assert kept.skipped == {("15m", "written"): 2}


def test_what_is_missing_is_found_out_once_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[int, datetime] = {}
    asked: list[Gap] = []

    def missing_until(_: StreamAnalyticsSettings, gap: Gap) -> datetime | None:
        asked.append(gap)
        return known.get(next(iter(gap)))

    monkeypatch.setattr(history, "missing_until", missing_until)
    kept = Kept(Epoch(topic_id="t", gaps=({0: 0}, {1: 4})))
    assert kept.of({"15m": minutes(7)}) == {}
    known[0] = NOON
    assert kept.of({"15m": minutes(8)}) == {}
    assert kept.saved == []
    known[1] = NOON - timedelta(minutes=3)
    assert kept.of({"15m": minutes(-1, 9)}) == {"15m": minutes(9)}
    (saved,) = kept.saved
    assert saved.complete_after == NOON
    asked.clear()
    assert Kept(saved).of({"15m": minutes(0, 1)}) == {"15m": minutes(1)}
    assert kept.of({"15m": minutes(10)}) == {"15m": minutes(10)}
    assert asked == []


def test_a_record_keeps_its_meaning_in_the_lake() -> None:
    epoch = Epoch(
        topic_id="t", first_batch=4, starts={0: 3, 12: 0}, gaps=({0: 3}, GAP), written_until={"15m": NOON},
        complete_after=NOON + timedelta(milliseconds=7),
    )  # fmt: skip
    assert Epoch.model_validate_json(epoch.model_dump_json()) == epoch
