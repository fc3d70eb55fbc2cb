"""Compares what a live flow left behind: ticks sent, ticks archived, and closed windows recomputed from the archive."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ticklake import kafka, ledger
from ticklake.catalog import LakeTables, matching
from ticklake.errors import IntegrityError
from ticklake.ledger_table import read_object
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.tables import NAMESPACES, WINDOWS
from ticklake.topics import LiveNames


@dataclass(frozen=True)
class LiveCounts:
    """What a live flow holds, after it was compared."""

    sent: int
    """Messages in the topic."""
    archived: int
    quarantined: int
    windows: int
    """Closed windows that readers see."""


def check(broker: KafkaSettings, store: ObjectStore, tables: LakeTables, flow: LiveSettings, late: int) -> LiveCounts:
    """Compare topic, archive and windows of a flow whose services have stopped.

    Args:
        late: ticks that the windows left out for being late; with any, windows are only counted.

    Raises:
        IntegrityError: a tick is missing or doubled, or a window differs from the archived ticks.
    """
    live = flow.names
    sent = sum(kafka.end_offsets(broker, live.topic).values())
    chains = ledger.verify_chain(store, live, kafka.topic_id(broker, live.topic))
    ranges = [part for chain in chains.values() for part in chain]
    archived, quarantined, absent = (
        sum(getattr(part, name) for part in ranges) for name in ("rows", "invalid_rows", "absent_rows")
    )
    if sent != archived + quarantined + absent:
        raise IntegrityError(
            f"{sent} ticks were sent, but {archived} archived, {quarantined} quarantined and {absent} not in the log"
        )
    windows = _windows(tables, flow.namespace)
    if late == 0:
        _compare(windows, _ticks(store, live, ranges))
    return LiveCounts(sent, archived, quarantined, windows.num_rows)


def _ticks(store: ObjectStore, live: LiveNames, ranges: list[ledger.LedgerRange]) -> pa.Table:
    keys = (
        ledger.range_key(live, part.topic_id, part.partition, part.first_offset, part.first_append_time)
        for part in ranges
    )
    return pa.concat_tables([read_object(store, key)[1] for key in keys])


def _windows(tables: LakeTables, flow: str) -> pa.Table:
    return pa.concat_tables([tables.read(namespace, WINDOWS, matching(flow=[flow])) for namespace in NAMESPACES])


def _compare(windows: pa.Table, ticks: pa.Table) -> None:
    by_symbol = {
        symbol: ticks.filter(pc.equal(ticks["symbol"], symbol)) for symbol in windows["symbol"].unique().to_pylist()
    }
    for window in windows.to_pylist():
        own = by_symbol[window["symbol"]]
        times = own["event_time"].cast(pa.timestamp("us", tz="UTC"))
        inside = own.filter(
            pc.and_(pc.greater_equal(times, window["window_start"]), pc.less(times, window["window_end"]))
        )
        low_high = pc.min_max(inside["price"]).as_py()
        expected = {
            "tick_count": inside.num_rows,
            "volume": pc.sum(inside["volume"]).as_py(),
            "low": low_high["min"],
            "high": low_high["max"],
        }
        found = {name: window[name] for name in expected}
        if found != expected:
            raise IntegrityError(
                f"the window of {window['window_length']} from {window['window_start']} of {window['symbol']} "
                f"has {found}, the archive {expected}"
            )
