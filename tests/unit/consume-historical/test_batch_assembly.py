"""Messages in any mix: parsed strictly, put together once, whole or named for what is missing."""

import csv
import io
import json
import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consume_historical.batch_assembly import Assembly, InvalidMessageError, parse, row_of
from consume_historical.raw_csv import csv_bytes
from ticklake.errors import IntegrityError
from ticklake.records import BatchTrailer, DailyBar, Source, SymbolStatus, batch_checksum

AT = datetime(2013, 3, 1, 22, 5, 7, 123000, tzinfo=UTC)
COMMON = {"source": Source.REPLAY, "batch_id": "b", "batch_date": date(2013, 3, 1), "fetched_at": AT}
SYMBOLS = ("IBM", "FB", "NONE")


def bar(symbol: str, number: int, **changes: object) -> DailyBar:
    price = 100.0 + number
    values = {
        "symbol": symbol,
        "sequence": number,
        "session_date": date(2013, 1, 1) + timedelta(days=number),
        "open": price,
        "high": price + 1,
        "low": price - 1,
        "close": price,
        "adj_close": price,
        "volume": number,
    }
    return DailyBar.model_validate(COMMON | values | changes)


def trailer(symbol: str, bars: list[Any], **changes: object) -> BatchTrailer:
    values = {
        "symbol": symbol,
        "sequence": len(bars),
        "row_count": len(bars),
        "batch_symbols": SYMBOLS,
        "status": SymbolStatus.OK if bars else SymbolStatus.UNKNOWN,
        "checksum": batch_checksum(one.row_hash() for one in bars),
    }
    return BatchTrailer.model_validate(COMMON | values | changes)


def batch() -> list[DailyBar | BatchTrailer]:
    found: list[DailyBar | BatchTrailer] = []
    for symbol, count in (("IBM", 5), ("FB", 3), ("NONE", 0)):
        bars = [bar(symbol, number) for number in range(count)]
        found += [*bars, trailer(symbol, bars)]
    return found


def assembled(records: list[DailyBar | BatchTrailer]) -> Assembly:
    found = Assembly("b")
    for record in records:
        found.take(record)
    return found


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_a_whole_batch_in_any_order_and_any_number_of_times(seed: int, times: int) -> None:
    records = batch() * times
    random.Random(seed).shuffle(records)
    found = assembled(records)
    whole = found.finish()
    assert {symbol: len(part.rows) for symbol, part in whole.items()} == {"IBM": 5, "FB": 3, "NONE": 0}
    assert [row[14] for row in whole["IBM"].rows] == [0, 1, 2, 3, 4]
    assert found.repeated == 11 * (times - 1)


@pytest.mark.parametrize("lost", range(11))
def test_any_lost_message_is_noticed(lost: int) -> None:
    records = batch()
    gone = records.pop(lost)
    with pytest.raises(IntegrityError, match=gone.symbol):
        assembled(records).finish()


def test_the_messages_of_other_batches_do_not_count() -> None:
    others = [record.model_copy(update={"batch_id": "other"}) for record in batch()]
    found = assembled([*others, *batch()])
    assert found.foreign == 11
    assert len(found.finish()["IBM"].rows) == 5
    with pytest.raises(IntegrityError, match="no trailer has come"):
        assembled(others).finish()


def test_the_same_identity_with_other_content() -> None:
    with pytest.raises(IntegrityError, match="two different messages for bar 2"):
        assembled([*batch(), bar("IBM", 2, volume=99)])
    with pytest.raises(IntegrityError, match="two different messages for trailer 3"):
        assembled([*batch(), trailer("FB", [bar("FB", n) for n in range(3)], checksum="x")])


def test_one_bar_too_many_a_wrong_checksum_a_wrong_order() -> None:
    with pytest.raises(IntegrityError, match="has 6 bars where its trailer counts 5"):
        assembled([*batch(), bar("IBM", 5)]).finish()
    with pytest.raises(IntegrityError, match="checksum"):
        assembled([*batch()[:5], trailer("IBM", batch()[:5], checksum="x"), *batch()[6:]]).finish()
    backwards = [bar("IBM", 0), bar("IBM", 1, session_date=date(2012, 12, 31))]
    with pytest.raises(IntegrityError, match="out of order"):
        assembled([*backwards, trailer("IBM", backwards), *batch()[6:]]).finish()
    with pytest.raises(IntegrityError, match="different symbols"):
        assembled([*batch(), bar("MSFT", 0)]).finish()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "no value"),
        (b"", "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[]", "object"),
        (b"{}", "kind"),
        (b'{"kind": "tick"}', "kind"),
        (b"[" * 100_000, "Invalid JSON"),
    ],
)
def test_malformed_messages_say_why(value: bytes | None, reason: str) -> None:
    with pytest.raises(InvalidMessageError, match=reason):
        parse(value, b"IBM")


@pytest.mark.parametrize(
    "changes",
    [
        {"volume": "7"},
        {"volume": 7.5},
        {"volume": -1},
        {"volume": 2**63},
        {"open": "100"},
        {"open": None},
        {"high": 1.0},
        {"extra": 1},
        {"schema_version": 2},
        {"session_date": "2013-02-30"},
        {"symbol": "ibm"},
        {"fetched_at": "2013-03-01T22:05:07"},
        {"sequence": 2**31},
    ],
)
def test_a_wrong_field_is_rejected(changes: dict[str, object]) -> None:
    document = json.loads(bar("IBM", 1).model_dump_json()) | changes
    with pytest.raises(InvalidMessageError):
        parse(json.dumps(document).encode(), b"IBM")


def test_the_key_is_the_symbol() -> None:
    with pytest.raises(InvalidMessageError, match="key"):
        parse(bar("IBM", 1).model_dump_json().encode(), b"FB")


@given(st.binary(max_size=300))
def test_no_bytes_break_the_parser(value: bytes) -> None:
    with pytest.raises(InvalidMessageError):
        parse(value, b"IBM")


PRICES = st.floats(min_value=1e-12, max_value=1e18)


@given(PRICES, PRICES, st.integers(0, 2**63 - 1), st.floats(0, 1e10))
def test_from_wire_to_csv_every_bit_stays(one: float, two: float, volume: int, dividends: float) -> None:
    low, high = min(one, two), max(one, two)
    sent = bar("IBM", 0, open=low, high=high, low=low, close=high, adj_close=two, volume=volume, dividends=dividends)
    record = parse(sent.model_dump_json().encode(), b"IBM")
    assert isinstance(record, DailyBar)
    (row,) = csv.DictReader(io.StringIO(csv_bytes([row_of(record)]).decode()))
    assert [float(row[name]) for name in ("open", "high", "low", "close", "adj_close", "dividends")] == [
        low,
        high,
        low,
        high,
        two,
        dividends,
    ]
    assert int(row["volume"]) == volume
    assert row["fetched_at"] == "2013-03-01T22:05:07.123Z"


def test_the_header_and_a_run_id_with_commas_and_quotes() -> None:
    odd = 'run, "odd"; one'
    body = csv_bytes([row_of(bar("IBM", 3, batch_id=odd))])
    assert body.splitlines()[0] == (
        b"symbol,session_date,open,high,low,close,adj_close,volume,dividends,stock_splits,currency,source,batch_id,batch_date,"
        b"sequence,fetched_at,row_hash"
    )
    (row,) = csv.DictReader(io.StringIO(body.decode()))
    assert (row["batch_id"], row["session_date"], row["close"]) == (odd, "2013-01-04", "103.0")
