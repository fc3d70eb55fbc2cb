"""consume-historical against the real broker and store: whole batches only, each identity once, commits last."""

import csv
import hashlib
import io
import json
import signal
import subprocess
from datetime import date
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from waiting import wait_until

from fetch_historical.settings import SimulatedSettings
from ticklake import keys, lineage, topics
from ticklake.errors import ConfigurationError, ExitCode, IntegrityError, StageError
from ticklake.objects import ObjectStore
from ticklake.quarantine import messages_below
from ticklake.records import Source
from ticklake.settings import KafkaSettings

YEAR = (date(2012, 3, 2), date(2013, 3, 1))


def table(body: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(body.decode())))


def raw_objects(store) -> dict[str, bytes]:
    return {found.key: store.get(found.key) for found in store.list_objects("raw/historical/")}


def quarantined_at(store: ObjectStore, place: Any) -> Any:
    there = messages_below(store, keys.quarantined_messages_prefix(topics.BATCH_TOPIC, place.partition))
    (found,) = [message for message in there if message.offset == place.offset]
    return found


def test_one_csv_per_symbol_with_the_recorded_bars(fetch, consume, store, recorded, run_id):
    fetched = fetch()
    record = consume()
    assert (record.rows_in, record.rows_out, record.quarantined) == (1196, 1196, 0)
    assert {key: len(table(body)) for key, body in raw_objects(store).items()} == {
        part.key: part.rows for part in record.objects
    }
    for part in record.objects:
        body = store.get(part.key)
        rows, expected = table(body), recorded(part.symbol, *YEAR)
        assert [row["session_date"] for row in rows] == [row["Date"] for row in expected]
        for column in ("Open", "High", "Low", "Close", "Volume"):
            assert [float(row[column.lower()]) for row in rows] == [float(row[column]) for row in expected]
        assert {row["batch_id"] for row in rows} == {run_id}
        assert (part.size, part.sha256) == (len(body), hashlib.sha256(body).hexdigest())
        assert part.key.startswith(f"raw/historical/year=2013/month=03/day=01/{part.symbol}_")
    assert {symbol: result.checksum for symbol, result in record.symbols.items()} == {
        symbol: result.checksum for symbol, result in fetched.symbols.items()
    }


def test_commits_the_end_of_what_it_read(fetch, consume, kafka_settings: KafkaSettings):
    record = fetch()
    consume()
    consumer = KafkaConsumer(bootstrap_servers=kafka_settings.bootstrap_servers, group_id=topics.BATCH_GROUP)
    committed = {
        part.partition: consumer.committed(TopicPartition(part.topic, part.partition)) for part in record.offsets
    }
    consumer.close()
    assert committed == {part.partition: part.last + 1 for part in record.offsets}


def test_repeated_strange_and_malformed_messages_in_between(fetch, consume, inject, messages, store, run_id):
    first = fetch()
    sent = messages(first.offsets)
    whole = sent[0]
    strange = whole.value.replace(run_id.encode(), b"another-batch")
    bad = [
        inject(topics.BATCH_TOPIC, b"\xff\x00 not JSON", b"AAPL", 0),
        inject(topics.BATCH_TOPIC, None, b"AAPL", 0),
        inject(topics.BATCH_TOPIC, whole.value.replace(b'"high":', b'"high":-'), whole.key, whole.partition),
    ]
    inject(topics.BATCH_TOPIC, strange, whole.key, whole.partition)
    inject(topics.BATCH_TOPIC, whole.value, whole.key, whole.partition)
    # The retry sends everything once more; its record then spans all of the above.
    second = fetch()
    ranges = tuple(
        part.model_copy(update={"first": earlier.first})
        for part, earlier in zip(second.offsets, first.offsets, strict=True)
    )
    lineage.write(store, second.model_copy(update={"offsets": ranges}))
    record = consume()
    assert (record.rows_in, record.rows_out, record.quarantined) == (1199, 1196, 3)
    for metadata in bad:
        stored = quarantined_at(store, metadata)
        assert (stored.topic, stored.run_id, stored.stage) == (topics.BATCH_TOPIC, run_id, "consume-historical")
    assert quarantined_at(store, bad[0]).original == b"\xff\x00 not JSON"
    before, kept = raw_objects(store), [found.key for found in store.list_objects(keys.QUARANTINE)]
    assert consume().objects == record.objects
    assert raw_objects(store) == before
    assert [found.key for found in store.list_objects(keys.QUARANTINE)] == kept


def test_the_same_identity_with_other_content_is_an_error(fetch, consume, inject, messages, store):
    record = fetch(symbols=("IBM",))
    bar = messages(record.offsets)[5]
    document = json.loads(bar.value)
    document["volume"] += 1
    there = inject(topics.BATCH_TOPIC, json.dumps(document).encode(), bar.key, bar.partition)
    longer = tuple(part.model_copy(update={"last": there.offset}) for part in record.offsets)
    lineage.write(store, record.model_copy(update={"offsets": longer}))
    with pytest.raises(IntegrityError, match="two different messages for bar 5"):
        consume()
    assert raw_objects(store) == {}


def test_a_missing_bar_is_named_and_nothing_is_written(fetch, consume, store):
    record = fetch(symbols=("IBM", "FB"))
    # Both symbols may share a partition: the first message of the lowest offset is the first bar of one of them.
    shorter = tuple(part.model_copy(update={"first": part.first + 1}) for part in record.offsets)
    lineage.write(store, record.model_copy(update={"offsets": shorter}))
    with pytest.raises(IntegrityError, match=r"(IBM|FB) has \d+ bars where its trailer counts \d+") as caught:
        consume()
    assert "the first missing is number 0" in str(caught.value)
    assert caught.value.exit_code == ExitCode.FAILED
    assert raw_objects(store) == {}


def test_a_batch_of_another_run_in_the_same_second_gets_a_key_of_its_own(fetch, consume, store, run_id):
    fetch(symbols=("IBM",))
    answer = store.get(keys.source_answer_key(run_id, "IBM"))
    store.put_if_absent(keys.source_answer_key("other", "IBM"), answer)
    fetch(symbols=("IBM",), the_run="other")
    first, second = consume(), consume(the_run="other")
    suffix = hashlib.sha256(b"other").hexdigest()[:8]
    assert second.objects[0].key == first.objects[0].key.removesuffix(".csv") + f"-{suffix}.csv"
    assert {row["batch_id"] for row in table(store.get(second.objects[0].key))} == {"other"}
    assert {row["batch_id"] for row in table(store.get(first.objects[0].key))} == {run_id}
    assert consume(the_run="other").objects == second.objects


def test_a_symbol_without_rows_has_no_object_but_a_place_in_the_record(fetch, consume):
    fetch(symbols=("IBM", "NOSUCH"))
    record = consume()
    assert [part.symbol for part in record.objects] == ["IBM"]
    assert (record.symbols["NOSUCH"].status, record.symbols["NOSUCH"].rows) == ("unknown", 0)


def test_a_range_that_the_log_lost_is_named(fetch, consume, kafka_settings: KafkaSettings):
    record = fetch(symbols=("IBM",))
    part = record.offsets[0]
    admin = KafkaAdminClient(bootstrap_servers=kafka_settings.bootstrap_servers)
    admin.delete_records({TopicPartition(part.topic, part.partition): part.first + 10})
    admin.close()
    with pytest.raises(
        IntegrityError, match=rf"no longer holds offsets {part.first} to {part.first + 9} of this batch"
    ):
        consume()


def test_a_topic_that_is_shorter_than_the_record_says(fetch, consume, store):
    record = fetch(symbols=("IBM",))
    longer = tuple(part.model_copy(update={"last": part.last + 10**6}) for part in record.offsets)
    lineage.write(store, record.model_copy(update={"offsets": longer}))
    with pytest.raises(IntegrityError, match="the topic was recreated"):
        consume()


def test_another_member_of_the_group_disturbs_nothing(fetch, consume, kafka_settings: KafkaSettings):
    fetch(symbols=("IBM",))
    other = KafkaConsumer(
        topics.BATCH_TOPIC,
        bootstrap_servers=kafka_settings.bootstrap_servers,
        group_id=topics.BATCH_GROUP,
        enable_auto_commit=False,
    )
    # A leader that does not know the partitions yet gives everyone none, and the library can lose its next join.
    other.end_offsets([TopicPartition(topics.BATCH_TOPIC, 0)])
    wait_until(lambda: other.poll(200) or other.assignment())
    record = consume()
    other.close()
    assert record.rows_out == 250
    assert any("has other members" in note for note in record.notes)


def test_without_a_fetch_or_with_another_date(fetch, consume):
    with pytest.raises(ConfigurationError, match="run that stage first"):
        consume()
    fetch(symbols=("IBM",))
    with pytest.raises(ConfigurationError, match="is of 2013-03-01, not of --date 2013-02-28"):
        consume(day=date(2013, 2, 28))


def test_the_deadline(fetch, consume):
    fetch(symbols=("IBM",))
    with pytest.raises(StageError, match="TICKLAKE_CONSUME_DEADLINE_SECONDS"):
        consume(consume_deadline_seconds=1e-9)


def test_killed_in_the_middle_and_started_again(fetch, consume, store, stage_env, programs, run_id):
    """SIGKILL once the first objects are there; the second attempt leaves exactly what one attempt would."""
    day = date(2025, 12, 31)
    fetched = fetch(day=day, source=Source.SIMULATED, simulated=SimulatedSettings(extra_symbols=190))
    command = [str(programs / "consume-historical"), "--date", str(day), "--run-id", run_id]
    with subprocess.Popen(command, env=stage_env(), stdout=subprocess.DEVNULL) as process:
        wait_until(
            lambda: next(store.list_objects("raw/historical/"), None), alive=lambda: process.poll() is None, pause=0
        )
        process.kill()
    assert process.returncode == -signal.SIGKILL
    left = raw_objects(store)
    assert 0 < len(left) < 200
    record = consume(day=day)
    after = raw_objects(store)
    assert {key: after[key] for key in left} == left
    assert len(after) == len(record.objects) == 200
    assert record.rows_out == fetched.rows_out == 200 * 250
    identities = [(row["symbol"], row["session_date"]) for body in after.values() for row in table(body)]
    assert len(identities) == len(set(identities)) == 200 * 250


def test_a_real_split_restates_the_sessions_before_it(fetch, consume, store, recorded):
    """AAPL was split 2:1 on 2005-02-28; the batch before knows nothing of it, the one after restates."""
    before, after = date(2005, 2, 25), date(2005, 2, 28)
    found = {}
    for day in (before, after):
        fetch(day=day, symbols=("AAPL",), the_run=str(day))
        record = consume(day=day, the_run=str(day))
        found[day] = {row["session_date"]: row for row in table(store.get(record.objects[0].key))}
    traded = recorded("AAPL", before, after)
    assert [float(row["Close"]) for row in traded] == [88.99, 44.86]
    assert float(found[before]["2005-02-25"]["close"]) == 88.99
    assert float(found[after]["2005-02-25"]["close"]) == 44.495
    assert float(found[after]["2005-02-28"]["close"]) == 44.86
    assert float(found[after]["2005-02-28"]["stock_splits"]) == 2.0
    assert int(found[after]["2005-02-25"]["volume"]) == 2 * int(found[before]["2005-02-25"]["volume"])
