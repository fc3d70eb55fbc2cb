"""The broker, run for real."""

import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic
from waiting import SECONDS

from ticklake_local.broker import Broker
from ticklake_local.jars import JarsError, ensure_jars
from ticklake_local.java import Java, find_java
from ticklake_local.processes import PartError, free_port, port_in_use

CACHE = Path.home() / ".cache" / "ticklake" / "jars"


@pytest.fixture(scope="module")
def jars() -> Path:
    try:
        return ensure_jars(find_java(), CACHE)["kafka"]
    except JarsError as error:
        pytest.skip(str(error))


@pytest.fixture
def brokers() -> Iterator[list[Broker]]:
    """What is put in here is stopped at the end."""
    made: list[Broker] = []
    yield made
    for broker in made:
        broker.stop()


def run(brokers: list[Broker], jars: Path, folder: Path, port: int, java: Java | None = None) -> Broker:
    broker = Broker(java or find_java(), jars, folder / "kafka", folder / "logs", port)
    brokers.append(broker)
    broker.start()
    broker.wait_ready(SECONDS)
    return broker


def create_topic(broker: Broker, name: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    admin.close()


def send(broker: Broker, topic: str, values: list[bytes]) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap_servers, acks="all", enable_idempotence=True)
    for sent in [producer.send(topic, value, partition=0) for value in values]:
        sent.get(timeout=SECONDS)
    producer.close()


def read(broker: Broker, topic: str, group: str | None = None) -> list[bytes]:
    consumer = KafkaConsumer(
        bootstrap_servers=broker.bootstrap_servers,
        group_id=group,
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        consumer_timeout_ms=4000,
    )
    if group:
        consumer.subscribe([topic])
    else:
        consumer.assign([TopicPartition(topic, 0)])
    values = []
    end = consumer.end_offsets([TopicPartition(topic, 0)])[TopicPartition(topic, 0)]
    for record in consumer:
        values.append(record.value)
        if record.offset + 1 == end:
            break
    if group:
        consumer.commit()
    consumer.close()
    return values


def test_first_topic_and_first_idempotent_producer_work_as_soon_as_it_is_ready(
    jars: Path, brokers: list[Broker], tmp_path: Path
) -> None:
    broker = run(brokers, jars, tmp_path, free_port())
    begun = time.monotonic()
    create_topic(broker, "t")
    send(broker, "t", [b"a", b"b"])
    assert time.monotonic() - begun < 20
    assert read(broker, "t") == [b"a", b"b"]


def test_topics_offsets_and_cluster_survive_restarts(jars: Path, brokers: list[Broker], tmp_path: Path) -> None:
    port = free_port()
    broker = run(brokers, jars, tmp_path, port)
    create_topic(broker, "t")
    send(broker, "t", [b"a", b"b"])
    assert read(broker, "t", group="g") == [b"a", b"b"]
    identity = (tmp_path / "kafka/storage/meta.properties").read_text()
    broker.stop()
    assert not port_in_use(port)

    again = run(brokers, jars, tmp_path, port)
    assert (tmp_path / "kafka/storage/meta.properties").read_text() == identity
    send(again, "t", [b"c"])
    assert read(again, "t", group="g") == [b"c"]  # from the committed offset on
    assert again.child is not None
    psutil.Process(again.child.pid).kill()
    again.stop()

    elsewhere = run(brokers, jars, tmp_path, free_port())
    assert read(elsewhere, "t") == [b"a", b"b", b"c"]


def test_topics_are_not_made_by_mistake_and_only_loopback_listens(
    jars: Path, brokers: list[Broker], tmp_path: Path
) -> None:
    broker = run(brokers, jars, tmp_path, free_port())
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap_servers)
    assert not consumer.partitions_for_topic("mistake")
    assert consumer.topics() == set()
    consumer.close()
    assert broker.child is not None
    listening = [
        connection.laddr
        for connection in psutil.Process(broker.child.pid).net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert broker.port in {address.port for address in listening}
    assert all(address.ip.removeprefix("::ffff:") == "127.0.0.1" for address in listening)


def test_second_start_uses_the_class_archive(jars: Path, brokers: list[Broker], tmp_path: Path) -> None:
    java = find_java()
    if java.bundled:
        pytest.skip("the bundled Java cannot have one")
    run(brokers, jars, tmp_path, free_port()).stop()
    (archive,) = jars.glob("*.jsa")
    broker = run(brokers, jars, tmp_path, free_port())
    assert broker.child is not None
    assert str(archive) in {file.path for file in psutil.Process(broker.child.pid).memory_maps()}


def test_broken_class_archive_does_no_harm(jars: Path, brokers: list[Broker], tmp_path: Path) -> None:
    if find_java().bundled:
        pytest.skip("the bundled Java cannot have one")
    copy = tmp_path / "jars"
    copy.mkdir()
    for jar in jars.glob("*.jar"):
        (copy / jar.name).symlink_to(jar)
    run(brokers, copy, tmp_path, free_port()).stop(120)
    (archive,) = copy.glob("*.jsa")
    archive.chmod(0o644)
    archive.write_bytes(archive.read_bytes()[:100_000])
    run(brokers, copy, tmp_path, free_port()).stop(120)
    (written_anew,) = copy.glob("*.jsa")
    assert written_anew.stat().st_size > 10_000_000


def test_runs_on_the_bundled_java_when_the_machine_has_none(jars: Path, brokers: list[Broker], tmp_path: Path) -> None:
    java = find_java(environ={"PATH": ""})
    assert java.bundled
    broker = run(brokers, jars, tmp_path, free_port(), java)
    create_topic(broker, "t")
    send(broker, "t", [b"a"])
    assert read(broker, "t") == [b"a"]


def test_interrupted_format_is_done_anew(jars: Path, brokers: list[Broker], tmp_path: Path) -> None:
    half = tmp_path / "kafka" / "storage.new"
    half.mkdir(parents=True)
    (half / "meta.properties").write_text("half")
    assert run(brokers, jars, tmp_path, free_port()).ready()
    assert not half.exists()


def test_what_cannot_start_says_why(jars: Path, brokers: list[Broker], tmp_path: Path) -> None:
    broker = run(brokers, jars, tmp_path, free_port())
    with pytest.raises(PartError, match="already in use"):
        Broker(find_java(), jars, tmp_path / "other", tmp_path / "logs", broker.port).start()
    second = Broker(find_java(), jars, tmp_path / "kafka", tmp_path / "second", free_port())
    with pytest.raises(PartError, match="another broker works on"):
        second.start()
    assert broker.ready()
    with pytest.raises(PartError, match="cannot be formatted"):
        Broker(find_java(), tmp_path, tmp_path / "third", tmp_path / "logs", free_port()).start()
