"""The archive's own loop under a simulated clock, broker and store, all driven by one seed.

Everything of `archive_ticks` runs as it is but for what reaches outside: the consumer, the group's description, the
topic's id, the search for append times, the store, the writer's thread (one range per step) and the clock.

`make simulate ARGS=0-10000` runs the histories of these seeds; a seed is the same history each time.
"""

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock

from memory_store import MemoryStore
from prometheus_client import CollectorRegistry

from archive_ticks import offset_ranges, range_writer, reader, service, writer_thread
from archive_ticks.append_times import Searched
from archive_ticks.group_membership import Group
from archive_ticks.offset_ranges import Range
from archive_ticks.reader import Bounds
from archive_ticks.service import Archive
from archive_ticks.settings import ArchiveSettings, RollSettings
from ticklake import service as service_kit
from ticklake.errors import StageError
from ticklake.group_consumer import PositionLostError
from ticklake.ledger import LedgerRange, chain_start_key, check_chain, read_chain_start
from ticklake.ledger_table import read_object
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings

TOPIC_ID = "0b6fbd0f-6d1c-4d0e-9c0a-2f6f5f1f3a11"
START = 1_769_785_200_000  # 2026-01-30T15:00:00Z
_MINUTE = 60_000
_LONG_AGO = 978_307_200_000  # 2001
_SETTINGS = ArchiveSettings(
    kafka=KafkaSettings(bootstrap_servers="simulated:1"),
    store=StoreSettings(bucket="simulated"),
    live=LiveSettings(),
    roll=RollSettings(roll_rows=6, roll_seconds=20),
)


class Killed(BaseException):
    """The process ends where it is."""


@dataclass(frozen=True)
class Record:
    """As the consumer gives it."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Log:
    """One partition: what has a message, and between which offsets."""

    records: dict[int, Record] = field(default_factory=dict)
    begin: int = 0
    end: int = 0

    def next_from(self, offset: int) -> int:
        """Offset of the first message from `offset` on, the end where there is none."""
        while offset < self.end and offset not in self.records:
            offset += 1
        return offset


class Clock:
    """Seconds by the processes' clocks; the broker's may step."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.step_ms = 0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return START / 1000 + self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    @property
    def broker_ms(self) -> int:
        return START + self.step_ms + round(self.now * 1000)


class World:
    """One seed's broker, store and processes."""

    def __init__(self, seed: int, most_processes: int = 3) -> None:
        self.random = random.Random(seed)
        self.clock = Clock()
        self.store = FaultyStore(self)
        self.logs = [Log() for _ in range(2)]
        self.sent: dict[tuple[int, int], Record] = {}
        self.create_time = False
        self.accepted: set[str] = set()
        self.lost: set[tuple[int, int]] = set()
        self.quarantined: set[tuple[int, int]] = set()
        self.owners: dict[int, str] = {}
        self.away = False
        self.calm = False
        """Whether nothing goes wrong any more."""
        self.processes: list[Process] = []
        self.acting: Process | None = None
        self._entries: dict[str, tuple[dict[str, str], LedgerRange]] = {}
        self._most, self._names, self._sequence, self._inside = most_processes, 0, 0, False

    # What happens

    def step(self) -> None:
        """Let something happen."""
        chance = self.random.random()
        self.clock.sleep(self.random.choice((0.1, 0.3, 1, 7, 40)))
        if chance < 0.25:
            self._produce()
        elif chance < 0.28:
            self._rebalance()
        elif chance < 0.30:
            self.random.choice((self._toggle_stamps, self._clock_step, self._add_partition))()
        elif chance < 0.33:
            self._start()
        elif chance < 0.35:
            self._end()
        elif chance < 0.355:
            self._retention()
        elif chance < 0.37:
            self.away = not self.away
        else:
            self._run_someone()

    def _produce(self) -> None:
        log_number = self.random.randrange(len(self.logs))
        log = self.logs[log_number]
        for _ in range(self.random.randrange(1, 9)):
            chance = self.random.random()
            if chance < 0.2:  # an aborted message, a mark, or what compaction took
                log.end += self.random.choice((1, 1, 3))
                continue
            self._sequence += 1
            tick = {
                "symbol": "AAPL",
                "price": 1.5,
                "volume": 1,
                "event_time": "2026-01-30T00:00:00.000Z",
                "sequence": self._sequence,
                "producer_run": "run",
                "source": "simulated",
            }
            value = b"{" if chance < 0.3 else json.dumps(tick).encode()
            stamp = (_LONG_AGO, 0) if self.create_time else (self.clock.broker_ms, 1)
            record = Record(log.end, *stamp, b"AAPL", value)
            log.records[log.end] = self.sent[log_number, log.end] = record
            log.end += 1

    def _toggle_stamps(self) -> None:
        self.create_time = not self.create_time and self.random.random() < 0.3

    def _clock_step(self) -> None:
        self.clock.step_ms += self.random.choice((-20, -1, 1, 20, 70)) * _MINUTE

    def _add_partition(self) -> None:
        if len(self.logs) < 4:
            self.logs.append(Log())
            self._rebalance()

    def _rebalance(self) -> None:
        names = [process.name for process in self.processes]
        self.owners = {number: self.random.choice(names) for number in range(len(self.logs))} if names else {}

    def _start(self) -> None:
        if len(self.processes) < self._most:
            self._names += 1
            self.processes.append(Process(f"p{self._names}", self))
            self._rebalance()

    def _end(self) -> None:
        if self.processes:
            process = self.random.choice(self.processes)
            if self.random.random() < 0.5:
                process.run(process.archive._finish if process.archive else lambda: None)
            self.kill(process)

    def kill(self, process: "Process") -> None:
        """End a process; its partitions go to others later."""
        process.dead = True
        if process in self.processes:
            self.processes.remove(process)

    def _retention(self) -> None:
        number = self.random.randrange(len(self.logs))
        log = self.logs[number]
        begin = self.random.randint(log.begin, log.end)
        archived = max((entry.last_offset + 1 for entry in self.chain(number)), default=0)
        # Mostly what is archived; sometimes more, which a person then accepts.
        if self.random.random() < 0.8:
            begin = max(log.begin, min(begin, archived))
        elif self.chain(number):
            self.accepted.add(f"{number}:{archived}")
        log.begin = begin
        for offset in [each for each in log.records if each < begin]:
            del log.records[offset]

    def _run_someone(self) -> None:
        if self.processes:
            self.random.choice(self.processes).step()

    def interleave(self) -> None:
        """Something happens while a process waits for the store."""
        if self._inside or self.calm:
            return
        self._inside = True
        try:
            if self.random.random() < 0.2:  # a pause in which the group gives the partitions to others
                self._rebalance()
                for _ in range(12):
                    self._run_someone()
            for _ in range(self.random.randrange(4)):
                self.step()
        finally:
            self._inside = False

    # What must hold

    def chain(self, partition: int) -> list[LedgerRange]:
        """The ranges of a partition in the store, in order."""
        for key, (_, metadata) in self.store.objects.items():
            if key.endswith(".parquet") and self._entries.get(key, ({}, None))[0] is not metadata:
                self._entries[key] = metadata, LedgerRange.from_user_metadata(metadata, key)
        found = [entry for _, entry in self._entries.values() if entry.partition == partition]
        return sorted(found, key=lambda entry: entry.first_offset)

    def check(self) -> None:
        """At any moment: the chains have neither gap nor overlap."""
        for number in range(len(self.logs)):
            check_chain(self.chain(number))

    def settle(self) -> None:
        """Nothing goes wrong any more, and one process archives what is left; then check everything."""
        self.calm, self.away, self.create_time = True, False, False
        for log_number, log in enumerate(self.logs):
            # Somebody sends one message more, with the broker's time.
            record = Record(log.end, self.clock.broker_ms, 1, b"AAPL", b"{")
            log.records[log.end] = self.sent[log_number, log.end] = record
            log.end += 1
            start = read_chain_start(
                self.store, chain_start_key(_SETTINGS.live.names, TOPIC_ID, log_number), TOPIC_ID, log_number
            )
            if chain := self.chain(log_number):
                self.accepted.add(f"{log_number}:{chain[-1].last_offset + 1}")
            elif start:
                self.accepted.add(f"{log_number}:{start.first_offset}")
        self.processes = [Process("last", self)]
        self._rebalance()
        for _ in range(400):
            if all(self._ends(number) == log.end for number, log in enumerate(self.logs)):
                break
            self.clock.sleep(7)
            self.processes[0].step()
        else:
            raise AssertionError(f"not archived to the end: {[self._ends(n) for n in range(len(self.logs))]}")
        self.check()
        self._check_contents()

    def _ends(self, number: int) -> int:
        chain = self.chain(number)
        return chain[-1].last_offset + 1 if chain else 0

    def _check_contents(self) -> None:
        rows: list[tuple[int, int]] = []
        invalid: list[tuple[int, int]] = []
        for key in [key for key in self.store.objects if key.endswith(".parquet")]:
            entry, table = read_object(self.store, key)
            own = [(entry.partition, offset) for offset in table["offset"].to_pylist()]
            rows += own
            invalid += [(entry.partition, n) for first, last in entry.invalid or () for n in range(first, last + 1)]
            for row in table.to_pylist():
                sent = self.sent[entry.partition, row["offset"]]
                assert row["sequence"] == json.loads(sent.value)["sequence"]
                assert row["append_time"].year > 2001, "filed under its producer's time"
                if sent.timestamp_type == 1:
                    assert round(row["append_time"].timestamp() * 1000) == sent.timestamp
            if entry.lost:
                spans = [(entry.partition, n) for first, last in entry.absent or () for n in range(first, last + 1)]
                self.lost |= set(spans)
        assert len(rows) == len(set(rows)), "archived twice"
        begun = {number: self.chain(number)[0].first_offset for number in range(len(self.logs))}
        due = {place for place in self.sent if place[1] >= begun[place[0]] and place not in self.lost}
        valid = {place for place in due if self.sent[place].value != b"{"}
        assert set(rows) == valid, f"lost {sorted(valid - set(rows))}, too many {sorted(set(rows) - valid)}"
        assert set(invalid) == due - valid
        assert set(invalid) <= self.quarantined
        copies = {key.removesuffix(".csv") for key in self.store.objects if key.endswith(".csv")}
        assert copies <= {key.removesuffix(".parquet") for key in self.store.objects}


class FaultyStore(MemoryStore):
    """Calls fail before or after they had their effect, and others run meanwhile."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world

    def _around(self, work: Callable[[], Any]) -> Any:
        world = self._world
        if world.calm:
            return work()
        world.interleave()
        if world.acting is not None and world.acting.dead:
            raise Killed
        chance = world.random.random()
        if chance < 0.03:
            raise StageError("the store is away")
        if chance < 0.04:
            raise Killed
        done = work()
        if chance < 0.06:
            raise StageError("the answer of the store was lost")
        if chance < 0.07:
            raise Killed
        return done

    def put(self, key: str, body: bytes, **more: Any) -> None:
        self._around(lambda: super(FaultyStore, self).put(key, body, **more))

    def put_if_absent(self, key: str, body: bytes, **more: Any) -> bool:
        # The memory's own `put_if_absent` calls `put`.
        def place() -> bool:
            if key in self.objects:
                return False
            self.objects[key] = (body, more.get("metadata") or {})
            return True

        return bool(self._around(place))


class Consumer:
    """The place of `archive_ticks.reader.Reader`."""

    def __init__(self, name: str, world: World, resume_at: Callable[[int], int | None]) -> None:
        self.member_id, self._world, self._resume_at = name, world, resume_at
        self.assigned: frozenset[int] = frozenset()
        self.joined = False
        self._held = False
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()

    def poll(self, _: float) -> Mapping[int, Sequence[Record]]:
        if self._world.away:
            raise StageError("the broker is away")
        self._follow()
        found: dict[int, list[Record]] = {}
        for number in sorted(self.assigned - self._paused):
            log = self._world.logs[number]
            if self._positions[number] < log.begin or self._positions[number] > log.end:
                raise PositionLostError("the log does not hold what is due")
            if self._world.random.random() < 0.3:
                continue
            count = self._world.random.randrange(1, 12)
            due = self._positions[number]
            records = [each for offset, each in sorted(log.records.items()) if offset >= due][:count]
            self._positions[number] = log.next_from(records[-1].offset + 1) if records else log.end
            if records:
                found[number] = records
        return found

    def _follow(self) -> None:
        now = frozenset(number for number, owner in self._world.owners.items() if owner == self.member_id)
        if now == self.assigned and self.joined:
            return
        self._positions, self._paused = {}, set()
        for number in now:
            resume = self._resume_at(number)
            self._positions[number] = resume or 0
            if resume is None or self._held:
                self._paused.add(number)
        self.assigned, self.joined = now, True

    def start(self, partition: int, offset: int) -> None:
        self._positions[partition] = offset
        if not self._held:
            self._paused.discard(partition)

    def pause(self, partition: int) -> None:
        self._paused.add(partition)

    def position(self, partition: int) -> int:
        return self._positions.get(partition, 0)

    def hold(self, held: bool, ready: Collection[int]) -> None:
        if held != self._held:
            self._held = held
            (self._paused.update if held else self._paused.difference_update)(ready)

    def bounds(self, partitions: Collection[int], _: float) -> dict[int, Bounds]:
        if self._world.away:
            raise StageError("the broker is away")
        found = {}
        for number in partitions:
            log = self._world.logs[number]
            first = log.records.get(log.next_from(log.begin))
            time = None if first is None else datetime.fromtimestamp(first.timestamp / 1000, UTC)
            found[number] = Bounds(log.begin, log.end, time)
        return found

    def ends(self, partitions: Collection[int], _: float) -> dict[int, int]:
        if self._world.away:
            raise StageError("the broker is away")
        return {number: self._world.logs[number].end for number in partitions}

    def commit(self, *_: Any) -> None:
        """Nothing reads it."""

    commit_and_close = commit

    def rejoin(self, _: float) -> None:
        self.assigned, self.joined = frozenset(), False


class Process:
    """One archive process."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self._world = name, world
        self.archive: Archive | None = None
        self.dead = self._writing = False

    def step(self) -> None:
        """Start, go once round the loop, or write a range or two without noticing what happened meanwhile."""
        if self.archive is None:
            self.run(self._begin)
        elif self._world.calm or self._world.random.random() < 0.6:
            self.run(self.archive._step)
        for _ in range(self._world.random.randrange(3)):
            if self.archive is not None:
                self.run(self._write_one)

    def run(self, work: Callable[[], None]) -> None:
        """Do something as this process, which may end by it."""
        if self.dead:
            return
        others, self._world.acting = self._world.acting, self
        try:
            work()
        except (Killed, StageError):
            self._world.kill(self)
        finally:
            self._world.acting = others

    def _begin(self) -> None:
        roll = _SETTINGS.roll.model_copy(update={"accepted_gaps": frozenset(self._world.accepted)})
        with mock.patch.object(service, "Reader", lambda *given: Consumer(self.name, self._world, given[3])):
            self.archive = Archive(
                _SETTINGS.model_copy(update={"roll": roll}), self._world.store, service.Metrics(CollectorRegistry())
            )

    def _write_one(self) -> None:
        """As the writer's thread does it, but one range only; meanwhile the loop may go on and hand over more."""
        assert self.archive is not None
        if self._writing:
            return
        writer, self._writing = self.archive._writer, True
        first, *rest = self._taken(writer) or [None]
        for job in (first, None):
            writer._jobs.put(job)
        try:
            writer._run()
        finally:
            self._writing = False
            for job in (*rest, *(job for job in self._taken(writer) if job is not None)):
                writer._jobs.put(job)

    def _taken(self, writer: Any) -> list[Any]:
        """All jobs that wait, which wait no more."""
        found = []
        while not writer._jobs.empty():
            found.append(writer._jobs.get())
        return found


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """All of the archive's doors to the outside lead into `world`."""

    def search(partition: int, begin: int) -> Searched:
        log = world.logs[partition]
        for offset in range(begin, log.end):
            if offset in log.records and log.records[offset].timestamp_type == 1:
                return Searched(begin, offset, log.records[offset].timestamp)
        return Searched(begin, max(begin, log.end))

    def describe() -> Group:
        partitions = frozenset(range(len(world.logs)))
        owned = {
            process.name: frozenset(n for n, owner in world.owners.items() if owner == process.name)
            for process in world.processes
        }
        return Group(world.random.random() < 0.9, partitions, owned)

    def keep(sealed: Range) -> None:
        world.quarantined |= {(sealed.partition, message.offset) for message in sealed.invalid}

    quiet = SimpleNamespace(Thread=lambda **_: SimpleNamespace(start=lambda: None, is_alive=lambda: True))
    quiet.Event = lambda: SimpleNamespace(set=lambda: None, is_set=lambda: False, wait=world.clock.sleep)
    doors: dict[tuple[Any, str], Any] = {
        (service, "TopicIdentity"): lambda *_: SimpleNamespace(id=TOPIC_ID, check_topic=lambda: None),
        (service, "GroupDescriber"): lambda *_: SimpleNamespace(describe=describe, close=lambda: None),
        (service, "search_in"): lambda *_: search,
        (service, "quarantine_into"): lambda *_: keep,
        (service, "calendar"): SimpleNamespace(is_open=lambda *_: False),
        (writer_thread, "threading"): quiet,
        (writer_thread, "equal_jitter"): lambda *_: 0.2,
        **{(module, "time"): world.clock for module in (service, writer_thread, reader, service_kit)},
        **{(module, "log"): mock.MagicMock() for module in (service, writer_thread, reader, range_writer, service_kit)},
    }
    builder = offset_ranges.RangeBuilder
    doors[service, "RangeBuilder"] = lambda *given: builder(*given, clock=world.clock.monotonic)
    for (module, name), door in doors.items():
        patch = mock.patch.object(module, name, door)
        patch.start()
    try:
        yield
    finally:
        mock.patch.stopall()


STEPS = 100


def run_history(seed: int) -> None:
    """One seed: the chains hold after every step, and at the end every message is where it belongs."""
    world = World(seed)
    try:
        with simulated(world):
            for _ in range(STEPS):
                world.step()
                world.check()
            world.settle()
    except BaseException as error:
        error.add_note(f"make simulate ARGS={seed} repeats it")
        raise


def _outcome(seed: int) -> str:
    try:
        run_history(seed)
    except Exception as error:
        return f"seed {seed}: {type(error).__name__}: {error}"
    return ""


def main() -> None:
    """Run the histories of the seeds in the argument, `FIRST-END` or one, in as many processes as there are cores."""
    first, _, end = sys.argv[1].partition("-")
    seeds = range(int(first), int(end or int(first) + 1))
    began = time.monotonic()
    with multiprocessing.Pool() as pool:
        failures = [found for found in pool.imap_unordered(_outcome, seeds, chunksize=10) if found]
    print(*failures[:20], f"{len(failures)} of {len(seeds)} seeds failed in {time.monotonic() - began:.0f} s", sep="\n")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
