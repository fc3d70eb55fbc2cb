"""tick-bars: what arrived in the archive up to an hour's end, as tables of ticks, bars and gaps."""

from datetime import UTC, datetime

import pyarrow.compute as pc
from pydantic import Field

from tick_bars.bar_restatement import Restating
from tick_bars.hours import HOUR, MINUTE, trading_minutes
from tick_bars.pending_ranges import parts
from tick_bars.table_progress import least
from tick_bars.ticks_table import LOST, Recording
from ticklake.batch_checks import QualityError
from ticklake.catalog import LakeTables, between, matching
from ticklake.errors import ConfigurationError, IntegrityError
from ticklake.objects import ObjectStore
from ticklake.settings import CatalogSettings, LiveSettings, StageSettings, StoreSettings
from ticklake.tables import NAMESPACES, TICK_BARS, TICK_GAPS


class BarSettings(StageSettings):
    """All settings of tick-bars."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    catalog: CatalogSettings = Field(default_factory=CatalogSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)
    bars_max_silence_seconds: float = Field(default=900, ge=0)
    """Longest time without a tick at the end of an hour in which the exchange trades; 0 switches this check off."""


def make_bars(settings: BarSettings, hour: datetime, run_id: str) -> dict[str, object]:
    """Bring what arrived up to the end of the hour that begins at `hour` (UTC) into the tables, once.

    A tick that came late has the bars of its own hour recomputed. Whatever an earlier call left undone is done too.

    Returns:
        what was read and written, in numbers.

    Raises:
        ConfigurationError: the hour is not over.
        IntegrityError: the archive lacks offsets (what it has is in the tables all the same), has some twice, or an
            object of it is damaged.
        QualityError: the ticks ended long before the hour did, while the exchange was trading.
        StageError: another run works on the same flow, or store or catalog failed.
    """
    end = hour + HOUR
    if end > datetime.now(UTC):
        raise ConfigurationError(f"the hour from {hour:%Y-%m-%d %H:%M} UTC is not over")
    store, tables, flow = ObjectStore(settings.store), LakeTables(settings.catalog, settings.store), settings.live
    recordings = [Recording.begin(tables, namespace, flow.namespace, run_id) for namespace in NAMESPACES]
    restatings = [Restating(tables, each.namespace, flow.namespace, settings.calendar, run_id) for each in recordings]
    counts = dict.fromkeys(("ticks", "objects_read", "bars", "silent_spans"), 0)

    def restate() -> None:
        for recording, restating in zip(recordings, restatings, strict=True):
            done = restating.run(end, recording.ends)
            counts["bars"] += done.bars
            counts["silent_spans"] += done.silent

    for part in parts(store, flow.names, least([each.ends for each in recordings]), hour):
        counts["objects_read"] += len(part.ranges)
        counts["ticks"] += sum(each.add(part) for each in recordings)
        restate()
    restate()
    _check_lost(tables, flow.namespace, hour)
    _check_silence(settings, tables, hour)
    return {"hour": f"{hour:%Y-%m-%dT%H}Z", **counts}


def _check_lost(tables: LakeTables, flow: str, hour: datetime) -> None:
    rows = matching(between("gap_end", hour, hour + HOUR), flow=[flow], kind=[LOST])
    named = {
        f"partition {row['partition']}: offsets {row['first_offset']}-{row['last_offset']} are missing"
        for namespace in NAMESPACES
        for row in tables.read(namespace, TICK_GAPS, rows).to_pylist()
    }
    if named:
        raise IntegrityError(f"the archive has a gap, {'; '.join(sorted(named))}; bars are made of what it has")


def _check_silence(settings: BarSettings, tables: LakeTables, hour: datetime) -> None:
    limit, trading = settings.bars_max_silence_seconds, trading_minutes(settings.calendar, hour)
    if not limit or not trading:
        return
    rows = matching(between("bar_start", hour, hour + HOUR), flow=[settings.live.namespace], bar_length=["1h"])
    columns = ("last_event_time",)
    found = [pc.max(tables.read(each, TICK_BARS, rows, columns)[columns[0]]).as_py() for each in NAMESPACES]
    last = max((time for time in found if time is not None), default=None)
    silence = (trading[-1] + MINUTE - (last or hour)).total_seconds()
    if last is None or silence > limit:
        since = "none at all" if last is None else f"the last at {last:%H:%M:%S}"
        raise QualityError(
            f"the hour from {hour:%Y-%m-%d %H:%M} UTC has no tick in its last {limit:g} s of trading ({since}): "
            "is stream-ticks running? Its bars are written all the same"
        )
