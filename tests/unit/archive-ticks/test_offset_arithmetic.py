"""Any interleaving of writers, crashes and hour changes leaves a chain without gap or overlap."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_store import MemoryStore

from archive_ticks.offset_ranges import Encoded, RangeBuilder, encode
from archive_ticks.range_writer import put_range
from archive_ticks.reader import Bounds, Start, locate
from archive_ticks.settings import RollSettings
from ticklake.errors import IntegrityError
from ticklake.ledger import ChainStart, LedgerRange, chain_ends, chain_start_key, claim_chain_start, verify_chain
from ticklake.ledger_table import parquet_bytes, read_file, read_object
from ticklake.topics import live_names

LIVE = live_names()
TOPIC_ID = "0b6fbd0f-6d1c-4d0e-9c0a-2f6f5f1f3a11"
OTHER_ID = "ffffffff-6d1c-4d0e-9c0a-2f6f5f1f3a11"
HOUR = 3_600_000
START = 1_769_785_200_000  # 2026-01-30T15:00:00Z


@dataclass(frozen=True)
class Record:
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


def record(offset: int, timestamp: int, valid: bool = True) -> Record:
    tick = {
        "symbol": "AAPL",
        "price": 1.5,
        "volume": 1,
        "event_time": "2026-01-30T15:00:00.000Z",
        "sequence": offset,
        "producer_run": "run",
        "source": "simulated",
    }
    return Record(offset, timestamp, b"AAPL", json.dumps(tick).encode() if valid else b"{")


def limits(rows: int = 10**6, size: int = 10**9, seconds: float = 1e9) -> RollSettings:
    return RollSettings(roll_rows=rows, roll_bytes=size, roll_seconds=seconds)


@dataclass
class Process:
    """One archive process, step by step: it reads, rolls and writes at any later moment."""

    store: MemoryStore
    log: list[Record]
    rows: int
    builder: RangeBuilder | None = None
    sealed: list[Encoded] = field(default_factory=list)

    def start(self) -> None:
        at = datetime.fromtimestamp(self.log[0].timestamp / 1000, UTC)
        bounds = Bounds(0, self.log[-1].offset + 1, at)
        start = locate(self.store, LIVE, TOPIC_ID, [0], lambda _: {0: bounds})[0]
        assert isinstance(start, Start)
        self.begin(start.offset, start.last_append_time)

    def begin(self, offset: int, before: datetime | None) -> None:
        last_time = None if before is None else round(before.timestamp() * 1000)
        self.builder, self.sealed = RangeBuilder(0, offset, limits(self.rows), last_time), []

    def read(self, count: int) -> None:
        if self.builder is None:
            return self.start()
        due = self.builder.next_offset
        found = self.builder.add([record for record in self.log if record.offset >= due][:count])
        self.sealed += [encode(item, LIVE, TOPIC_ID) for item in found]
        return None

    def seal(self) -> None:
        if self.builder is not None:
            self.sealed += [encode(item, LIVE, TOPIC_ID) for item in self.builder.seal()]

    def write(self) -> None:
        if self.builder is None or not self.sealed:
            return
        placed = put_range(self.store, self.sealed.pop(0))
        if not placed.ours:
            self.begin(placed.next_offset, placed.last_append_time)

    def crash(self) -> None:
        self.builder, self.sealed = None, []

    def finish(self) -> None:
        self.start()
        last = self.log[-1].offset
        while self.builder is None or self.builder.next_offset <= last or self.builder.open or self.sealed:
            self.read(50)
            self.seal()
            self.write()


LOGS = st.lists(
    st.tuples(
        st.sampled_from([0, 1000, 1000, 1000, HOUR // 3, HOUR, 30 * HOUR, -1000, -HOUR // 2]),
        st.booleans(),
        st.sampled_from([0, 0, 0, 1, 3]),
    ),
    min_size=1,
    max_size=60,
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["start", "read", "read", "seal", "write", "write", "crash"]),
        st.integers(1, 15),
    ),
    max_size=60,
)


def make_log(moves: list[tuple[int, bool, int]]) -> list[Record]:
    """A message for each move of the clock, behind so many offsets without one."""
    time, offset, log = START, 0, []
    for move, valid, absent in moves:
        time += move
        offset += absent
        log.append(record(offset, time, valid))
        offset += 1
    return log


def check(store: MemoryStore, log: list[Record]) -> None:
    chain = verify_chain(store, LIVE, TOPIC_ID)[0]
    assert (chain[0].first_offset, chain[-1].last_offset) == (log[0].offset, log[-1].offset)
    there = {record.offset: record for record in log}
    rows: list[int] = []
    invalid: list[int] = []
    absent: list[int] = []
    for key in [key for key in store.objects if key.endswith(".parquet")]:
        entry, table = read_object(store, key)
        rows += table["offset"].to_pylist()
        invalid += [offset for first, last in entry.invalid or () for offset in range(first, last + 1)]
        absent += [offset for first, last in entry.absent or () for offset in range(first, last + 1)]
        held = [there[n] for n in range(entry.first_offset, entry.last_offset + 1) if n in there]
        before = max((offset for offset in there if offset < entry.first_offset), default=0)
        hours = {record.timestamp // HOUR for record in held or [there[before]]}
        assert len(hours) == 1
        assert f"/hour={datetime.fromtimestamp(hours.pop() * 3600, UTC):%H}/" in key
    assert sorted(rows) == [record.offset for record in log if record.value != b"{"]
    assert sorted(invalid) == [record.offset for record in log if record.value == b"{"]
    assert sorted(absent) == [n for n in range(log[0].offset, log[-1].offset) if n not in there]


@settings(max_examples=150, deadline=None)
@given(LOGS, STEPS, st.integers(1, 20))
def test_every_offset_once(moves: list[tuple[int, bool, int]], steps: list[tuple[int, str, int]], rows: int) -> None:
    store, log = MemoryStore(), make_log(moves)
    processes = [Process(store, log, rows) for _ in range(3)]
    for number, action, count in steps:
        process = processes[number]
        if action == "read":
            process.read(count)
        else:
            getattr(process, action)()
    # One that holds ranges may still write them while the last one finishes.
    for process in processes:
        process.write()
    processes[0].finish()
    for process in processes:
        process.write()
    check(store, log)


def test_without_the_conditional_write_the_verification_finds_the_damage() -> None:
    log = make_log([(1000, True, 0)] * 20)
    store = MemoryStore(conditional=False)
    slow, other = Process(store, log, 10**6), Process(store, log, 10**6)
    slow.start()
    slow.read(5)
    other.start()
    other.read(8)
    other.seal()
    other.write()
    slow.seal()
    slow.write()
    other.read(12)
    other.seal()
    other.write()
    with pytest.raises(IntegrityError, match="offsets 5-7 are missing"):
        verify_chain(store, LIVE, TOPIC_ID)


def test_ranges_roll_by_rows_bytes_and_age() -> None:
    log = make_log([(1000, True, 0)] * 10)
    by_rows = RangeBuilder(0, 0, limits(rows=4))
    assert [(r.first_offset, r.last_offset) for n in range(10) for r in by_rows.add(log[n : n + 1])] == [(0, 3), (4, 7)]
    size = len(log[0].value or b"")
    by_bytes = RangeBuilder(0, 0, limits(size=3 * size))
    assert next((r.first_offset, r.last_offset) for n in range(10) for r in by_bytes.add(log[n : n + 1])) == (0, 2)
    now = [100.0]
    by_age = RangeBuilder(0, 0, limits(seconds=60), clock=lambda: now[0])
    by_age.add(log[:3])
    now[0] = 159.9
    by_age.add(log[3:5])
    assert by_age.seal_if_old(5) == []
    now[0] = 160.0
    assert [(r.first_offset, r.last_offset) for r in by_age.seal_if_old(5)] == [(0, 4)]


def test_a_range_ends_with_the_hour_of_the_brokers_clock() -> None:
    builder = RangeBuilder(0, 0, limits())
    log = [record(n, START + HOUR + move) for n, move in enumerate((-2, -1, 0, 1))]
    ended = [sealed for each in log for sealed in builder.add([each])] + builder.seal()
    assert [(each.first_offset, each.last_offset) for each in ended] == [(0, 1), (2, 3)]


def test_what_is_absent_at_the_end_of_the_log_is_noted_once_nothing_more_comes() -> None:
    now = [100.0]
    builder = RangeBuilder(0, 0, limits(seconds=60), clock=lambda: now[0])
    builder.add([record(0, START), record(2, START + 1000)])
    now[0] = 160.0
    [first] = builder.seal_if_old(5)
    assert encode(first, LIVE, TOPIC_ID).entry.absent == ((1, 1),)
    now[0] = 219.9
    assert builder.seal_if_old(5) == []
    now[0] = 220.0
    [second] = builder.seal_if_old(5)
    entry = encode(second, LIVE, TOPIC_ID).entry
    assert (entry.first_offset, entry.last_offset, entry.rows, entry.absent) == (3, 4, 0, ((3, 4),))
    assert entry.first_append_time == datetime.fromtimestamp((START + 1000) / 1000, UTC)
    assert builder.seal_if_old(5) == []


def test_offsets_that_are_repeated_are_an_error() -> None:
    with pytest.raises(IntegrityError, match="partition 0: the broker delivered offset 1 where 2 was due"):
        RangeBuilder(0, 0, limits()).add([record(offset, START) for offset in (0, 1, 1)])


def put(store: MemoryStore, first: int, count: int, time: int, topic_id: str = TOPIC_ID, partition: int = 0) -> None:
    builder = RangeBuilder(partition, first, limits(), START if first else None)
    builder.add([record(first + n, time) for n in range(count)])
    put_range(store, encode(builder.seal()[0], LIVE, topic_id))


def test_a_partition_that_lost_what_was_not_archived_waits_for_a_person_and_no_other_does() -> None:
    store = MemoryStore()
    put(store, 0, 10, START)
    put(store, 0, 10, START, partition=1)
    at = datetime.fromtimestamp(START / 1000, UTC)

    def start(number: int, *accepted: str) -> Start | IntegrityError:
        bounds = {0: Bounds(15, 20, at), 1: Bounds(10, 20, None)}
        return locate(store, LIVE, TOPIC_ID, [0, 1], lambda _: bounds, accepted)[number]

    fault = start(0, "0:9", "1:10")
    assert isinstance(fault, IntegrityError)
    assert "offsets 10-14 were never archived" in str(fault)
    assert "TICKLAKE_ARCHIVE_ACCEPTED_GAPS=0:10 " in str(fault)
    assert start(1) == Start(10, 10, at)
    accepted = start(0, "0:10")
    assert accepted == Start(10, 15, at)
    builder = RangeBuilder(0, 10, limits(), START)
    [gap] = builder.pass_over(15, lost=True)
    entry = encode(gap, LIVE, TOPIC_ID).entry
    assert (entry.absent, entry.lost, builder.next_offset) == (((10, 14),), True, 15)


def test_of_two_that_begin_a_chain_at_different_offsets_one_does() -> None:
    store, log = MemoryStore(), [record(n, START + n) for n in range(6)]
    first, second = RangeBuilder(0, 1, limits()), RangeBuilder(0, 3, limits())
    for builder in (first, second):
        builder.add(log[builder.next_offset :])
    assert put_range(store, encode(second.seal()[0], LIVE, TOPIC_ID)).ours
    beaten = put_range(store, encode(first.seal()[0], LIVE, TOPIC_ID))
    assert (beaten.ours, beaten.next_offset) == (False, 3)
    assert [entry.first_offset for entry in verify_chain(store, LIVE, TOPIC_ID)[0]] == [3]


def test_a_chain_whose_first_range_was_not_written_goes_on_at_its_start() -> None:
    store, log = MemoryStore(), [record(n, START + n) for n in range(6)]
    builder = RangeBuilder(0, 1, limits())
    builder.add(log[1:])
    delayed = encode(builder.seal()[0], LIVE, TOPIC_ID)
    assert delayed.chain_start_key is not None
    start = ChainStart(topic_id=TOPIC_ID, partition=0, first_offset=1, first_append_time=_at(START + 1))
    assert claim_chain_start(store, delayed.chain_start_key, start) == start

    def found(begin: int, *accepted: str) -> Start | IntegrityError:
        return locate(store, LIVE, TOPIC_ID, [0], lambda _: {0: Bounds(begin, 6, _at(START + begin))}, accepted)[0]

    assert found(1) == Start(1, 1, _at(START + 1))
    assert "offsets 1-2 were never archived" in str(found(3))
    assert found(3, "0:1") == Start(1, 3, _at(START + 1))
    # Whatever takes the place of the first range has its key, so that one that was delayed comes to nothing.
    other = RangeBuilder(0, 1, limits(), START + 1)
    [gap] = other.pass_over(3, lost=True)
    assert put_range(store, encode(gap, LIVE, TOPIC_ID)).ours
    beaten = put_range(store, delayed)
    assert (beaten.ours, beaten.next_offset) == (False, 3)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"topic_id":"another","partition":0,"first_offset":1}'])
def test_a_damaged_start_of_a_chain_stops_its_partition(body: bytes) -> None:
    store = MemoryStore()
    store.put(chain_start_key(LIVE, TOPIC_ID, 0), body)
    fault = locate(store, LIVE, TOPIC_ID, [0], lambda _: {0: Bounds(1, 6, _at(START))})[0]
    assert isinstance(fault, IntegrityError)
    assert "_chain_start_" in str(fault)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def test_a_log_that_ends_before_the_archive_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("archive_ticks.reader._SHORT_LOG_SECONDS", 0.0)
    store = MemoryStore()
    put(store, 0, 10, START)
    bounds = Bounds(0, 4, datetime.fromtimestamp(START / 1000, UTC))
    fault = locate(store, LIVE, TOPIC_ID, [0], lambda _: {0: bounds})[0]
    assert "archived up to offset 9, but the log ends at 3" in str(fault)


def test_a_damaged_end_of_a_chain_stops_its_partition_alone() -> None:
    store = MemoryStore()
    put(store, 0, 10, START)
    put(store, 0, 10, START, partition=1)
    damaged = next(key for key in store.objects if "_p0_o" in key)
    store.put(damaged, store.get(damaged), metadata={})
    bounds = dict.fromkeys((0, 1), Bounds(0, 20, datetime.fromtimestamp(START / 1000, UTC)))
    starts = locate(store, LIVE, TOPIC_ID, [0, 1], lambda _: bounds)
    assert "no readable ledger metadata" in str(starts[0])
    assert isinstance(starts[1], Start)


def test_the_search_for_the_ends_is_bounded() -> None:
    store = MemoryStore()
    for hour in range(200):
        put(store, hour, 1, START + hour * HOUR, partition=0)
    put(store, 0, 3, START + 199 * HOUR, partition=1)
    put(store, 0, 7, START + 199 * HOUR, topic_id=OTHER_ID, partition=2)
    store.listings = 0
    newest = datetime.fromtimestamp((START + 199 * HOUR) / 1000, UTC)
    ends = chain_ends(store, LIVE, TOPIC_ID, {0: None, 1: None, 2: newest})
    assert {p: end.last_offset for p, end in ends.items() if isinstance(end, LedgerRange)} == {0: 199, 1: 2}
    assert store.listings <= 4
    assert chain_ends(store, LIVE, OTHER_ID, {0: newest, 2: newest}).keys() == {2}


def test_a_clock_that_went_back_over_the_hour_hides_no_end() -> None:
    store = MemoryStore()
    put(store, 0, 5, START + HOUR)
    put(store, 5, 5, START + HOUR - 1000)
    end = chain_ends(store, LIVE, TOPIC_ID, {0: None})[0]
    assert isinstance(end, LedgerRange)
    assert end.last_offset == 9


def test_the_topics_namesake_has_a_chain_of_its_own() -> None:
    store = MemoryStore()
    put(store, 0, 10, START)
    put(store, 0, 4, START, topic_id=OTHER_ID)
    assert verify_chain(store, LIVE, TOPIC_ID)[0][0].last_offset == 9
    assert verify_chain(store, LIVE, OTHER_ID)[0][0].last_offset == 3


def test_a_range_without_a_valid_row_has_its_object() -> None:
    builder = RangeBuilder(3, 7, limits())
    builder.add([record(7 + n, START, valid=False) for n in range(3)])
    encoded = encode(builder.seal()[0], LIVE, TOPIC_ID)
    entry: LedgerRange = encoded.entry
    assert (entry.rows, entry.invalid_rows, entry.invalid) == (0, 3, ((7, 9),))
    assert (entry.least_event_time, entry.greatest_event_time) == (None, None)
    store = MemoryStore()
    assert put_range(store, encoded).ours
    assert verify_chain(store, LIVE, TOPIC_ID)[3][0].last_offset == 9


def test_a_repeated_attempt_wins_against_itself() -> None:
    builder = RangeBuilder(0, 0, limits())
    builder.add([record(n, START) for n in range(3)])
    encoded = encode(builder.seal()[0], LIVE, TOPIC_ID)
    store = MemoryStore()
    assert (put_range(store, encoded), put_range(store, encoded)) == (put_range(store, encoded),) * 2
    assert put_range(store, encoded).ours


@pytest.mark.parametrize("absent", [((1, 1),), ((3, 3),), ((5, 5),)])
def test_a_file_whose_absent_offsets_are_others_is_rejected(absent: tuple[tuple[int, int], ...]) -> None:
    builder = RangeBuilder(0, 0, limits())
    builder.add([record(offset, START, valid=offset != 1) for offset in (0, 1, 2, 4, 5)])
    encoded = encode(builder.seal()[0], LIVE, TOPIC_ID)
    assert encoded.entry.absent == ((3, 3),)
    data = parquet_bytes(encoded.table, encoded.entry.model_copy(update={"absent": absent}))
    if absent == encoded.entry.absent:
        assert read_file(data)[0] == encoded.entry
    else:
        with pytest.raises(IntegrityError, match="an offset is twice or not at all"):
            read_file(data)
