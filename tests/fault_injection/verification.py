"""What must hold after a storm: the log, the archive, the windows and the alerts agree, as if nothing had happened."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import confluent_kafka
import pandas as pd
import pyarrow as pa
from confluent_kafka import TopicPartition
from tests.fault_injection.flow import WATERMARK_SECONDS, Flow

from market_alerts.evaluation import Counts, PartitionEvaluator
from market_alerts.rules_file import parse_file, read_file
from market_alerts.settings import AlertOptions
from ticklake import kafka, ledger
from ticklake.alerts import Alert
from ticklake.catalog import LakeTables, matching
from ticklake.ledger_table import read_object
from ticklake.objects import ObjectStore
from ticklake.records import WINDOW_LENGTHS, Source, Tick
from ticklake.tables import NAMESPACES, WINDOWS
from ticklake_local import live_verification

_SECONDS = 300.0
_CLOSING_SYMBOL = "ZZZ"


@dataclass(frozen=True)
class Verified:
    """What was compared."""

    ids: int
    """Ticks in the log."""
    runs: int
    """Of the producer: each start is one."""
    windows: int
    alerts: int
    faults: tuple[str, ...]
    """What does not hold, a line each."""


def verify(flow: Flow, newest: datetime) -> Verified:
    """Close the windows, stop the programs, and compare everything.

    Args:
        newest: greatest event time of a tick; the producer has stopped.
    """
    closing = newest + timedelta(seconds=WATERMARK_SECONDS) + 2 * max(WINDOW_LENGTHS.values())
    _send_closing_tick(flow, closing)
    store = ObjectStore(flow.platform.store)
    tables = LakeTables(flow.catalog, flow.platform.store)
    faults: list[str] = []
    _wait_for_archive(flow, store)
    ticks = _archived(flow, store)
    expected = _window_keys(ticks)
    windows = _closed(flow, tables, len(expected))
    for program in flow.programs.values():
        if program.service is not None:
            program.service.stop()
    faults += flow.tracebacks()
    log, alerts = _replayed(flow)
    faults += compare_ticks(log, ticks)
    keys = Counter(
        zip(*(windows[name].to_pylist() for name in ("symbol", "window_length", "window_start")), strict=True)
    )
    faults += differences("window", Counter(expected), keys)
    try:
        live_verification.check(flow.platform.kafka, store, tables, flow.settings, late=0)
    except Exception as error:
        faults.append(str(error))
    faults += differences("alert", alerts, _published(flow))
    return Verified(len(log), log["producer_run"].nunique(), windows.num_rows, alerts.total(), tuple(faults))


def _send_closing_tick(flow: Flow, event_time: datetime) -> None:
    tick = Tick(
        symbol=_CLOSING_SYMBOL,
        price=1.0,
        volume=1,
        event_time=event_time,
        sequence=0,
        producer_run="closing",
        source=Source.SIMULATED,
    )
    with kafka.ConfirmedProducer(flow.platform.kafka, "fault-injection") as producer:
        producer.send(flow.live.topic, key=tick.symbol.encode(), value=tick.model_dump_json().encode())


def _until(what: str, flow: Flow, done: Any) -> None:
    deadline = time.monotonic() + _SECONDS
    while not done():
        flow.tend()
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} within {_SECONDS:g} s\n{flow.logs()}")
        time.sleep(1)


def _wait_for_archive(flow: Flow, store: ObjectStore) -> None:
    topic_id = kafka.topic_id(flow.platform.kafka, flow.live.topic)
    ends = kafka.end_offsets(flow.platform.kafka, flow.live.topic)

    def archived() -> bool:
        chains = ledger.verify_chain(store, flow.live, topic_id)
        return all(not end or (p in chains and chains[p][-1].last_offset + 1 == end) for p, end in ends.items())

    _until("not archived to the end", flow, archived)


def _archived(flow: Flow, store: ObjectStore) -> pd.DataFrame:
    topic_id = kafka.topic_id(flow.platform.kafka, flow.live.topic)
    parts = [
        read_object(store, ledger.range_key(flow.live, topic_id, p, entry.first_offset, entry.first_append_time))[1]
        for p, chain in ledger.verify_chain(store, flow.live, topic_id).items()
        for entry in chain
    ]
    return pa.concat_tables(parts).to_pandas()


def _window_keys(ticks: pd.DataFrame) -> set[tuple[str, str, datetime]]:
    """Symbol, length and start of each window that has a tick; those of the closing tick are not closed."""
    slides = {"15m": timedelta(minutes=1), "1h": timedelta(minutes=5)}
    found = set()
    for symbol, own in ticks[ticks["symbol"] != _CLOSING_SYMBOL].groupby("symbol"):
        for name, length in WINDOW_LENGTHS.items():
            slide = slides[name]
            for last in own["event_time"].dt.floor(slide).unique():
                starts = (last.to_pydatetime() - slide * n for n in range(length // slide))
                found |= {(symbol, name, start) for start in starts}
    return found


def _closed(flow: Flow, tables: LakeTables, expected: int) -> pa.Table:
    def read() -> pa.Table:
        rows = matching(flow=[flow.settings.namespace])
        return pa.concat_tables([tables.read(namespace, WINDOWS, rows) for namespace in NAMESPACES])

    _until(f"not {expected} windows closed", flow, lambda: read().num_rows >= expected)
    return read()


def _replayed(flow: Flow) -> tuple[pd.DataFrame, Counter[str]]:
    """The log's ticks, and the alerts' ids by an evaluation without any fault."""
    options = AlertOptions()
    rules = parse_file(read_file(options.rules_file), options.rules_file)
    topic_id = kafka.topic_id(flow.platform.kafka, flow.live.topic)
    rows: list[tuple[Any, ...]] = []
    alerts: Counter[str] = Counter()
    for number in kafka.end_offsets(flow.platform.kafka, flow.live.topic):
        evaluator = PartitionEvaluator(number, topic_id, rules, int(options.lateness_seconds * 1000), None)
        for records in _messages(flow, flow.live.topic, number):
            events = evaluator.evaluate(records, Counts())
            alerts.update(event.alert_id for event in events if event.transition.state != "suppressed")
            ticks = [Tick.model_validate_json(record.value) for record in records]
            rows += [
                (number, r.offset, t.producer_run, t.symbol, t.sequence, t.price, t.volume)
                for r, t in zip(records, ticks, strict=True)
            ]
    names = ["partition", "offset", "producer_run", "symbol", "sequence", "price", "volume"]
    return pd.DataFrame(rows, columns=names), alerts


def _published(flow: Flow) -> Counter[str]:
    return Counter(
        Alert.model_validate_json(record.value).alert_id
        for number in kafka.end_offsets(flow.platform.kafka, flow.live.alerts_topic)
        for records in _messages(flow, flow.live.alerts_topic, number)
        for record in records
    )


@dataclass(frozen=True)
class _Record:
    offset: int
    timestamp: int
    key: bytes
    value: bytes


def _messages(flow: Flow, topic: str, number: int) -> Iterator[list[_Record]]:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": flow.platform.kafka.bootstrap_servers,
            "group.id": "fault-injection",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, number, 0)])
    ended = False
    while not ended:
        messages = consumer.consume(5000, timeout=5)
        ended = any(message.error() for message in messages)
        yield [_Record(m.offset(), m.timestamp()[1], m.key(), m.value()) for m in messages if not m.error()]
    consumer.close()


def compare_ticks(log: pd.DataFrame, ticks: pd.DataFrame) -> list[str]:
    """What is lost, doubled or out of order in the log, or differs between it and the archive, a line each."""
    faults = []
    by_key = log.sort_values(["partition", "offset"]).groupby(["producer_run", "symbol"])["sequence"]
    counts = {
        "lost": int((by_key.max() + 1 - by_key.nunique()).sum()),
        "there twice": int((by_key.size() - by_key.nunique()).sum()),
        "out of order": int(sum((numbers.diff() < 0).sum() for _, numbers in by_key)),
    }
    faults += [f"{count} ticks of the log are {what}" for what, count in counts.items() if count]
    identity = [*log.columns]
    own = ticks[identity]
    if doubled := int(own.duplicated(["partition", "offset"]).sum()):
        faults.append(f"{doubled} offsets are archived twice")
    merged = log.merge(own, on=identity, how="outer", indicator=True)
    for side, what in (("left_only", "not archived as they were sent"), ("right_only", "archived, but not in the log")):
        if count := int((merged["_merge"] == side).sum()):
            faults.append(f"{count} ticks are {what}")
    return faults


def differences(what: str, expected: Counter[Any], seen: Counter[Any]) -> list[str]:
    """How many of `expected` are missing in `seen`, and the other way round, a line each."""
    missing, extra = expected - seen, seen - expected
    found = []
    for differing, text in ((missing, "missing"), (extra, "too many")):
        if differing:
            found.append(f"{differing.total()} {what}s are {text}, such as {next(iter(differing))}")
    return found
