"""What is old enough to go, day by day and range by range."""

from datetime import date
from typing import Any

import pytest
from memory_store import MemoryStore

from lake_maintenance import retention
from lake_maintenance.retention import RetentionSettings, apply_retention

DAY = date(2026, 3, 31)
RANGE = (
    "raw/realtime/year=2026/month=01/day={0:02d}/hour=05/stock_data_202601{0:02d}_050000_0190a1b2c3d4_p{1}_o{2:020d}"
)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    made = MemoryStore()
    monkeypatch.setattr(retention, "ObjectStore", lambda _: made)
    return made


def removed(store: MemoryStore, keys: list[str], **keep: Any) -> list[str]:
    for key in keys:
        store.put(key, b"x")
    apply_retention(RetentionSettings(**keep), DAY)
    return [key for key in keys if key not in store.objects]


def test_what_is_as_old_as_the_days_that_it_is_kept_stays(store: MemoryStore) -> None:
    # Of another partition each, followed by a newer range, which is what stays whatever its age.
    newer = [f"{RANGE.format(31, partition, 9)}.parquet" for partition in (0, 1)]
    older, as_old = f"{RANGE.format(1, 0, 0)}.parquet", f"{RANGE.format(2, 1, 0)}.parquet"
    assert removed(store, [older, as_old, *newer], keep_raw_ticks_days=88) == [older]


def test_the_newest_range_of_each_chain_and_its_copy_stay(store: MemoryStore) -> None:
    ended = [f"{RANGE.format(1, 0, first)}.parquet" for first in (0, 5)]
    ends = [f"{RANGE.format(2, 0, 9)}.{kind}" for kind in ("csv", "parquet")]
    other = [f"{RANGE.format(1, 1, 0)}.parquet"]
    assert removed(store, [*ended, *ends, *other], keep_raw_ticks_days=14) == ended
