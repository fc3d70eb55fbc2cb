"""Records on the wire: what they accept, reject and hash."""

import hashlib
import json
import math
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ticklake import tables
from ticklake.records import (
    BatchMessage,
    BatchTrailer,
    DailyBar,
    Source,
    SymbolStatus,
    Tick,
    WindowMessage,
    batch_checksum,
    iso_ms,
    row_hash,
)

FETCHED = datetime(2026, 1, 31, 14, 30, 5, 123456, tzinfo=UTC)
prices = st.floats(min_value=1e-4, max_value=1e7, allow_nan=False)


def bar(**changes: object) -> DailyBar:
    values: dict[str, object] = {
        "symbol": "AAPL",
        "source": "replay",
        "batch_id": "run-1",
        "batch_date": date(2026, 1, 30),
        "sequence": 0,
        "fetched_at": FETCHED,
        "session_date": date(2026, 1, 30),
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "adj_close": 10.5,
        "volume": 100,
    }
    return DailyBar.model_validate(values | changes)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"high": 8.0}, "below low"),
        ({"open": 12.5}, "open 12.5 is outside"),
        ({"close": 8.5}, "close 8.5 is outside"),
        ({"close": float("nan")}, "finite"),
        ({"low": 0.0}, "greater than or equal to 0.000000000001"),
        ({"close": 1e308}, "less than or equal to 1000000000000000000"),
        ({"fetched_at": "0001-01-01T00:00:00+01:00"}, "outside of the years"),
        ({"volume": -1}, "greater than or equal to 0"),
        ({"symbol": "aapl"}, "pattern"),
        ({"symbol": "A/B"}, "pattern"),
        ({"fetched_at": datetime(2026, 1, 1)}, "needs a zone"),
        ({"source": "guess"}, "yahoo"),
        ({"schema_version": 2}, "1"),
        ({"schema_version": True}, "number"),
        ({"surprise": 1}, "Extra inputs"),
    ],
)
def test_a_wrong_bar_is_rejected_with_its_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        bar(**changes)


@given(low=prices, spans=st.tuples(*[st.floats(0, 100) for _ in range(3)]), volume=st.integers(0, 10**12))
def test_json_brings_back_the_same_bits(low: float, spans: tuple[float, ...], volume: int) -> None:
    high = low + max(spans)
    made = bar(low=low, high=high, open=low + min(spans), close=high, adj_close=low + spans[1], volume=volume)
    read = TypeAdapter(BatchMessage).validate_json(made.model_dump_json())
    assert isinstance(read, DailyBar)
    assert read == made
    assert read.row_hash() == made.row_hash()


def test_row_hash_is_blake2b_over_the_documented_text() -> None:
    text = "AAPL|2026-01-30|100|replay|10.0|12.0|9.0|11.0|10.5|0.0|0.0"
    assert bar().row_hash() == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("field", ["open", "high", "low", "close", "adj_close", "dividends", "stock_splits"])
def test_row_hash_sees_the_last_bit_of_every_number(field: str) -> None:
    values = {
        "open": 10.0,
        "high": 12.0,
        "low": 9.0,
        "close": 11.0,
        "adj_close": 10.5,
        "dividends": 0.1,
        "stock_splits": 2.0,
    }

    changed = values | {field: math.nextafter(values[field], 99)}
    hashes = {bar(**given_values).row_hash() for given_values in (values, changed)}
    assert len(hashes) == 2


def test_row_hash_rejects_nan() -> None:
    with pytest.raises(ValueError, match="finite"):
        row_hash("A", date(2026, 1, 1), float("nan"), 1, 1, 1, 1, 0, 0, 0, "yahoo")


def test_batch_checksum_depends_on_order_and_is_sha256() -> None:
    assert batch_checksum(["ab", "cd"]) == hashlib.sha256(b"abcd").hexdigest()
    assert batch_checksum(["ab", "cd"]) != batch_checksum(["cd", "ab"])
    assert batch_checksum([]) == hashlib.sha256().hexdigest()


def test_bar_and_trailer_are_distinguished_by_kind() -> None:
    trailer = BatchTrailer(
        symbol="NOPE",
        source=Source.YAHOO,
        batch_id="run-1",
        batch_date=date(2026, 1, 30),
        sequence=0,
        fetched_at=FETCHED,
        status=SymbolStatus.UNKNOWN,
        row_count=0,
        checksum=batch_checksum([]),
        batch_symbols=("AAPL", "NOPE"),
    )
    adapter = TypeAdapter(BatchMessage)
    assert adapter.validate_json(trailer.model_dump_json()) == trailer
    assert trailer.identity == ("run-1", "NOPE", 0)
    with pytest.raises(ValidationError, match="kind"):
        adapter.validate_json("{}")


def test_times_travel_as_utc_milliseconds() -> None:
    new_york = timezone(timedelta(hours=-5))
    tick = Tick(
        symbol="AAPL",
        price=1.5,
        volume=3,
        event_time=datetime(2026, 1, 30, 9, 30, 0, 999999, tzinfo=new_york),
        sequence=0,
        producer_run="p",
        source=Source.SIMULATED,
    )
    assert json.loads(tick.model_dump_json())["event_time"] == "2026-01-30T14:30:00.999Z"
    assert tick.event_time == datetime(2026, 1, 30, 14, 30, 0, 999000, tzinfo=UTC)


@given(st.datetimes(timezones=st.just(UTC)))
def test_iso_ms_reads_back(moment: datetime) -> None:
    read = datetime.fromisoformat(iso_ms(moment))
    assert timedelta(0) <= moment - read < timedelta(milliseconds=1)


def test_a_window_has_the_columns_of_its_table() -> None:
    columns = {column.name for column in tables.WINDOW_COLUMNS}
    assert set(WindowMessage.model_fields) == columns | {"version", "final"}
