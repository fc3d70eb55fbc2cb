"""What the archive takes for a tick, and what it does when the store fails."""

import json
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from archive_ticks.metrics import Metrics
from archive_ticks.offset_ranges import Range, RangeBuilder
from archive_ticks.parsing import parse
from archive_ticks.settings import RollSettings
from archive_ticks.writer_thread import PartitionAssignment, Writer
from ticklake.errors import ConfigurationError, StageError
from ticklake.ledger_table import SCHEMA, csv_bytes
from ticklake.objects import ObjectStore
from ticklake.topics import live_names

TOPIC_ID = "0b6fbd0f-6d1c-4d0e-9c0a-2f6f5f1f3a11"


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def tick(**changes: Any) -> bytes:
    values = {
        "symbol": "AAPL",
        "price": 1.5,
        "volume": 1,
        "event_time": "2026-01-30T15:00:00.123Z",
        "sequence": 4,
        "producer_run": "run",
        "source": "simulated",
    }
    return json.dumps({name: value for name, value in (values | changes).items() if value is not None}).encode()


def test_a_tick_keeps_its_values_and_place() -> None:
    batch, invalid = parse(3, [Record(17, 1_769_785_200_456, b"AAPL", tick())])
    assert invalid == []
    assert batch.schema == SCHEMA
    assert batch.to_pylist() == [
        {
            "symbol": "AAPL",
            "event_time": datetime(2026, 1, 30, 15, 0, 0, 123_000, tzinfo=UTC),
            "sequence": 4,
            "price": 1.5,
            "volume": 1,
            "source": "simulated",
            "producer_run": "run",
            "partition": 3,
            "offset": 17,
            "append_time": datetime(2026, 1, 30, 15, 0, 0, 456_000, tzinfo=UTC),
        }
    ]


def test_a_tick_from_the_future_is_distinguished_by_the_broker_s_clock() -> None:
    appended = 1_769_785_200_000  # 2026-01-30T15:00:00Z
    times = ("2026-01-30T15:01:00Z", "2026-01-30T15:01:00.001Z")
    records = [Record(number, appended, b"AAPL", tick(event_time=time)) for number, time in enumerate(times)]
    batch, (bad,) = parse(0, records, 60)
    assert (batch["offset"].to_pylist(), bad.offset) == ([0], 1)
    assert (bad.value, "more than 60 s after the time of its arrival" in bad.reason) == (records[1].value, True)
    assert parse(0, records)[1] == []


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (b"AAPL", None, "no value"),
        (b"AAPL", b"\xff\xfe", "Invalid JSON"),
        (b"AAPL", b"[]", "object"),
        (b"AAPL", tick() + b"," + tick(), "Invalid JSON"),
        (b"AAPL", tick(price=0), "price: "),
        (b"AAPL", tick(price=None), "price: "),
        (b"AAPL", tick(volume=-1), "volume: "),
        (b"AAPL", tick(volume=10**12 + 1), "volume: Input should be less than or equal to 1000000000000"),
        (b"AAPL", tick(sequence=2**63), "sequence: Input should be less than or equal to 9223372036854775807"),
        (b"AAPL", tick(event_time="2026-01-30T15:00:00"), "event_time: "),
        (b"AAPL", tick(source="x"), "source: "),
        (b"AAPL", tick(schema_version=2), "schema_version: "),
        (b"AAPL", tick(symbol="aapl"), "symbol: "),
        (b"MSFT", tick(), "key: should be the symbol AAPL"),
        (None, tick(), "key: "),
    ],
)
def test_what_is_no_tick_is_distinguished_with_its_reason(key: bytes | None, value: bytes | None, reason: str) -> None:
    batch, [invalid] = parse(0, [Record(5, 9, key, value)])
    assert batch.num_rows == 0
    assert (invalid.offset, invalid.timestamp, invalid.key, invalid.value) == (5, 9, key, value)
    assert reason in invalid.reason


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([tick(), tick(price=-1), b"{}"]), st.none())))
def test_every_message_ends_on_one_side(values: list[bytes | None]) -> None:
    batch, invalid = parse(0, [Record(n, 0, b"AAPL", value) for n, value in enumerate(values)])
    assert sorted(batch["offset"].to_pylist() + [m.offset for m in invalid]) == list(range(len(values)))
    assert batch["offset"].to_pylist() == [n for n, value in enumerate(values) if value == tick()]


def test_the_csv_copy_quotes_what_needs_it() -> None:
    import pyarrow as pa

    batch, _ = parse(0, [Record(1, 1_769_785_200_456, b"AAPL", tick(producer_run='a,"b"'))])
    lines = csv_bytes(pa.Table.from_batches([batch])).decode().splitlines()
    assert lines[0].replace('"', "") == (
        "symbol,event_time,sequence,price,volume,source,producer_run,partition,offset,append_time"
    )
    assert lines[1] == '"AAPL","2026-01-30T15:00:00.123Z",4,1.5,1,"simulated","a,""b""",0,1,"2026-01-30T15:00:00.456Z"'


class Faulty(ObjectStore):
    """A store that fails the given number of times."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors, self.keys = errors, list[str]()

    def put_if_absent(
        self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = ""
    ) -> bool:
        self.put(key, body)
        return True

    def put(self, key: str, body: bytes, *, metadata: dict[str, str] | None = None, content_type: str = "") -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.keys.append(key)


def ranges(count: int) -> tuple[PartitionAssignment, list[Range]]:
    builder = RangeBuilder(0, 0, RollSettings(roll_rows=1))
    made = [r for n in range(count) for r in builder.add([Record(n, 1_769_785_200_000, b"AAPL", tick())])]
    return PartitionAssignment(builder), made


def writer(store: ObjectStore, quarantined: list[int] | None = None) -> Writer:
    kept = quarantined if quarantined is not None else []
    return Writer(store, live_names(), TOPIC_ID, lambda r: kept.append(r.first_offset), Metrics(CollectorRegistry()))


def test_a_failing_store_is_tried_again_in_order_and_quarantine_is_kept_once() -> None:
    kept: list[int] = []
    store = Faulty([StageError("down"), StageError("down")])
    assignment, made = ranges(3)
    running = writer(store, kept)
    running.submit(assignment, made)
    assert running.pending_bytes > 0
    done = running.drain(10)
    assert [d.placed.next_offset for d in done if d.placed] == [1, 2, 3]
    start, *written = store.keys
    assert start == "raw/realtime/_chain_start_0b6fbd0f6d1c_p0.json"
    assert [key.rpartition("_o")[2] for key in written] == [
        f"{n:020d}.{kind}" for n in range(3) for kind in ("parquet", "csv")
    ]
    assert (kept, running.pending_bytes, running.failing) == ([0, 1, 2], 0, False)
    running.close()


def test_a_void_lease_is_dropped_and_a_rejected_key_ends_the_writer() -> None:
    store = Faulty([])
    running = writer(store)
    assignment, made = ranges(2)
    assignment.revoked = True
    running.submit(assignment, made)
    assert [d.placed for d in running.drain(10)] == [None, None]
    assert store.keys == []
    store.errors.append(ConfigurationError("rejected"))
    running.submit(*ranges(1))
    with pytest.raises(ConfigurationError, match="rejected"):
        running.drain(10)


def test_a_stop_while_the_store_is_away_is_reported() -> None:
    store = Faulty([StageError("down")] * 1000)
    running = writer(store)
    running.submit(*ranges(2))
    with pytest.raises(StageError, match="2 ranges not written"):
        running.drain(0.3)
    running.close()
    threading.Event().wait(0.1)
    assert store.keys == []
