"""The archive's own loop under some hundred simulated histories, and with mistakes planted in it, which they find."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest
from simulated_archive import FaultyStore, run_history

from archive_ticks import service, writer_thread
from archive_ticks.append_times import AppendTimes
from archive_ticks.offset_ranges import Range, RangeBuilder
from archive_ticks.range_writer import put_range
from archive_ticks.reader import Start, locate
from archive_ticks.writer_thread import Writer

SEEDS = 150


def test_every_offset_once_whatever_happens() -> None:
    for seed in range(SEEDS):
        run_history(seed)


def overwriting(store: FaultyStore, key: str, body: bytes, **more: Any) -> bool:
    store.put(key, body, **more)
    return True


def starting_late(*given: Any) -> dict[int, Any]:
    found = locate(*given)
    return {
        number: replace(start, offset=start.offset + 1, begin=start.begin + 1)
        if isinstance(start, Start) and start.last_append_time
        else start
        for number, start in found.items()
    }


def dropping_what_is_open(builder: RangeBuilder) -> list[Range]:
    sealed, builder.open = builder.open, None
    return [sealed] if sealed and sealed.offsets > 2 else []


def with_producers_times(_: AppendTimes, __: int, records: Sequence[Any]) -> Sequence[Any]:
    return records


def going_on_after_a_lost_race(writer: Writer, assignment: Any, encoded: Any) -> Any:
    return replace(put_range(writer._store, encoded), ours=True)


def absent_from_now_on(builder: RangeBuilder, end: int, *, lost: bool = False) -> list[Range]:
    first, builder.next_offset = builder.next_offset, end
    now = 1_769_785_200_000 + round(builder._clock() * 1000)
    return [] if first == end else [Range(builder.partition, first, now, 0.0, end - 1, now, lost=lost)]


@pytest.mark.parametrize(
    ("place", "name", "mistake"),
    [
        (FaultyStore, "put_if_absent", overwriting),
        (service, "locate", starting_late),
        (RangeBuilder, "seal", dropping_what_is_open),
        (AppendTimes, "stamped", with_producers_times),
        (writer_thread.Writer, "_place", going_on_after_a_lost_race),
        (RangeBuilder, "pass_over", absent_from_now_on),
    ],
)
def test_a_planted_mistake_is_found(place: Any, name: str, mistake: Callable[..., Any]) -> None:
    with mock.patch.object(place, name, mistake):
        for seed in range(SEEDS):
            try:
                run_history(seed)
            except Exception:
                return
    pytest.fail(f"{SEEDS} histories did not find it")
