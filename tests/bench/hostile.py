"""The archive on a million messages of which some are hostile, against as many clean ones."""

import itertools
import json
import statistics
import time
import uuid
from collections import Counter
from contextlib import ExitStack

import confluent_kafka
from hostile_ticks import INVALID, VALID
from other_clients import COMPRESSIONS
from rich.console import Console
from rich.table import Table

from ticklake import kafka, keys, ledger
from ticklake.objects import ObjectStore
from ticklake.quarantine import messages_below
from ticklake.symbols import LIVE_SYMBOLS
from ticklake.topics import live_names
from ticklake_local.live_services import ARCHIVE_TICKS, Service
from ticklake_local.platform import Platform

_HOSTILE_EVERY = 100
_LONGEST = 4096
"""Bytes of a hostile message; longer ones are for tests of the rule, not of the speed."""
_BATCH = 20_000
_SECONDS = 600.0


def compare_hostile(platform: Platform, messages: int, rounds: int, console: Console) -> None:
    """Archive so many clean messages, then as many of which one in a hundred is hostile, and print both speeds."""
    seconds: dict[str, list[float]] = {"clean": [], "hostile": []}
    for _ in range(rounds):
        for name, times in seconds.items():
            times.append(_measure(platform, messages, hostile=name == "hostile"))
    table = Table("messages", "s", "per second", title=f"Archiving {messages:,} messages", title_justify="left")
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        table.add_row(name, f"{median:.1f}", f"{messages / median:,.0f}")
    console.print(table)
    console.print(
        f"{len(_hostile())} kinds of hostile messages, one in {_HOSTILE_EVERY}, in batches of {len(COMPRESSIONS)} "
        f"compressions and with headers: at {medians['clean'] / medians['hostile']:.0%} of the clean speed; each is in "
        "quarantine, once"
    )


def _hostile() -> list[bytes]:
    return [value for value in INVALID.values() if value and len(value) <= _LONGEST]


def _measure(platform: Platform, messages: int, *, hostile: bool) -> float:
    """Seconds from the start of the archive until it has everything.

    Raises:
        AssertionError: a message is not where it belongs.
    """
    namespace = f"bench-{uuid.uuid4().hex[:8]}"
    platform.ensure_live_topics(namespace)
    live, store = live_names(namespace), ObjectStore(platform.store)
    sent = _send(platform, live.topic, messages, hostile)
    topic_id = kafka.topic_id(platform.kafka, live.topic)
    archive = Service(ARCHIVE_TICKS, platform, namespace, ARCHIVE_ROLL_SECONDS="5")
    with ExitStack() as stack:
        stack.callback(archive.stop)
        began = time.monotonic()
        archive.start()
        while _archived(archive) < messages:
            platform.check()
            assert archive.ended() is None, archive.failure().details
            assert time.monotonic() - began < _SECONDS, f"only {_archived(archive):,} are archived"
            time.sleep(0.1)
        seconds = time.monotonic() - began
    ranges = [entry for chain in ledger.verify_chain(store, live, topic_id).values() for entry in chain]
    assert sum(entry.rows for entry in ranges) == messages - sent.total()
    quarantined = messages_below(store, keys.quarantined_messages_prefix(live.topic))
    assert Counter(message.original for message in quarantined) == sent
    kafka.delete_topics(platform.kafka, [live.topic])
    return seconds


def _archived(archive: Service) -> float:
    return sum(archive.metric(f"ticklake_archive_ticks_{name}_total") for name in ("rows", "invalid"))


def _send(platform: Platform, topic: str, messages: int, hostile: bool) -> Counter[bytes]:
    """Send the messages, each batch compressed otherwise; returns the hostile ones."""
    tick = json.loads(VALID["as it should be"])
    bad, compressions = itertools.cycle(_hostile()), itertools.cycle(COMPRESSIONS)
    sent: Counter[bytes] = Counter()
    for first in range(0, messages, _BATCH):
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": platform.kafka.bootstrap_servers,
                "compression.type": next(compressions),
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": _BATCH + 1,
            }
        )
        for number in range(first, min(messages, first + _BATCH)):
            symbol = LIVE_SYMBOLS[number % len(LIVE_SYMBOLS)]
            value = json.dumps(tick | {"symbol": symbol, "sequence": number}).encode()
            if hostile and number % _HOSTILE_EVERY == 0:
                value = next(bad)
                sent[value] += 1
            headers = [("trace", b"1")] if number % 3 == 0 else []
            producer.produce(topic, key=symbol, value=value, headers=headers)
        assert producer.flush(60) == 0
    return sent
