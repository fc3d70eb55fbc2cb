"""The archive against the real broker and the real store: rows, bytes, quarantine, copies, metrics, stop."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import other_clients
import pyarrow.parquet as pq
import pytest
from kafka import KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from waiting import ENDS_SECONDS, wait_until

from ticklake import kafka
from ticklake.keys import quarantined_messages_prefix
from ticklake.ledger import LedgerRange, csv_key, verify_chain
from ticklake.ledger_table import SCHEMA, read_object
from ticklake.objects import ObjectStore
from ticklake.quarantine import messages_below
from ticklake.settings import KafkaSettings, LiveSettings
from ticklake.topics import QUARANTINE_TOPIC, LiveNames

Environment = Callable[..., dict[str, str]]
LARGE = b"x" * 1_000_000
"""In quarantine's base64 it is larger than a topic takes."""
SYMBOLS = ("AAPL", "MSFT", "GOOGL", "AMZN", "META", "TSLA", "NVDA", "INTC")


def tick(symbol: str, sequence: int, **changes: Any) -> bytes:
    values = {
        "schema_version": 1,
        "symbol": symbol,
        "price": 100 + sequence / 64,
        "volume": sequence,
        "event_time": f"2026-01-30T15:00:{sequence % 60:02d}.{sequence % 1000:03d}Z",
        "sequence": sequence,
        "producer_run": "run-1",
        "source": "simulated",
    }
    return json.dumps(values | changes).encode()


def produce(settings: KafkaSettings, topic: str, messages: list[tuple[str | None, bytes]]) -> None:
    with kafka.ConfirmedProducer(settings, "test") as producer:
        for key, value in messages:
            producer.send(topic, key=key.encode() if key else None, value=value)


def log_of(settings: KafkaSettings, topic: str, partitions: int = 4) -> dict[tuple[int, int], Any]:
    """Everything in the topic by partition and offset, as Kafka itself has it."""
    consumer = kafka.make_consumer(settings, "test", auto_offset_reset="earliest")
    places = [TopicPartition(topic, number) for number in range(partitions)]
    consumer.assign(places)
    ends = consumer.end_offsets(places)
    found: dict[tuple[int, int], Any] = {}
    while any(consumer.position(place) < ends[place] for place in places):  # some offsets have no message
        for place, records in consumer.poll(timeout_ms=2000).items():
            found |= {(place.partition, record.offset): record for record in records}
    consumer.close()
    return found


@contextmanager
def archive(programs: Path, environment: dict[str, str], log: Path, *code: str) -> Iterator[subprocess.Popen[bytes]]:
    """The program; `code` is what Python runs in its place."""
    command = [sys.executable, *code] if code else [programs / "archive-ticks"]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[bytes]) -> int:
    process.send_signal(signal.SIGTERM)
    return process.wait(ENDS_SECONDS)


def archived(store: ObjectStore, live: LiveNames, topic_id: str) -> list[tuple[str, LedgerRange, Any]]:
    """Every object with its ledger entry and rows; the chain and the files are verified on the way."""
    chains = verify_chain(store, live, topic_id)
    keys = [o.key for o in store.list_objects(f"{live.raw_prefix}/") if o.key.endswith(".parquet")]
    objects = [(key, *read_object(store, key)) for key in keys]
    assert sorted((e.partition, e.first_offset) for _, e, _ in objects) == sorted(
        (e.partition, e.first_offset) for chain in chains.values() for e in chain
    )
    return objects


def rows_in(store: ObjectStore, live: LiveNames, topic_id: str) -> int:
    return sum(r.rows + r.invalid_rows for chain in verify_chain(store, live, topic_id).values() for r in chain)


def test_every_message_is_archived_once_with_its_place_and_time(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    messages: list[tuple[str | None, bytes]] = [(s, tick(s, n)) for n in range(400) for s in SYMBOLS]
    bad: list[tuple[str | None, bytes]] = [
        ("AAPL", b"not json"),
        ("MSFT", tick("MSFT", 1, price=-1)),
        ("GOOGL", tick("AMZN", 1)),
        (None, tick("META", 1)),
        ("TSLA", b""),
        ("NVDA", tick("NVDA", 1, volume=2**70)),
        ("INTC", tick("INTC", 1, extra=1)),
        ("\xff", b"\xff\x00"),
        ("AMZN", LARGE),
    ]
    produce(kafka_settings, live.names.topic, messages[:1600] + bad + messages[1600:])
    topic_id = kafka.topic_id(kafka_settings, live.names.topic)
    environment = stage_env(TICKLAKE_ARCHIVE_ROLL_ROWS="500", TICKLAKE_METRICS_PORT="0")
    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(lambda: rows_in(store, live.names, topic_id) >= 2000)
        assert stop(process) == 0, (tmp_path / "log").read_text()

    truth = log_of(kafka_settings, live.names.topic)
    assert len(truth) == len(messages) + len(bad)
    valid = {((key or "").encode(), value) for key, value in messages}
    rows: dict[tuple[int, int], dict[str, Any]] = {}
    quarantined: set[tuple[int, int]] = set()
    for key, entry, table in archived(store, live.names, topic_id):
        for row in table.to_pylist():
            rows[row["partition"], row["offset"]] = row
        quarantined |= {
            (entry.partition, offset) for first, last in entry.invalid or () for offset in range(first, last + 1)
        }
        first = truth[entry.partition, entry.first_offset]
        at = datetime.fromtimestamp(first.timestamp / 1000, UTC)
        assert key == (
            f"{live.names.raw_prefix}/year={at:%Y}/month={at:%m}/day={at:%d}/hour={at:%H}/stock_data_{at:%Y%m%d_%H%M%S}_"
            f"{topic_id.replace('-', '')[:12]}_p{entry.partition}_o{entry.first_offset:020d}.parquet"
        )
        assert {name: column.type for name, column in zip(table.column_names, table.columns, strict=True)} == {
            field.name: field.type for field in SCHEMA
        }
        order = [(r["symbol"], r["event_time"], r["sequence"], r["offset"]) for r in table.to_pylist()]
        assert order == sorted(order)
    assert quarantined == {place for place, record in truth.items() if (record.key, record.value) not in valid}
    assert len(quarantined) == len(bad)
    assert rows.keys() | quarantined == truth.keys()
    assert not rows.keys() & quarantined
    for place, row in rows.items():
        sent = json.loads(truth[place].value)
        assert row == {
            "symbol": sent["symbol"],
            "price": sent["price"],
            "volume": sent["volume"],
            "sequence": sent["sequence"],
            "event_time": datetime.fromisoformat(sent["event_time"]),
            "producer_run": "run-1",
            "source": "simulated",
            "partition": place[0],
            "offset": place[1],
            "append_time": datetime.fromtimestamp(truth[place].timestamp / 1000, UTC),
        }

    # Quarantine: in the lake and in the topic, original bytes and place.
    kept = {(m.partition, m.offset): m for m in messages_below(store, quarantined_messages_prefix(live.names.topic))}
    assert kept.keys() == quarantined
    for place, message in kept.items():
        assert (message.key, message.original) == (truth[place].key, truth[place].value)
        assert message.reason
    in_topic = [json.loads(r.value) for r in log_of(kafka_settings, QUARANTINE_TOPIC, 1).values()]
    ours = {(m["partition"], m["offset"]) for m in in_topic if m["topic"] == live.names.topic}
    assert ours == quarantined

    # The CSV copy has the same rows in the same order.
    for key, _, table in archived(store, live.names, topic_id):
        text = store.get(csv_key(key)).decode()
        copied = list(csv.DictReader(io.StringIO(text)))
        assert [
            (
                c["symbol"],
                float(c["price"]),
                int(c["volume"]),
                int(c["offset"]),
                datetime.fromisoformat(c["event_time"]),
            )
            for c in copied
        ] == [(r["symbol"], r["price"], r["volume"], r["offset"], r["event_time"]) for r in table.to_pylist()]
        file = pq.ParquetFile(io.BytesIO(store.get(key)))
        assert {file.metadata.row_group(0).column(i).compression for i in range(file.metadata.num_columns)} <= {"ZSTD"}
    # Kafka's committed offsets show the lag.
    consumer = kafka.make_consumer(kafka_settings, "test", group_id=live.names.archive_group)
    for partition, chain in verify_chain(store, live.names, topic_id).items():
        assert consumer.committed(TopicPartition(live.names.topic, partition)) == chain[-1].last_offset + 1
    consumer.close()


def test_other_clients_compressions_and_transactions(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    topic = live.names.topic
    topic_id = kafka.topic_id(kafka_settings, topic)

    def ticks(run: str) -> list[other_clients.Message]:
        return [(symbol, tick(symbol, n, producer_run=run)) for n in range(50) for symbol in SYMBOLS]

    for compression in other_clients.COMPRESSIONS:
        other_clients.produce(kafka_settings, topic, ticks(compression), compression)
    other_clients.transact(kafka_settings, topic, ticks("aborted"), commit=False)
    other_clients.transact(kafka_settings, topic, ticks("committed"), commit=True)

    def complete() -> bool:
        """Whether every offset that the broker gave is in the ledger, those behind the last message too."""
        chains = verify_chain(store, live.names, topic_id)
        ends = kafka.end_offsets(kafka_settings, topic)
        return all(number in chains and chains[number][-1].last_offset == end - 1 for number, end in ends.items())

    port = _free_port()
    environment = stage_env(TICKLAKE_METRICS_PORT=str(port), TICKLAKE_ARCHIVE_ROLL_SECONDS="0.3")
    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(complete)
        wait_until(lambda: _values(_get(port, "/metrics")[1], "ticklake_archive_ticks_lag") == [0.0] * 4)
        assert stop(process) == 0, (tmp_path / "log").read_text()
    objects = archived(store, live.names, topic_id)
    assert Counter(run for *_, table in objects for run in table["producer_run"].to_pylist()) == dict.fromkeys(
        {*other_clients.COMPRESSIONS, "committed"}, 400
    )
    absent = sum(entry.absent_rows for _, entry, _ in objects)
    assert absent == 400 + 2 * 4, "the aborted ticks, and two marks in each partition"
    # Retention removes all of it, the marks at the end too: nothing is missing.
    with kafka.admin(kafka_settings) as client:
        ends = kafka.end_offsets(kafka_settings, topic)
        client.delete_records({TopicPartition(topic, number): end for number, end in ends.items()})
    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(lambda: _get(port, "/readyz")[0] == 200)
        assert stop(process) == 0, (tmp_path / "log").read_text()


def test_what_retention_removed_stops_its_partition_until_a_person_accepts_it(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    topic = live.names.topic
    topic_id = kafka.topic_id(kafka_settings, topic)
    port = _free_port()
    environment = stage_env(TICKLAKE_METRICS_PORT=str(port), TICKLAKE_ARCHIVE_ROLL_SECONDS="0.3")

    def send(first: int) -> None:
        produce(kafka_settings, topic, [(s, tick(s, n)) for n in range(first, first + 50) for s in SYMBOLS])

    send(0)
    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(lambda: rows_in(store, live.names, topic_id) == 400)
        assert stop(process) == 0, (tmp_path / "log").read_text()
    before = kafka.end_offsets(kafka_settings, topic)
    send(50)
    ends = kafka.end_offsets(kafka_settings, topic)
    hit = max(ends, key=lambda number: ends[number] - before[number])
    with kafka.admin(kafka_settings) as client:
        client.delete_records({TopicPartition(topic, hit): before[hit] + 10})
    others = 400 - (ends[hit] - before[hit])
    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(lambda: rows_in(store, live.names, topic_id) == 400 + others)
        wait_until(lambda: _values(_get(port, "/metrics")[1], "ticklake_archive_ticks_stopped").count(1.0) == 1)
        assert (_get(port, "/livez")[0], _get(port, "/readyz")[0]) == (200, 503)
        assert stop(process) == 0, (tmp_path / "log").read_text()
    accepted = f"{hit}:{before[hit]}"
    assert f"TICKLAKE_ARCHIVE_ACCEPTED_GAPS={accepted} " in (tmp_path / "log").read_text()
    environment |= {"TICKLAKE_ARCHIVE_ACCEPTED_GAPS": accepted}
    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(lambda: rows_in(store, live.names, topic_id) == 800 - 10)
        wait_until(lambda: _get(port, "/readyz")[0] == 200)
        assert stop(process) == 0, (tmp_path / "log").read_text()
    lost = [e for _, e, _ in archived(store, live.names, topic_id) if e.lost]
    assert [(e.partition, e.absent) for e in lost] == [(hit, ((before[hit], before[hit] + 9),))]


def test_a_batch_that_cannot_be_read_ends_the_program(
    stage_env: Environment, programs: Path, tmp_path: Path, kafka_settings: KafkaSettings, live: LiveSettings
) -> None:
    ticks = [("AAPL", tick("AAPL", n)) for n in range(100)]
    other_clients.produce(kafka_settings, live.names.topic, ticks, "snappy")
    program = "import kafka.codec; kafka.codec.snappy = None; from archive_ticks import main; main.main()"
    with archive(programs, stage_env(TICKLAKE_METRICS_PORT="0"), tmp_path / "log", "-c", program) as process:
        assert process.wait(300) == 1
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith(f"archive-ticks: {live.names.topic} has a batch of messages that cannot be read")


def test_a_topic_that_had_the_producers_times(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    topic = live.names.topic
    topic_id = kafka.topic_id(kafka_settings, topic)
    port = _free_port()
    environment = stage_env(TICKLAKE_METRICS_PORT=str(port), TICKLAKE_ARCHIVE_ROLL_SECONDS="0.3")
    # It looks again each minute; here twice a second.
    program = "from archive_ticks import main, service; service._STOPPED_SECONDS = 0.5; main.main()"

    def stamp(kind: str) -> None:
        change = {"message.timestamp.type": kind}
        with kafka.admin(kafka_settings) as client:
            client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, change)])

    def send(first: int, year: int = 0) -> None:
        """50 ticks, with the time of that year."""
        at = int(datetime(year, 1, 30, tzinfo=UTC).timestamp() * 1000) if year else None
        producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers)
        for number in range(first, first + 50):
            producer.send(topic, key=b"AAPL", value=tick("AAPL", number), timestamp_ms=at)
        producer.close(timeout=60)

    send(0)
    stamp("CreateTime")
    send(50, year=2001)
    with archive(programs, environment, tmp_path / "log", "-c", program) as process:
        wait_until(lambda: rows_in(store, live.names, topic_id) == 50)
        wait_until(lambda: _values(_get(port, "/metrics")[1], "ticklake_archive_ticks_stopped").count(1.0) == 1)
        assert "message.timestamp.type=LogAppendTime" in (tmp_path / "log").read_text()
        send(100, year=2009)
        stamp("LogAppendTime")
        send(150)
        wait_until(lambda: rows_in(store, live.names, topic_id) == 200)
        wait_until(lambda: _values(_get(port, "/metrics")[1], "ticklake_archive_ticks_stopped") == [0.0] * 4)
        wait_until(lambda: _get(port, "/readyz")[0] == 200)
        # Times that jump to and fro, in one poll.
        for number, kind in enumerate(("CreateTime", "LogAppendTime") * 2):
            stamp(kind)
            send(200 + 50 * number, year=1980)
        wait_until(lambda: rows_in(store, live.names, topic_id) == 400)
        assert stop(process) == 0, (tmp_path / "log").read_text()
    times = [time for *_, table in archived(store, live.names, topic_id) for time in table["append_time"].to_pylist()]
    assert {time.date() for time in times} <= {datetime.now(UTC).date(), (datetime.now(UTC) - timedelta(days=1)).date()}


def test_a_restart_goes_on_after_the_chain_and_repairs_copies(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    topic_id = kafka.topic_id(kafka_settings, live.names.topic)
    environment = stage_env(TICKLAKE_METRICS_PORT="0", TICKLAKE_ARCHIVE_ROLL_SECONDS="0.3")
    copies: dict[str, bytes] = {}
    for part in range(3):
        produce(kafka_settings, live.names.topic, [(s, tick(s, part * 50 + n)) for n in range(50) for s in SYMBOLS])
        with archive(programs, environment, tmp_path / "log") as process:
            wait_until(lambda part=part: rows_in(store, live.names, topic_id) == (part + 1) * 400)  # type: ignore[misc]
            wait_until(lambda: not [k for k in _parquet(store, live) if store.metadata(csv_key(k)) is None])
            assert stop(process) == 0, (tmp_path / "log").read_text()
        assert all(store.get(key) == body for key, body in copies.items())
        copies = {csv_key(key): store.get(csv_key(key)) for key in _parquet(store, live)}
        store.delete(next(iter(copies)))
    assert [rows_in(store, live.names, topic_id)] == [1200]


def _parquet(store: ObjectStore, live: LiveSettings) -> list[str]:
    return [o.key for o in store.list_objects(f"{live.names.raw_prefix}/") if o.key.endswith(".parquet")]


def test_health_and_metrics(
    stage_env: Environment,
    programs: Path,
    tmp_path: Path,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    store: ObjectStore,
) -> None:
    produce(kafka_settings, live.names.topic, [("AAPL", tick("AAPL", n)) for n in range(10)] + [("AAPL", b"x")])
    port = _free_port()
    environment = stage_env(TICKLAKE_METRICS_PORT=str(port), TICKLAKE_ARCHIVE_ROLL_SECONDS="0.2")

    def get(path: str) -> tuple[int, str]:
        return _get(port, path)

    with archive(programs, environment, tmp_path / "log") as process:
        wait_until(lambda: get("/readyz")[0] == 200)
        assert get("/livez")[0] == 200
        # On a busy machine the messages can come in several objects.
        wait_until(lambda: sum(_values(get("/metrics")[1], "ticklake_archive_ticks_rows_total")) == 10)
        wait_until(lambda: sum(_values(get("/metrics")[1], "ticklake_archive_ticks_invalid_total")) == 1)
        assert sum(_values(get("/metrics")[1], "ticklake_archive_ticks_objects_total")) > 0
        wait_until(lambda: _values(get("/metrics")[1], "ticklake_archive_ticks_lag") == [0.0] * 4)
        assert stop(process) == 0


def _get(port: int, path: str) -> tuple[int, str]:
    """Status and body; 0 where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError:
        return 0, ""


def _values(text: str, name: str) -> list[float]:
    return [float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{")]


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"TICKLAKE_LIVE_NAMESPACE": "no-such-flow"}, 2, "no topic"),
        (
            {"TICKLAKE_STORE_SECRET_KEY": "wrong", "TICKLAKE_CREDENTIALS_WAIT_SECONDS": "1"},
            2,
            "TICKLAKE_STORE_SECRET_KEY",
        ),
        ({"TICKLAKE_ARCHIVE_ROLL_ROWS": "0"}, 2, "TICKLAKE_ARCHIVE_ROLL_ROWS"),
        ({"TICKLAKE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "TICKLAKE_KAFKA_TIMEOUT_SECONDS": "2"}, 1, "127.0.0.1:1"),
    ],
)
def test_what_a_user_can_cause_is_one_line(
    stage_env: Environment, programs: Path, live: LiveSettings, change: dict[str, str], code: int, message: str
) -> None:
    done = subprocess.run(
        [programs / "archive-ticks"],
        env=os.environ | stage_env(TICKLAKE_METRICS_PORT="0") | change,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert message in done.stderr
