"""tick-bars: the bars of one hour of event time, made from the archive."""

import hashlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from archive_ticks import bars
from ticklake import calendar, ledger, ledger_table, logs, manifests
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.expectations import QualityError
from ticklake.ledger import LedgerRange, RangeKey
from ticklake.lineage import ObjectRef
from ticklake.manifests import BarManifest
from ticklake.names import LiveNames
from ticklake.objects import ObjectStore
from ticklake.settings import LiveSettings, StageSettings, StoreSettings

log = logs.get(__name__)

_HOUR = timedelta(hours=1)


class BarSettings(StageSettings):
    """All settings of tick-bars."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    bars_late_hours: int = Field(default=1, ge=0)
    """Hours of arrival, after the bars' own, in which late ticks are looked for."""
    bars_max_silence_seconds: float = Field(default=900, ge=0)
    """Longest time without a tick at the end of an hour in which the exchange trades; 0 switches this check off."""


def make_bars(settings: BarSettings, hour: datetime) -> dict[str, object]:
    """Write the bars of the hour of event time that begins at `hour` (UTC), replacing those of an earlier call.

    Returns:
        what was read and written, in numbers.

    Raises:
        ConfigurationError: the hour is not over.
        IntegrityError: the archive has a gap, or an object of it is damaged.
        QualityError: the ticks ended long before the hour did, while the exchange was trading.
    """
    if hour + _HOUR > datetime.now(UTC):
        raise ConfigurationError(f"the hour from {hour:%Y-%m-%d %H:%M} UTC is not over")
    store, live = ObjectStore(settings.store), settings.live.names
    entries = sorted(
        _entries(store, live, hour, settings.bars_late_hours), key=lambda item: (_place(item), item[1].first_offset)
    )
    partitions = [list(items) for _, items in groupby(entries, key=_place)]
    for items in partitions:
        ledger.check_chain([entry for _, entry in items])
    tables, read = [], []
    # All ticks of a symbol are in one partition, so no more than a partition's hour is held at a time.
    for items in partitions:
        ticks, refs = _ticks(store, hour, [key for key, entry in items if _concerns(entry, hour)])
        read += refs
        if ticks is not None:
            tables += [bars.make(ticks, length) for length in bars.LENGTHS]
    made = pa.concat_tables(tables) if tables else bars.SCHEMA.empty_table()
    manifest = _write(store, live, hour, made, read)
    _check_silence(settings, hour, pc.max(made["last_event_time"]).as_py())
    return {
        "hour": f"{hour:%Y-%m-%dT%H}Z", "ticks": manifest.ticks, "objects_read": len(read),
        "bars": sum(item.rows for item in manifest.objects),
    }  # fmt: skip


def _entries(
    store: ObjectStore, live: LiveNames, hour: datetime, late_hours: int
) -> Iterator[tuple[RangeKey, LedgerRange]]:
    """The archive's ranges that can hold ticks of the hour.

    A tick is filed under the hour in which it arrived: its own, one of those after it, or the one before where the
    producer's clock is ahead of the broker's.
    """
    for offset in range(-1, late_hours + 1):
        for found in store.list_objects(ledger.hour_prefix(live, hour + offset * _HOUR)):
            key = RangeKey.parse(found.key)
            if key is None or not found.key.endswith(".parquet"):
                continue
            entry = ledger.read_range(store, found.key)
            if entry is not None:
                yield key, entry


def _place(item: tuple[RangeKey, LedgerRange]) -> tuple[str, int]:
    return item[1].topic_id, item[1].partition


def _ticks(store: ObjectStore, hour: datetime, keys: list[RangeKey]) -> tuple[pa.Table | None, list[ObjectRef]]:
    """The hour's distinct ticks in one partition's objects, and those objects that have any."""
    parts, refs = [], []
    for key in keys:
        body = store.get(key.key)
        part = bars.within(ledger_table.read_file(body)[1], hour)
        if part.num_rows:
            parts.append(part)
            digest = hashlib.sha256(body).hexdigest()
            refs.append(ObjectRef(key=key.key, rows=part.num_rows, size=len(body), sha256=digest))
    return (bars.distinct(pa.concat_tables(parts)) if parts else None), refs


def _concerns(entry: LedgerRange, hour: datetime) -> bool:
    least, greatest = entry.least_event_time, entry.greatest_event_time
    return least is not None and greatest is not None and least < hour + _HOUR and greatest >= hour


def _write(store: ObjectStore, live: LiveNames, hour: datetime, made: pa.Table, read: list[ObjectRef]) -> BarManifest:
    """The bars' file, then the manifest that names it, then the end of what it replaces."""
    ticks = _counted(made, "1m")
    if ticks != _counted(made, "1h"):
        raise IntegrityError(f"{ticks} ticks are in minute bars, {_counted(made, '1h')} in hour bars")
    folder = f"{live.processed_prefix}/bars/date={hour:%Y-%m-%d}/hour={hour:%H}/"
    objects: tuple[ObjectRef, ...] = ()
    if made.num_rows:
        whole = made.sort_by([(name, "ascending") for name in ("bar_length", "symbol", "source", "bar_start")])
        sink = io.BytesIO()
        pq.write_table(whole, sink, compression="zstd")
        body = sink.getvalue()
        digest = hashlib.sha256(body).hexdigest()
        key = f"{folder}bars-{digest[:12]}.parquet"
        store.put(key, body)
        objects = (ObjectRef(key=key, rows=whole.num_rows, size=len(body), sha256=digest),)
    manifest = BarManifest(objects=objects, hour=hour, ticks=ticks, read=tuple(read))
    manifests.write_bars(store, live, manifest)
    named = {item.key for item in objects}
    for old in [found.key for found in store.list_objects(folder) if found.key not in named]:
        store.delete(old)
    return manifest


def _counted(made: pa.Table, length: str) -> int:
    counts = made.filter(pc.equal(made["bar_length"], length))["tick_count"]
    return int(pc.sum(counts).as_py() or 0)


def _check_silence(settings: BarSettings, hour: datetime, last: datetime | None) -> None:
    limit = settings.bars_max_silence_seconds
    if not limit or (trading_end := _trading_end(settings.calendar, hour)) is None:
        return
    silence = (trading_end - (last or hour)).total_seconds()
    if last is None or silence > limit:
        since = "none at all" if last is None else f"the last at {last:%H:%M:%S}"
        raise QualityError(
            f"the hour from {hour:%Y-%m-%d %H:%M} UTC has no tick in its last {limit:g} s of trading ({since}): "
            "is stream-ticks running? Its bars are written all the same"
        )


def _trading_end(code: str, hour: datetime) -> datetime | None:
    """When trading ends in the hour, at the latest with the hour itself; None where the exchange is closed."""
    session = calendar.last_session(code, hour.date())
    end = min(hour + _HOUR, calendar.session_close(code, session))
    return end if session == hour.date() and end > max(hour, calendar.session_open(code, session)) else None
