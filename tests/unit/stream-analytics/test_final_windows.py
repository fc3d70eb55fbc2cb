"""Which closed windows are written, given what is missing."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from memory_store import MemoryStore
from pyspark.sql import SparkSession
from structlog.testing import capture_logs

from stream_analytics import checkpoint_records, final_windows
from stream_analytics.checkpoint_records import CheckpointRecord, Gap, gaps
from stream_analytics.final_windows import History, LeftOut, missing_until
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.windows_table import WindowLake, WrittenUntil
from ticklake.errors import StageError
from ticklake.records import WINDOW_LENGTHS
from ticklake.settings import CatalogSettings, LiveSettings

NOON = datetime(2026, 1, 30, 12, tzinfo=UTC)
GAP = {0: 0, 1: 0}


def minutes(*numbers: int) -> list[datetime]:
    return [NOON + timedelta(minutes=number) for number in numbers]


class Kept:
    """A `History`, with what it reported and saved."""

    def __init__(self, spark: SparkSession, record: CheckpointRecord, written: WrittenUntil | None = None) -> None:
        self.saved: list[CheckpointRecord] = []
        self.skipped: Counter[tuple[str, str]] = Counter()
        settings = StreamAnalyticsSettings(catalog=CatalogSettings(uri="sqlite:////dev/null"))
        self.history = History(settings, record, written or {}, self.saved.append, self._count)
        self._spark = spark

    def _count(self, length: str, reason: str, count: int) -> None:
        self.skipped[length, reason] += count

    def reasons(self, starts: dict[str, list[datetime]], source: str = "simulated") -> dict[str, list[str | None]]:
        """Why windows of each length that begin at `starts` are left out."""
        rows = [
            (number, source, length, start, start + WINDOW_LENGTHS[length])
            for length, many in starts.items()
            for number, start in enumerate(many)
        ]
        frame = self._spark.createDataFrame(
            rows, "number int, source string, window_length string, window_start timestamp, window_end timestamp"
        )
        found: dict[str, list[str | None]] = {}
        for row in frame.withColumn("reason", self.history.reason()).orderBy("number").collect():
            found.setdefault(row.window_length, []).append(row.reason)
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


def test_the_first_checkpoint_of_a_whole_log_writes_everything(spark: SparkSession) -> None:
    kept = Kept(spark, CheckpointRecord(topic_id="t"))
    assert kept.reasons({"15m": minutes(-14, 0, 3), "1h": minutes(-55)}) == {"15m": [None] * 3, "1h": [None]}


def test_windows_that_begin_no_later_than_what_is_missing_are_partial(spark: SparkSession) -> None:
    kept = Kept(spark, CheckpointRecord(topic_id="t", gaps=(GAP,), complete_after=NOON))
    assert kept.reasons({"15m": minutes(-14, 0, 1), "1h": minutes(-55, 5)}) == {
        "15m": ["partial", "partial", None],
        "1h": ["partial", None],
    }


def test_what_was_written_before_is_not_written_again(spark: SparkSession) -> None:
    kept = Kept(spark, CheckpointRecord(topic_id="t"), {("market_test", "15m"): NOON})
    starts = {"15m": minutes(-20, -15, -14), "1h": minutes(-61)}
    assert kept.reasons(starts) == {"15m": ["written", "written", None], "1h": [None]}
    assert kept.reasons(starts, "yahoo") == {"15m": [None] * 3, "1h": [None]}


def test_the_log_reports_once_what_was_left_out(spark: SparkSession) -> None:
    kept = Kept(spark, CheckpointRecord(topic_id="t"))
    first, second, third = minutes(-14, -3, 0)
    with capture_logs() as lines:
        kept.history.left_out("15m", "partial", LeftOut(2, second, third))
        kept.history.left_out("15m", "partial", LeftOut(1, first, first))
        kept.history.left_out("1h", "written", LeftOut(4, first, second))
        kept.history.report({"15m"})
        kept.history.report({"15m"})
        kept.history.report()
    assert kept.skipped == {("15m", "partial"): 3, ("1h", "written"): 4}
    lines = [(line["window"], line["reason"], line["count"], line["first_start"], line["last_start"]) for line in lines]
    assert lines == [
        ("15m", "partial", 3, "2026-01-30T11:46:00+00:00", "2026-01-30T12:00:00+00:00"),
        ("1h", "written", 4, "2026-01-30T11:46:00+00:00", "2026-01-30T11:57:00+00:00"),
    ]


def test_what_is_missing_is_found_out_once_and_kept(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    known: dict[int, datetime] = {}
    asked: list[Gap] = []

    def missing_until(_: StreamAnalyticsSettings, gap: Gap) -> datetime | None:
        asked.append(gap)
        return known.get(next(iter(gap)))

    monkeypatch.setattr(final_windows, "missing_until", missing_until)
    kept = Kept(spark, CheckpointRecord(topic_id="t", gaps=({0: 0}, {1: 4})))
    assert kept.reasons({"15m": minutes(7)}) == {"15m": ["partial"]}
    known[0] = NOON
    assert kept.reasons({"15m": minutes(8)}) == {"15m": ["partial"]}
    assert kept.saved == []
    known[1] = NOON - timedelta(minutes=3)
    assert kept.reasons({"15m": minutes(-1, 9)}) == {"15m": ["partial", None]}
    (saved,) = kept.saved
    assert saved.complete_after == NOON
    asked.clear()
    assert Kept(spark, saved).reasons({"15m": minutes(0, 1)}) == {"15m": ["partial", None]}
    assert kept.reasons({"15m": minutes(10)}) == {"15m": [None]}
    assert asked == []


def test_a_record_keeps_its_meaning_in_the_lake() -> None:
    record = CheckpointRecord(
        topic_id="t", starts={0: 3, 12: 0}, gaps=({0: 3}, GAP), complete_after=NOON + timedelta(milliseconds=7)
    )
    assert CheckpointRecord.model_validate_json(record.model_dump_json()) == record


def test_what_is_missing_can_be_as_late_as_the_first_tick_behind_it_and_the_tolerance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = StreamAnalyticsSettings(catalog=CatalogSettings(uri="sqlite:////dev/null"))
    tolerance = settings.live.future_tolerance
    assert tolerance
    appended = [SimpleNamespace(timestamp=round(time.timestamp() * 1000)) for time in minutes(3, 0, 5)]
    monkeypatch.setattr(final_windows, "first_records", lambda *_: appended)
    assert missing_until(settings, GAP) == NOON + timedelta(seconds=tolerance)
    monkeypatch.setattr(final_windows, "first_records", lambda *_: [])
    assert missing_until(settings, GAP) is None


def test_windows_are_written_up_to_the_newest_in_any_file() -> None:
    def file(*starts: datetime) -> dict[str, Any]:
        return {"window_length": ("15m", "15m"), "window_start": tuple(start.timestamp() * 1e6 for start in starts)}

    files = {"market_test": [file(*minutes(0, 7)), file(*minutes(1, 3))]}
    tables: Any = SimpleNamespace(files=lambda namespace, *_: files.get(namespace, []))
    assert WindowLake(tables, LiveSettings()).written_until() == {
        ("market_test", "15m"): NOON + timedelta(minutes=7) + WINDOW_LENGTHS["15m"]
    }


def test_a_crash_leaves_no_checkpoint_without_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unmade:
        location = "somewhere"

        def id(self) -> None:
            return None

        def create(self, _: str) -> None:
            raise StageError("killed")

    monkeypatch.setattr(checkpoint_records, "offset_bounds", lambda *_: {0: (0, 5)})
    monkeypatch.setattr(checkpoint_records, "Checkpoint", lambda *_: Unmade())
    settings, store = StreamAnalyticsSettings(catalog=CatalogSettings(uri="sqlite:////dev/null")), MemoryStore()
    none: Any = None
    with pytest.raises(StageError, match="killed"):
        checkpoint_records.open_checkpoints(settings, none, store, "t", written=False)
    assert [json.loads(body)["topic_id"] for body, _ in store.objects.values()] == ["t"]
