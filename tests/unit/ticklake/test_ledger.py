"""Ledger metadata and keys."""

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticklake.errors import IntegrityError
from ticklake.ledger import LedgerRange, RangeKey, check_chain, csv_key, range_key, spans
from ticklake.topics import live_names

LIVE = live_names()
TOPIC_ID = "0B6FBD0F-6d1c-4d0e-9c0a-2f6f5f1f3a11"
AT = datetime(2026, 1, 31, 23, 59, 58, 900_000, tzinfo=UTC)


def entry(first: int, last: int, invalid: tuple[tuple[int, int], ...] = ()) -> LedgerRange:
    bad = sum(b - a + 1 for a, b in invalid)
    return LedgerRange(
        topic="stock-market-realtime",
        topic_id=TOPIC_ID,
        partition=2,
        first_offset=first,
        last_offset=last,
        rows=last - first + 1 - bad,
        invalid_rows=bad,
        invalid=invalid,
        checksum="ab" * 32,
        first_append_time=AT,
        last_append_time=AT,
        least_event_time=AT,
        greatest_event_time=AT,
    )


def test_the_key_says_hour_time_topic_partition_and_first_offset() -> None:
    key = range_key(LIVE, TOPIC_ID, 2, 1234, AT)
    assert key == (
        "raw/realtime/year=2026/month=01/day=31/hour=23/"
        "stock_data_20260131_235958_0b6fbd0f6d1c_p2_o00000000000000001234.parquet"
    )
    assert csv_key(key) == key[: -len("parquet")] + "csv"
    parsed = RangeKey.parse(key)
    assert parsed == RangeKey(2, 1234, "0b6fbd0f6d1c", AT.replace(microsecond=0), key)
    assert RangeKey.parse("raw/realtime/year=2026/month=01/day=31/hour=23/other.parquet") is None


@given(st.sets(st.integers(10, 400)))
def test_user_metadata_reads_back_and_fits(bad: set[int]) -> None:
    written = entry(10, 500, spans(sorted(bad)))
    metadata = written.user_metadata()
    assert sum(len(k) + len(v) for k, v in metadata.items()) < 1900
    assert all(value for value in metadata.values())
    read = LedgerRange.from_user_metadata(metadata | {"sha256": "0"}, range_key(LIVE, TOPIC_ID, 2, 10, AT))
    assert read.invalid in (written.invalid, None)
    assert read.model_copy(update={"invalid": written.invalid}) == written
    assert LedgerRange.model_validate_json(written.model_dump_json()) == written


def test_any_year_reads_back() -> None:
    key = range_key(LIVE, TOPIC_ID, 2, 10, AT)
    early = entry(10, 11).model_copy(update={"least_event_time": datetime(1, 1, 1, tzinfo=UTC)})
    metadata = early.user_metadata()
    assert metadata["least-event-time"] == "0001-01-01T00:00:00.000Z"
    # As it was written before.
    for written in (metadata, metadata | {"least-event-time": "1-01-01T00:00:00.000Z"}):
        assert LedgerRange.from_user_metadata(written, key) == early.model_copy(update={"invalid": ()})


def test_metadata_that_cannot_be_read_is_one_line() -> None:
    metadata = entry(10, 11).user_metadata() | {"least-event-time": "soon", "rows": "many"}
    with pytest.raises(IntegrityError, match="has no readable ledger metadata: rows: ") as raised:
        LedgerRange.from_user_metadata(metadata, range_key(LIVE, TOPIC_ID, 2, 10, AT))
    assert "\n" not in str(raised.value)


def test_many_invalid_offsets_stay_in_the_file() -> None:
    written = entry(0, 2000, spans(range(0, 2000, 2)))
    assert "invalid" not in written.user_metadata()
    assert written.user_metadata()["invalid-rows"] == "1000"


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 9},
        {"last_offset": 9},
        {"invalid": ((10, 10),)},
        {"invalid": ((21, 21),), "rows": 10, "invalid_rows": 1},
    ],
)
def test_counts_must_fill_the_range(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"offsets|invalid"):
        LedgerRange.model_validate(entry(10, 20).model_dump() | change)


def test_metadata_that_contradicts_the_key_is_an_error() -> None:
    with pytest.raises(IntegrityError, match="holds"):
        LedgerRange.from_user_metadata(entry(10, 20).user_metadata(), range_key(LIVE, TOPIC_ID, 2, 11, AT))
    with pytest.raises(IntegrityError, match="no readable ledger metadata"):
        LedgerRange.from_user_metadata({"sha256": "0"}, range_key(LIVE, TOPIC_ID, 2, 11, AT))


def test_gaps_and_overlaps_are_named() -> None:
    check_chain([entry(0, 9), entry(10, 10), entry(11, 20)])
    with pytest.raises(IntegrityError, match="partition 2: offsets 10-11 are missing"):
        check_chain([entry(0, 9), entry(12, 20)])
    with pytest.raises(IntegrityError, match="offsets 8-9 are archived twice"):
        check_chain([entry(0, 9), entry(8, 20)])
    with pytest.raises(IntegrityError, match="offsets 9-9 are archived twice"):
        check_chain([entry(0, 9), entry(9, 20)])


@given(st.sets(st.integers(0, 60)))
def test_spans_hold_exactly_the_offsets(offsets: set[int]) -> None:
    found = spans(sorted(offsets))
    assert {n for first, last in found for n in range(first, last + 1)} == offsets
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(found))
