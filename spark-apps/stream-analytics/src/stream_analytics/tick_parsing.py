"""Messages of the live topic to ticks in Arrow; `ticklake.ticks` says what a valid one is."""

import pyarrow as pa
import pyarrow.compute as pc

from ticklake.records import Tick
from ticklake.ticks import read_tick

METRICS = "ticks"
"""Name under which a query's progress has the sums of `COUNTS`."""

COUNTS = ("rows", "invalid", "future")
"""Of messages: how many there are, are no valid tick, have a tick from the future."""

_TICKS = pa.schema(
    {
        "symbol": pa.string(),
        "source": pa.string(),
        "price": pa.float64(),
        "volume": pa.int64(),
        "event_time": pa.timestamp("us", "UTC"),
        "sequence": pa.int64(),
        "producer_run": pa.string(),
    }
)


def parsed(messages: pa.RecordBatch, future_tolerance: float | None) -> tuple[pa.Table, pa.Table]:
    """The valid ticks in messages, and one row with `COUNTS`.

    Args:
        messages: Kafka's key, value and timestamp.
        future_tolerance: see `ticklake.ticks.read_tick`.
    """
    ticks: list[Tick] = []
    invalid = future = 0
    append_times = pc.divide(messages["timestamp"].cast(pa.int64()), 1000)
    columns = messages["key"].to_pylist(), messages["value"].to_pylist(), append_times.to_pylist()
    for key, value, append_ms in zip(*columns, strict=True):
        tick = read_tick(key, value, append_ms, future_tolerance)
        if isinstance(tick, Tick):
            ticks.append(tick)
        else:
            future += tick.from_future
            invalid += not tick.from_future
    found = {field.name: pa.array([getattr(tick, field.name) for tick in ticks], field.type) for field in _TICKS}
    counts = zip(COUNTS, (messages.num_rows, invalid, future), strict=True)
    return pa.table(found, _TICKS), pa.table({name: [count] for name, count in counts})
