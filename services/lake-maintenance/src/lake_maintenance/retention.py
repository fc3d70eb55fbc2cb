"""apply-retention: removes old ticks and accelerated flows, which no lifecycle rule of a store can.

A rule knows the age of one object. The newest archived range of a partition stays whatever its age, and a flow's
objects go together.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from pydantic import Field, field_validator

from ticklake import ledger, logs
from ticklake.objects import ObjectInfo, ObjectStore
from ticklake.settings import StageSettings, StoreSettings
from ticklake.topics import live_retention_days

log = logs.get(__name__)

_DAY_IN_KEY = re.compile(r"/year=(\d{4})/month=(\d{2})/day=(\d{2})/")


class RetentionSettings(StageSettings):
    """All settings of apply-retention: days that objects are kept, 0 for always (`TICKLAKE_KEEP_…`)."""

    store: StoreSettings = Field(default_factory=StoreSettings)
    keep_raw_ticks_days: int = Field(default=0, ge=0)
    """Archived ticks, by hour of arrival."""
    keep_accelerated_days: int = Field(default=7, ge=0)
    """Whole accelerated flows, checkpoints included, by their newest object."""

    @field_validator("keep_raw_ticks_days")
    @classmethod
    def _longer_than_the_topic(cls, days: int) -> int:
        # The archive is the ledger of offsets: what the topic still holds would be archived a second time.
        least = 2 * live_retention_days()
        if 0 < days < least:
            raise ValueError(f"must be 0 or at least {least}, twice as long as the live topic holds its messages")
        return days


@dataclass
class Removal:
    """What goes, by name of the rule."""

    objects: dict[str, int] = field(default_factory=dict)
    size: int = 0
    """Bytes."""


def apply_retention(settings: RetentionSettings, today: date, *, dry_run: bool = False) -> Removal:
    """Remove what is older than its rule allows on `today`; with `dry_run`, only count it."""
    store, done = ObjectStore(settings.store), Removal()
    for name, prefix, days, old in (
        ("raw ticks", "raw/realtime/", settings.keep_raw_ticks_days, _ticks),
        ("accelerated", "accelerated/", settings.keep_accelerated_days, _flows),
    ):
        if not days:
            continue
        found = list(old(store, prefix, today - timedelta(days=days)))
        done.objects[name] = len(found)
        done.size += sum(item.size for item in found)
        if found and not dry_run:
            store.delete_all(item.key for item in found)
        log.info("would remove" if dry_run else "removed", what=name, objects=len(found), older_than_days=days)
    return done


def _written(item: ObjectInfo) -> date:
    return item.modified.astimezone(UTC).date() if item.modified else date.max


def _day(item: ObjectInfo) -> date:
    day = _DAY_IN_KEY.search(item.key)
    try:
        return date(*map(int, day.groups())) if day else date.max
    except ValueError:  # no day of the calendar, so no key of ours
        return date.max


def _ticks(store: ObjectStore, prefix: str, before: date) -> Iterator[ObjectInfo]:
    """All that is old, but for the range in which each partition's chain ends, and its copy."""
    ends: dict[tuple[str, int], tuple[int, list[ObjectInfo]]] = {}
    for item in store.list_objects(prefix):
        found, old = ledger.RangeKey.parse(item.key), _day(item) < before
        if found is None:
            yield from [item] if old else []
            continue
        last, waiting = ends.get((found.topic_id, found.partition), (-1, []))
        if found.first_offset < last:
            yield from [item] if old else []
        elif found.first_offset == last:
            waiting += [item] if old else []
        else:
            yield from waiting
            ends[found.topic_id, found.partition] = found.first_offset, [item] if old else []


def _flows(store: ObjectStore, prefix: str, before: date) -> Iterator[ObjectInfo]:
    for folder in store.folders(prefix):
        items = list(store.list_objects(folder))
        if items and max(map(_written, items)) < before:
            yield from items


def today_utc() -> date:
    """The current day."""
    return datetime.now(UTC).date()
