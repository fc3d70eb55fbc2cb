"""The library's Kafka and store clients against the real servers."""

import gc
import hashlib
import sys
import threading
from typing import Any

import other_clients
import pytest
from kafka import TopicPartition
from waiting import SECONDS

from ticklake import kafka
from ticklake.errors import ConfigurationError, StageError
from ticklake.objects import ObjectStore
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings
from ticklake.topics import BATCH_TOPIC


def read(settings: KafkaSettings, topic: str, count: int) -> list[Any]:
    consumer = kafka.make_consumer(settings, "test", auto_offset_reset="earliest")
    consumer.assign([TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)])
    found: list[Any] = []
    while len(found) < count:
        batch = consumer.poll(timeout_ms=5000)
        assert batch, f"only {len(found)} of {count} messages came"
        found.extend(record for records in batch.values() for record in records)
    consumer.close()
    return found


def test_every_delivery_is_confirmed_with_its_offset(kafka_settings: KafkaSettings, live: LiveSettings) -> None:
    topic = live.names.topic
    with kafka.ConfirmedProducer(kafka_settings, "test") as producer:
        for number in range(1000):
            producer.send(topic, key=f"S{number % 7}".encode(), value=str(number).encode())
        ranges = producer.confirm()
    records = read(kafka_settings, topic, 1000)
    assert sorted(int(record.value) for record in records) == list(range(1000))
    by_partition: dict[int, list[int]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record.offset)
    assert {(r.partition, r.first, r.last) for r in ranges} == {
        (partition, min(offsets), max(offsets)) for partition, offsets in by_partition.items()
    }


def test_readers_know_every_compression_and_leave_out_what_was_aborted(
    kafka_settings: KafkaSettings, live: LiveSettings
) -> None:
    topic, wanted = live.names.topic, [name.encode() for name in (*other_clients.COMPRESSIONS, "committed")]
    other_clients.transact(kafka_settings, topic, [(None, b"aborted")], commit=False)
    for compression in other_clients.COMPRESSIONS:
        # Repeated, as a batch that does not get smaller is sent as it is.
        other_clients.produce(kafka_settings, topic, [("A", compression.encode())] * 100, compression)
    other_clients.transact(kafka_settings, topic, [("A", b"committed")] * 100, commit=True)
    records = read(kafka_settings, topic, 100 * len(wanted))
    assert sorted(record.value for record in records) == sorted(wanted * 100)


def test_an_error_is_not_hidden_by_what_is_not_delivered(kafka_settings: KafkaSettings, live: LiveSettings) -> None:
    def fail() -> None:
        with kafka.ConfirmedProducer(kafka_settings, "test", linger_ms=20_000) as producer:
            producer.send(live.names.topic, key=b"A", value=b"waits for its batch to fill")
            raise StageError("the stage's own")

    with pytest.raises(StageError, match=r"^the stage's own$"):
        fail()


def test_a_hanging_connection_leaves_no_error_behind(
    kafka_settings: KafkaSettings, live: LiveSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda caught: unraisable.append(caught.exc_value))
    released, entered = threading.Event(), threading.Event()

    def hang(**_: object) -> None:
        # As the library's thread does where a name's server does not answer.
        entered.set()
        released.wait(SECONDS)

    def fail() -> None:
        with kafka.ConfirmedProducer(kafka_settings, "test", linger_ms=20_000) as producer:
            producer.send(live.names.topic, key=b"A", value=b"waits for its batch to fill")
            monkeypatch.setattr(producer._producer._sender, "run_once", hang)
            assert entered.wait(SECONDS)
            raise StageError("the stage's own")

    try:
        with pytest.raises(StageError, match=r"^the stage's own$"):
            fail()
        gc.collect()
    finally:
        released.set()
    assert unraisable == []


def test_a_missing_topic_is_a_configuration_error(kafka_settings: KafkaSettings) -> None:
    quick = kafka_settings.model_copy(update={"timeout_seconds": 2.0})
    with pytest.raises(StageError, match="Kafka at"), kafka.ConfirmedProducer(quick, "test") as producer:
        producer.send("no-such-topic", key=None, value=b"x")
    with pytest.raises(ConfigurationError, match="no topic no-such-topic"):
        kafka.topic_id(quick, "no-such-topic")


def test_an_absent_broker_is_one_clear_line() -> None:
    settings = KafkaSettings(bootstrap_servers="127.0.0.1:1", timeout_seconds=2)
    with pytest.raises(StageError, match=r"127\.0\.0\.1:1 .*TICKLAKE_KAFKA_BOOTSTRAP_SERVERS"):
        kafka.ConfirmedProducer(settings, "test").__enter__()
    with pytest.raises(StageError, match=r"127\.0\.0\.1:1"):
        kafka.topic_id(settings, BATCH_TOPIC)


def test_a_topic_made_anew_has_another_id(kafka_settings: KafkaSettings, live: LiveSettings) -> None:
    before = kafka.topic_id(kafka_settings, live.names.topic)
    assert kafka.topic_id(kafka_settings, live.names.topic) == before
    with kafka.admin(kafka_settings) as client:
        client.delete_topics([live.names.topic])
    assert len(before) == 36


def test_of_many_conditional_writers_one_wins(store: ObjectStore) -> None:
    won: list[int] = []
    gate = threading.Barrier(16)

    def write(number: int) -> None:
        gate.wait()
        if store.put_if_absent("race", str(number).encode()):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("race") == str(won[0]).encode()


def test_objects_come_back_as_written(store: ObjectStore) -> None:
    store.put("a/b.csv", b"x,y\n", metadata={"rows": "1"})
    store.put("a/c/d.json", b"{}")
    assert store.get("a/b.csv") == b"x,y\n"
    metadata = store.metadata("a/b.csv")
    assert metadata is not None
    assert metadata["rows"] == "1"
    assert metadata["sha256"] == hashlib.sha256(b"x,y\n").hexdigest()
    assert [found.key for found in store.list_objects("a/")] == ["a/b.csv", "a/c/d.json"]
    assert store.folders("a/") == ["a/c/"]
    store.delete("a/b.csv")
    assert store.metadata("a/b.csv") is None
    with pytest.raises(KeyError):
        store.get("a/b.csv")


def test_a_rejected_key_and_a_missing_bucket_say_what_to_do(store_settings: StoreSettings) -> None:
    wrong = store_settings.model_copy(update={"secret_key": type(store_settings.secret_key)("wrong")})
    with pytest.raises(ConfigurationError, match="TICKLAKE_STORE_SECRET_KEY"):
        ObjectStore(wrong).put("x", b"")
    with pytest.raises(ConfigurationError, match="no bucket nowhere-at-all"):
        ObjectStore(store_settings.model_copy(update={"bucket": "nowhere-at-all"})).put("x", b"")


def test_an_absent_store_may_come_back(store_settings: StoreSettings) -> None:
    away = store_settings.model_copy(update={"endpoint": "http://127.0.0.1:1", "timeout_seconds": 0.2})
    with pytest.raises(StageError, match=r"127\.0\.0\.1:1 does not answer") as caught:
        ObjectStore(away).get("x")
    assert caught.value.exit_code == 1
