"""Writing sealed ranges: quarantine, then the conditional write that makes a range part of the chain, then its CSV."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from archive_ticks.offset_ranges import Encoded, Range
from archive_ticks.parsing import Invalid
from ticklake import logs, quarantine, topics
from ticklake.errors import IntegrityError, StageError
from ticklake.kafka import ConfirmedProducer
from ticklake.ledger import ChainStart, claim_chain_start, csv_key, hours, keys_in_hour, read_range
from ticklake.ledger_table import csv_bytes, read_object
from ticklake.objects import ObjectStore
from ticklake.quarantine import QuarantinedMessage, quarantined
from ticklake.settings import KafkaSettings

STAGE = "archive-ticks"

log = logs.get(__name__)

_PRODUCER_SECONDS = 60.0
"""For how long an idle producer is kept."""

Quarantine = Callable[[Range], None]


@dataclass(frozen=True)
class Placed:
    """How a conditional write ended."""

    next_offset: int
    """Where the chain goes on."""
    last_append_time: datetime
    """Of the message before that, or of the first one where the chain has only a start."""
    ours: bool
    """Whether the object in the store is the one that was to be written."""


def put_range(store: ObjectStore, encoded: Encoded) -> Placed:
    """Write a range's object unless its offsets have one already, or its chain starts elsewhere.

    Raises:
        StageError: the store failed; the same call may be repeated at any time.
        IntegrityError: the object in its place belongs to another topic.
    """
    entry = encoded.entry
    if encoded.chain_start_key:
        own = ChainStart(
            topic_id=entry.topic_id,
            partition=entry.partition,
            first_offset=entry.first_offset,
            first_append_time=entry.first_append_time,
        )
        start = claim_chain_start(store, encoded.chain_start_key, own)
        if start != own:
            return Placed(start.first_offset, start.first_append_time, ours=False)
    if store.put_if_absent(encoded.key, encoded.parquet, metadata=entry.user_metadata()):
        return Placed(entry.last_offset + 1, entry.last_append_time, ours=True)
    winner = read_range(store, encoded.key)
    if winner is None:
        # A store may answer "conflict" while another write is under way, and that one may yet fail.
        raise StageError(f"the write of {encoded.key} met another one")
    if winner.topic_id != entry.topic_id:
        raise IntegrityError(f"{encoded.key} belongs to topic {winner.topic_id}, not {entry.topic_id}")
    # Of a repeated attempt whose first answer was lost, the winner is this process itself.
    ours = (winner.last_offset, winner.checksum) == (entry.last_offset, entry.checksum)
    return Placed(winner.last_offset + 1, winner.last_append_time, ours)


def put_copy(store: ObjectStore, encoded: Encoded) -> int:
    """Write the CSV copy of a range that is in the ledger; returns its bytes."""
    body = csv_bytes(encoded.table)
    store.put(csv_key(encoded.key), body)
    return len(body)


def repair_copies(
    store: ObjectStore, live: topics.LiveNames, topic_id: str, partitions: Iterable[int], newest_hours: int
) -> int:
    """Write the CSV copies that are missing in the newest hours; returns how many.

    A writer ends one range's copy before it writes the next range, so what a crash leaves out is the newest range's.
    """
    wanted, repaired = frozenset(partitions), 0
    for _, folder in zip(range(newest_hours), hours(store, live), strict=False):
        ranges, copies = keys_in_hour(store, folder, topic_id)
        for found in ranges:
            if found.partition in wanted and csv_key(found.key) not in copies:
                _, table = read_object(store, found.key)
                store.put(csv_key(found.key), csv_bytes(table))
                repaired += 1
                log.info("wrote a missing CSV copy", key=csv_key(found.key))
    return repaired


def quarantine_into(kafka: KafkaSettings, store: ObjectStore, live: topics.LiveNames) -> Quarantine:
    """A function that keeps a range's invalid messages in the quarantine topic and in the lake.

    Its producer is used again for the next range if that comes soon: to make one takes longer than to send hundreds of
    messages. It is not kept for long, as the broker forgets idle producers; nor after an error.
    """
    kept: list[tuple[ConfirmedProducer, float]] = []

    def producer() -> ConfirmedProducer:
        if kept:
            found, used = kept.pop()
            if time.monotonic() - used < _PRODUCER_SECONDS:
                return found
            found.close()
        return ConfirmedProducer(kafka, STAGE)

    def keep(sealed: Range) -> None:
        if not sealed.invalid:
            return
        wrapped = [_wrap(live.topic, sealed.partition, message) for message in sealed.invalid]
        sender = producer()
        try:
            quarantine.keep(store, sender, wrapped)
            sender.confirm()
        except BaseException:
            sender.close()
            raise
        kept.append((sender, time.monotonic()))
        log.warning(
            "quarantined messages",
            partition=sealed.partition,
            count=len(wrapped),
            first_offset=wrapped[0].offset,
            reasons=_reasons(sealed.invalid),
        )

    return keep


def _wrap(topic: str, partition: int, message: Invalid) -> QuarantinedMessage:
    return quarantined(
        STAGE,
        message.reason,
        message.value,
        key=message.key,
        topic=topic,
        partition=partition,
        offset=message.offset,
        replay_of=message.replay_of,
        record_time=datetime.fromtimestamp(message.timestamp / 1000, UTC),
    )


def _reasons(invalid: Sequence[Invalid]) -> list[str]:
    return list(dict.fromkeys(message.reason for message in invalid))[:3]
