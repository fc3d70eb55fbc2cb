"""Replay of quarantined messages against the real broker: exactly once, wherever it is cut short; no loop."""

import json
import multiprocessing
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kafka import TopicPartition
from killed_replay import replay_and_die
from waiting import SECONDS, wait_until

from ticklake import kafka, quarantine_replay
from ticklake.errors import ConfigurationError, StageError
from ticklake.keys import quarantine_replayed_key, quarantined_messages_prefix
from ticklake.ledger import verify_chain
from ticklake.objects import ObjectStore
from ticklake.quarantine import QuarantinedMessage, messages_below, put, quarantined
from ticklake.quarantine_decisions import Decided, Decision, decide, decided
from ticklake.quarantine_replay import replay
from ticklake.settings import KafkaSettings, LiveSettings, StoreSettings
from ticklake.topics import QUARANTINE_TOPIC

STEPS = ("begin", "look", "send", "receipt", "commit", "note")


def tick(**changes: Any) -> bytes:
    values = {
        "symbol": "AAPL",
        "price": 100.5,
        "volume": 1,
        "event_time": "2026-01-30T15:00:00Z",
        "sequence": 1,
        "producer_run": "run-1",
        "source": "simulated",
    }
    return json.dumps(values | changes).encode()


def committed(settings: KafkaSettings, topic: str) -> list[Any]:
    """Every message of committed transactions, and those outside of any."""
    with closing(kafka.make_consumer(settings, "test", auto_offset_reset="earliest")) as consumer:
        places = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(places)
        ends, found = consumer.end_offsets(places), []
        while any(consumer.position(place) < ends[place] for place in places):
            for records in consumer.poll(timeout_ms=500).values():
                found += records
    return found


def receipts(settings: KafkaSettings, message: QuarantinedMessage) -> int:
    return sum(record.key == f"replayed/{message.id}".encode() for record in committed(settings, QUARANTINE_TOPIC))


@pytest.fixture
def rejected(store: ObjectStore, live: LiveSettings) -> Callable[..., QuarantinedMessage]:
    """Puts a message of the live topic into quarantine."""

    def kept(value: bytes, offset: int = 7, key: bytes | None = b"AAPL") -> QuarantinedMessage:
        message = quarantined(
            "archive-ticks", "odd", value, key=key, topic=live.names.topic, partition=0, offset=offset
        )
        put(store, [message])
        return message

    return kept


@pytest.fixture
def mended(store: ObjectStore, rejected: Callable[..., QuarantinedMessage]) -> Callable[..., Decision]:
    """Puts a message into quarantine and decides to send it mended."""

    def decision(offset: int = 7) -> Decision:
        message = rejected(tick(price=-1, sequence=offset), offset)
        return decide(store, message, "mend", "kim", value=tick(sequence=offset))[0].decision

    return decision


@pytest.mark.parametrize("step", STEPS)
def test_a_replay_that_is_killed_and_done_again_sends_once(
    store: ObjectStore,
    store_settings: StoreSettings,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    mended: Callable[..., Decision],
    step: str,
) -> None:
    decision = mended()
    process = multiprocessing.get_context("spawn").Process(
        target=replay_and_die, args=(step, decision, kafka_settings, store_settings)
    )
    process.start()
    process.join(SECONDS)
    assert process.exitcode == -signal.SIGKILL
    assert decided(store, decision.id) == Decided(decision)

    done, sent = replay(store, kafka_settings, decision)
    assert sent is (step != "note")
    assert replay(store, kafka_settings, decision) == (done, False)
    assert decided(store, decision.id) == Decided(decision, done)
    (message,) = committed(kafka_settings, live.names.topic)
    assert (message.partition, message.offset) == (done.partition, done.offset)
    assert (message.key, message.value) == (b"AAPL", tick(sequence=7))
    assert message.headers == [("ticklake-replay-of", decision.id.encode())]
    # Also where the note is lost, the receipt is there.
    store.delete(quarantine_replayed_key(decision.id))
    assert replay(store, kafka_settings, decision) == (done, False)
    assert len(committed(kafka_settings, live.names.topic)) == 1


def test_of_two_replays_at_a_time_one_sends(
    store: ObjectStore, kafka_settings: KafkaSettings, live: LiveSettings, mended: Callable[..., Decision]
) -> None:
    decision, waits, goes_on = mended(), threading.Event(), threading.Event()

    def pause(step: str) -> None:
        if step == "commit":
            waits.set()
            assert goes_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(replay, store, kafka_settings, decision, pause)
        assert waits.wait(60)
        assert replay(store, kafka_settings, decision)[1]
        goes_on.set()
        with pytest.raises(StageError, match=r"another process replays the same message .* try again"):
            slow.result()
    assert len(committed(kafka_settings, live.names.topic)) == 1


def test_a_receipt_behind_the_open_transaction_of_another_replay_is_seen(
    store: ObjectStore,
    kafka_settings: KafkaSettings,
    live: LiveSettings,
    mended: Callable[..., Decision],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, opened, goes_on = mended(1), mended(2), threading.Event(), threading.Event()

    def pause(step: str) -> None:
        if step == "commit":
            opened.set()
            assert goes_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        waits = []

        def crash(step: str) -> None:
            if step == "send":
                waits.append(pool.submit(replay, store, kafka_settings, first, pause))
                assert opened.wait(60)
            if step == "note":
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            replay(store, kafka_settings, second, crash)
        with monkeypatch.context() as less:
            less.setattr(quarantine_replay, "_LOOK_SECONDS", 1.0)
            with pytest.raises(StageError, match="does not end: try again"):
                replay(store, kafka_settings, second)
        goes_on.set()
        assert waits[0].result()[1]
    assert not replay(store, kafka_settings, second)[1]
    assert len(committed(kafka_settings, live.names.topic)) == 2


def test_what_would_be_rejected_again_is_not_replayed(
    store: ObjectStore, kafka_settings: KafkaSettings, live: LiveSettings, rejected: Callable[..., QuarantinedMessage]
) -> None:
    message = rejected(tick(price=-1))
    for action, more, reason in (
        ("replay", {}, "cannot be replayed: it would be rejected again: price"),
        ("mend", {"value": tick(volume=-1)}, "it would be rejected again: volume"),
        ("mend", {"value": tick(symbol="MSFT")}, "it would be rejected again: key: should be the symbol MSFT"),
    ):
        with pytest.raises(ConfigurationError, match=reason):
            decide(store, message, action, "kim", **more)
    future = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
    early = rejected(tick(event_time=future), 8)
    with pytest.raises(ConfigurationError, match="event_time: lies more than 60 s after"):
        decide(store, early, "replay", "kim", 60)
    assert committed(kafka_settings, live.names.topic) == []
    # That was the rule; where it allows the message now, it goes.
    decision = decide(store, early, "replay", "kim", 7200)[0].decision
    assert replay(store, kafka_settings, decision)[1]
    assert [record.value for record in committed(kafka_settings, live.names.topic)] == [early.original]


def test_of_two_people_one_decides(store: ObjectStore, rejected: Callable[..., QuarantinedMessage]) -> None:
    message = rejected(tick(price=-1))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(decide, store, message, "mend", f"p{n}", value=tick(sequence=n)) for n in range(8)]
    won = [each.result() for each in asked if each.exception() is None]
    ((there, made),) = won
    assert made
    lost = [str(each.exception()) for each in asked if each.exception() is not None]
    assert len(lost) == 7
    assert all(f"was mended and replayed by {there.decision.by} at" in reason for reason in lost)
    with pytest.raises(ConfigurationError, match=f"by {there.decision.by} at .* cannot be changed"):
        decide(store, message, "drop", "late")
    assert decide(store, message, "replay", "late") == (there, False)


def test_an_old_decision_whose_receipt_can_be_gone_is_not_gone_on_with(
    store: ObjectStore, kafka_settings: KafkaSettings, live: LiveSettings, mended: Callable[..., Decision]
) -> None:
    decision = mended()
    old = decision.model_copy(update={"decided_at": decision.decided_at - timedelta(days=15)})
    with pytest.raises(ConfigurationError, match=f"look in {live.names.topic} for the header ticklake-replay-of"):
        replay(store, kafka_settings, old)
    assert committed(kafka_settings, live.names.topic) == []


def test_a_mended_poison_is_archived_once_and_one_that_comes_back_says_of_which(
    start: Callable[..., Any], store: ObjectStore, kafka_settings: KafkaSettings, live: LiveSettings
) -> None:
    topic = live.names.topic
    topic_id = kafka.topic_id(kafka_settings, topic)

    def waiting() -> list[QuarantinedMessage]:
        return list(messages_below(store, quarantined_messages_prefix(topic)))

    def ledger(name: str) -> int:
        return sum(
            getattr(part, name) for chain in verify_chain(store, live.names, topic_id).values() for part in chain
        )

    with kafka.ConfirmedProducer(kafka_settings, "test") as producer:
        producer.send(topic, key=b"AAPL", value=tick(price=-1))
    with start("archive-ticks") as archive:
        (poison,) = wait_until(waiting, archive.log.read_text)
        decision = decide(store, poison, "mend", "kim", value=tick())[0].decision
        assert replay(store, kafka_settings, decision)[1]
        wait_until(lambda: ledger("rows") == 1, archive.log.read_text)
        # As if the rule had been changed between the decision and the arrival.
        (known,) = waiting()
        worse = Decision.model_validate(decision.model_dump() | {"id": "0" * 16, "value_base64": "e30="})
        assert replay(store, kafka_settings, worse)[1]
        wait_until(lambda: len(waiting()) == 2, archive.log.read_text)
        (back,) = [message for message in waiting() if message.id != known.id]
        assert (back.replay_of, back.original, known.replay_of) == ("0" * 16, b"{}", None)
    assert (ledger("rows"), ledger("invalid_rows")) == (1, 2)
    assert receipts(kafka_settings, poison) == 1
