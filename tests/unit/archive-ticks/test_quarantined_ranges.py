"""The producer of a range's invalid messages for the quarantine topic: kept for the next range, but not for long."""

import pytest
from memory_store import MemoryStore

from archive_ticks import range_writer
from archive_ticks.offset_ranges import Range
from archive_ticks.parsing import Invalid
from ticklake.errors import StageError
from ticklake.quarantine import messages_below
from ticklake.settings import KafkaSettings
from ticklake.topics import live_names


class Producer:
    made: list["Producer"]
    fails = False

    def __init__(self, *_: object) -> None:
        self.sent = self.confirmed = 0
        self.closed = False
        self.made.append(self)

    def send(self, *_: object, **__: object) -> None:
        self.sent += 1

    def confirm(self) -> None:
        if Producer.fails:
            raise StageError("the broker is away")
        self.confirmed = self.sent

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def producers(monkeypatch: pytest.MonkeyPatch) -> list[Producer]:
    monkeypatch.setattr(Producer, "made", [], raising=False)
    monkeypatch.setattr(range_writer, "ConfirmedProducer", Producer)
    return Producer.made


def sealed(*offsets: int) -> Range:
    found = Range(0, 0, 1_769_785_200_000, 0.0, last_offset=9, last_time=1_769_785_200_000)
    found.invalid = [Invalid(offset, 1_769_785_200_000, b"AAPL", b"{", "odd") for offset in offsets]
    return found


def state(producers: list[Producer]) -> list[tuple[int, int, bool]]:
    return [(each.sent, each.confirmed, each.closed) for each in producers]


def test_ranges_share_a_producer_and_each_is_confirmed(producers: list[Producer]) -> None:
    store = MemoryStore()
    keep = range_writer.quarantine_into(KafkaSettings(), store, live_names())
    keep(sealed())
    assert producers == []
    keep(sealed(1, 2))
    assert state(producers) == [(2, 2, False)]
    keep(sealed(3))
    assert state(producers) == [(3, 3, False)]
    assert [message.offset for message in messages_below(store)] == [1, 2, 3]


def test_one_that_failed_or_was_idle_is_replaced(producers: list[Producer], monkeypatch: pytest.MonkeyPatch) -> None:
    keep = range_writer.quarantine_into(KafkaSettings(), MemoryStore(), live_names())
    with monkeypatch.context() as away:
        away.setattr(Producer, "fails", True)
        with pytest.raises(StageError, match="the broker is away"):
            keep(sealed(1))
    keep(sealed(1))
    assert state(producers) == [(1, 0, True), (1, 1, False)]
    monkeypatch.setattr(range_writer, "_PRODUCER_SECONDS", 0.0)
    keep(sealed(2))
    assert state(producers) == [(1, 0, True), (1, 1, True), (1, 1, False)]
