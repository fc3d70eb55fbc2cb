"""Quarantined messages in the lake: how they are grouped, read, found and recognised."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_store import MemoryStore
from structlog.testing import capture_logs

from ticklake import keys, quarantine
from ticklake.errors import ConfigurationError
from ticklake.quarantine import QuarantinedMessage, find, messages_below, put, quarantined, read_object, replay_of


def message(offset: int, value: bytes = b"bad", topic: str = "t", partition: int = 0) -> QuarantinedMessage:
    return quarantined("archive-ticks", "odd", value, key=b"AAPL", topic=topic, partition=partition, offset=offset)


def row(position: int, part: str | None = None, symbol: str = "AAPL") -> QuarantinedMessage:
    return quarantined("fetch-historical", "odd", b"{}", run_id="r", symbol=symbol, position=position, part=part)


def test_objects_hold_a_thousand_lines_by_partition_and_by_symbol() -> None:
    store = MemoryStore()
    messages = [
        *(message(n) for n in range(1500)),
        message(7, partition=1),
        row(3),
        row(3, "split"),
        row(4, None, "IBM"),
    ]
    put(store, messages)
    sizes = {key.rpartition("-")[0]: body.count(b"\n") for key, (body, _) in store.objects.items()}
    assert sizes == {
        f"quarantine/topic=t/partition=0/{0:020d}": 1000,
        f"quarantine/topic=t/partition=0/{1000:020d}": 500,
        f"quarantine/topic=t/partition=1/{7:020d}": 1,
        "quarantine/run_id=r/AAPL/000000003": 2,
        "quarantine/run_id=r/IBM/000000004": 1,
    }
    assert sorted(messages_below(store), key=lambda each: each.id) == sorted(messages, key=lambda each: each.id)
    assert list(messages_below(store, keys.quarantined_rows_prefix("r", "IBM"))) == messages[-1:]


def test_objects_stay_below_eight_megabytes_but_for_one_great_message() -> None:
    store = MemoryStore()
    put(store, [message(0, b"x" * 9_000_000), *(message(n, b"x" * 1_000_000) for n in range(1, 13))])
    sizes = [(len(body), body.count(b"\n")) for _, (body, _) in sorted(store.objects.items())]
    assert [lines for _, lines in sizes] == [1, 6, 6]
    assert sizes[0][0] > 9_000_000
    assert all(size <= 8 * 1024 * 1024 for size, _ in sizes[1:])


@given(st.lists(st.integers(1, 30), max_size=6), st.lists(st.integers(1, 30), max_size=6))
def test_writers_that_group_otherwise_overwrite_nothing_and_readers_take_each_once(
    mine: list[int], theirs: list[int]
) -> None:
    store, there = MemoryStore(), [message(offset) for offset in range(60)]
    for groups in (mine, theirs, mine):
        begin = 0
        for length in [*groups, len(there)]:
            put(store, there[begin : begin + length])
            begin += length
    assert sorted(each.offset or 0 for each in messages_below(store)) == list(range(60))


def test_the_id_follows_from_origin_and_bytes() -> None:
    same = quarantined("other", "another reason", b"bad", topic="t", partition=0, offset=1)
    assert message(1).id == same.id
    others = {message(1, b"other").id, message(2).id, message(1, partition=1).id, row(3).id, row(3, "split").id}
    assert len(others | {same.id}) == 6
    assert all(len(each) == 16 for each in others)


def test_lines_that_are_no_message_are_left_out_and_logged() -> None:
    store, good = MemoryStore(), message(1)
    broken = good.model_copy(update={"original_base64": "a"}).body()
    receipt = b'{"schema_version": 1, "replayed": "0123456789abcdef", "topic": "t", "partition": 0, "offset": 1}'
    store.put("quarantine/x.jsonl", b"\n".join([b"{", broken, good.body(), b'{"no": "message"}', receipt]))
    with capture_logs() as logs:
        assert read_object(store, "quarantine/x.jsonl") == [good]
    assert [(each["event"], each["line"]) for each in logs] == [("not readable", n) for n in (1, 2, 4, 5)]
    assert read_object(store, "quarantine/gone.jsonl") == []


def test_a_message_is_found_by_the_beginning_of_its_id() -> None:
    store, many = MemoryStore(), [message(offset) for offset in range(40)]
    put(store, many)
    assert find(store, many[7].id) == many[7]
    digits = [each.id[0] for each in many]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(ConfigurationError, match=f"{digits.count(twice)} quarantined messages have an id"):
        find(store, twice)
    with pytest.raises(ConfigurationError, match=r"begins with 'f{16}'"):
        find(store, "f" * 16)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([("other", b"x"), ("ticklake-replay-of", b"0123456789abcdef")], "0123456789abcdef"),
        ([("ticklake-replay-of", b"0123456789ABCDEF")], None),
        ([("ticklake-replay-of", b"\xff" * 16)], None),
        ([("ticklake-replay-of", None)], None),
        ([], None),
    ],
)
def test_a_replay_is_recognised_by_its_header(headers: list[tuple[str, bytes]], found: str | None) -> None:
    assert replay_of(headers) == found


@pytest.mark.parametrize(
    ("key", "about"), [(b"AAPL", "AAPL"), (None, None), (b"", None), (b"\xff", None), (b"A\n", None), (b"A" * 65, None)]
)
def test_a_message_is_about_its_key_where_that_is_text(key: bytes | None, about: str | None) -> None:
    assert quarantined("s", "odd", b"", key=key, topic="t", partition=0, offset=1).about == about


class Producer:
    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []

    def send(self, _: str, *, key: bytes, value: bytes) -> None:
        self.sent.append((key, value))


def test_what_is_too_large_for_the_topic_goes_there_without_its_bytes() -> None:
    store, producer = MemoryStore(), Producer()
    quarantine.keep(store, producer, [message(1, b"x" * 800_000), message(2)])  # type: ignore[arg-type]
    large, small = (json.loads(value) for _, value in producer.sent)
    assert [key for key, _ in producer.sent] == [b"t/0/1", b"t/0/2"]
    assert (large["original_base64"], large["reason"]) == ("", "odd (original bytes: in the lake only)")
    assert base64.b64decode(small["original_base64"]) == b"bad"
    assert [len(each.original) for each in messages_below(store)] == [800_000, 3]
