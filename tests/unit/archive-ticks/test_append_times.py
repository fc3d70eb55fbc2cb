"""Messages with their producers' times have that of the next one that the broker stamped, however they are read."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archive_ticks.append_times import AppendTimes, Searched
from ticklake.errors import StageError


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None = b"AAPL"
    value: bytes | None = b"{}"
    headers: tuple[tuple[str, bytes], ...] = ()


def log_of(stamped: list[bool]) -> list[Record]:
    return [Record(n, 1000 + n if by_broker else 7, int(by_broker)) for n, by_broker in enumerate(stamped)]


def search_in(log: list[Record], most: int) -> object:
    """As the real one, which gives up after some time: here after `most` records."""

    def search(_: int, begin: int) -> Searched:
        for record in log[begin : begin + most]:
            if record.timestamp_type == 1:
                return Searched(begin, record.offset, record.timestamp)
        return Searched(begin, min(begin + most, len(log)))

    return search


READS = st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), max_size=30)


@given(st.lists(st.booleans(), min_size=1, max_size=40), READS, st.integers(1, 50))
def test_the_time_is_a_function_of_the_log(stamped: list[bool], reads: list[tuple[int, int]], most: int) -> None:
    log = log_of(stamped)
    times = AppendTimes(search_in(log, most))  # type: ignore[arg-type]
    for begin, count in reads:
        records = log[begin : begin + count]
        if not records:
            continue
        found = times.stamped(0, records)
        for record, message in zip(records, found, strict=False):
            due = next(each.timestamp for each in log[record.offset :] if each.timestamp_type == 1)
            assert (message.offset, message.timestamp) == (record.offset, due)
        # Only what no stamped message follows, or none that was searched for yet, is left for later.
        assert all(record.timestamp_type == 0 for record in records[len(found) :])
    while not times.stamped(0, log[:1]) and any(stamped):
        pass


def test_what_was_found_for_a_later_message_is_not_an_earlier_ones() -> None:
    log = log_of([False, True, False, True])
    times = AppendTimes(search_in(log, 9))  # type: ignore[arg-type]
    assert [times.stamped(0, log[n : n + 1])[0].timestamp for n in (2, 0)] == [1003, 1001]


def test_a_broker_that_is_away_leaves_the_messages_for_later() -> None:
    def away(_: int, __: int) -> Searched:
        raise StageError("away")

    assert AppendTimes(away).stamped(0, log_of([True, False, False]))[-1].offset == 0


@pytest.mark.parametrize("partition", [0, 1])
def test_partitions_do_not_mix(partition: int) -> None:
    logs = (log_of([False, True]), log_of([False, False, True]))
    times = AppendTimes(lambda number, begin: search_in(logs[number], 9)(number, begin))  # type: ignore[operator]
    for number in (0, 1):
        times.stamped(number, logs[number][:1])
    assert times.stamped(partition, logs[partition][:1])[0].timestamp == 1001 + partition
