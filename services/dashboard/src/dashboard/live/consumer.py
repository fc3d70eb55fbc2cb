"""Reads the live topics from Kafka into memory, for as long as the service runs."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from kafka import TopicPartition
from kafka import errors as kafka_errors

from dashboard.live.alerts import AlertState
from dashboard.live.prices import LiveState
from dashboard.live.windows import WindowState
from dashboard.metrics import Metrics
from dashboard.settings import DashboardSettings
from ticklake import logs
from ticklake.errors import StageError
from ticklake.kafka import make_consumer, translated_errors
from ticklake.ticks import InvalidTick, read_tick

log = logs.get(__name__)

_POLL_SECONDS = 0.2
_RETRY_SECONDS = 2.0
_CHECK_TIMEOUT_SECONDS = 2.0
_TOPICS_SECONDS = 30.0
_ALERTS_BACK = 1000
"""Messages of the alerts topic to begin with, however old: alerts are rare."""

Handler = Callable[[Any], bool]


class LiveConsumer(threading.Thread):
    """A thread that reads ticks, windows and alerts, without a consumer group: every replica needs them all.

    A broker that is away, at the start or later, only changes `failure`; reading goes on where it stopped.

    Args:
        on_news: called after each batch of messages that changed anything.
    """

    def __init__(
        self,
        settings: DashboardSettings,
        live: LiveState,
        windows: WindowState,
        alerts: AlertState,
        metrics: Metrics,
        on_news: Callable[[], None],
    ) -> None:
        super().__init__(name="kafka", daemon=True)
        # Nobody waits for an answer here, but a stop does.
        timeout = min(settings.kafka.timeout_seconds, 5.0)
        self._kafka = settings.kafka.model_copy(update={"timeout_seconds": timeout})
        self._options, self._metrics, self._on_news = settings.dashboard, metrics, on_news
        self._live, self._windows, self._alerts = live, windows, alerts
        names, self._future_tolerance = settings.live.names, settings.live.future_tolerance
        self._alerts_topic = names.alerts_topic
        self._handlers: dict[str, Handler] = {
            names.topic: self._take_tick,
            names.analytics_topic: lambda record: windows.add(record.value or b""),
            names.alerts_topic: lambda record: alerts.add(record.value or b""),
        }
        self._stopping = threading.Event()
        self._next: dict[TopicPartition, int] = {}
        """Offset to go on from after the client had to be recreated."""
        self.failure = "not asked yet"
        """Why the broker cannot be read; empty while it can."""
        self.away = False
        """Whether the last attempt to reach the broker failed."""
        self.missing: tuple[str, ...] = ()
        """Topics that are not there."""
        self.beat = time.monotonic()

    def stop(self) -> None:
        """Ask the thread to end; it does within a few seconds."""
        self._stopping.set()

    def run(self) -> None:
        """Read until asked to stop."""
        while not self._stopping.is_set():
            self.beat = time.monotonic()
            try:
                self._session()
            except StageError as error:
                self._failed(error)
            except Exception as error:
                log.error("reading the live topics failed", exc_info=error)
                self._failed(StageError(f"reading the live topics failed: {type(error).__name__}"))
            self._stopping.wait(_RETRY_SECONDS)

    def _failed(self, error: StageError) -> None:
        self._metrics.broker_errors.inc()
        self._metrics.broker_up.set(0)
        if str(error) != self.failure:
            log.warning("cannot read the live topics, will try again", error=str(error))
        self.failure, self.away = str(error), True
        self._on_news()

    def _session(self) -> None:
        """Read with one client until it fails, the topics change or the service stops."""
        consumer = make_consumer(self._kafka, "dashboard")
        with contextlib.closing(_Closing(consumer)):
            places = self._partitions(consumer)
            consumer.assign(list(places))
            with translated_errors(self._kafka, "look up the offsets of the live topics"):
                self._seek(consumer, places)
            log.info("reading", partitions=len(places), missing=list(self.missing))
            checked = listed = time.monotonic()
            self._answers()
            while not self._stopping.is_set():
                self.beat = now = time.monotonic()
                if now - checked >= self._options.refresh_seconds:
                    # The client itself says nothing of a broker that is away: it goes on trying.
                    self._check(consumer, places)
                    checked = time.monotonic()
                if now - listed >= _TOPICS_SECONDS and not self.failure:
                    if set(self._partitions(consumer)) != set(places):
                        return
                    listed = time.monotonic()
                self._read(consumer, idle=not places)

    def _answers(self) -> None:
        if self.failure:
            log.info("the broker answers")
        self.failure, self.away = "", False
        self._metrics.broker_up.set(1)
        self._on_news()

    def _partitions(self, consumer: Any) -> list[TopicPartition]:
        with translated_errors(self._kafka, "list its topics"):
            there = consumer.topics()
            self.missing = tuple(topic for topic in self._handlers if topic not in there)
            return [
                TopicPartition(topic, number)
                for topic in self._handlers
                if topic in there
                for number in sorted(consumer.partitions_for_topic(topic) or ())
            ]

    def _check(self, consumer: Any, places: Iterable[TopicPartition]) -> None:
        try:
            with translated_errors(self._kafka, "answer"):
                consumer.end_offsets(list(places), timeout_ms=int(_CHECK_TIMEOUT_SECONDS * 1000))
        except StageError as error:
            self._failed(error)
        else:
            if self.failure:
                self._answers()

    def _seek(self, consumer: Any, places: list[TopicPartition]) -> None:
        if not places:
            return
        timeout_ms = int(self._kafka.timeout_seconds * 1000)
        begins = consumer.beginning_offsets(places, timeout_ms=timeout_ms)
        ends = consumer.end_offsets(places, timeout_ms=timeout_ms)
        since = round((time.time() - self._options.history_minutes * 60) * 1000)
        by_time = consumer.offsets_for_times(dict.fromkeys(places, since), timeout_ms=timeout_ms)
        for place in places:
            begin, end = begins[place], ends[place]
            if begin <= (known := self._next.get(place, -1)) <= end:
                consumer.seek(place, known)
                continue
            count = sum(other.topic == place.topic for other in places)
            newest = end - self._options.history_messages // count
            found = by_time.get(place)
            start = end if found is None or found.offset < 0 else found.offset
            if place.topic == self._alerts_topic:
                newest = start = end - _ALERTS_BACK
            consumer.seek(place, max(begin, newest, start))

    def _read(self, consumer: Any, *, idle: bool) -> None:
        if idle:
            self._stopping.wait(_POLL_SECONDS)
            return
        try:
            with translated_errors(self._kafka, "let the live topics be read"):
                batches: Mapping[TopicPartition, list[Any]] = consumer.poll(timeout_ms=int(_POLL_SECONDS * 1000))
        except StageError as error:
            if isinstance(error.__cause__, kafka_errors.OffsetOutOfRangeError):
                self._next.clear()  # the log was cut or recreated: begin as after a start
            raise
        news = False
        for place, records in batches.items():
            handler, good = self._handlers[place.topic], 0
            for record in records:
                good += handler(record)
            self._next[place] = records[-1].offset + 1
            self._metrics.messages.labels(place.topic, "used").inc(good)
            self._metrics.messages.labels(place.topic, "skipped").inc(len(records) - good)
            news = news or good > 0
        if news:
            if (newest := self._live.newest()) is not None:
                self._metrics.last_tick.set(newest[0] / 1000)
            self._on_news()

    def _take_tick(self, record: Any) -> bool:
        tick = read_tick(record.key, record.value, record.timestamp, self._future_tolerance)
        # The archive puts an invalid one into quarantine.
        return not isinstance(tick, InvalidTick) and self._live.add(tick, record.timestamp)


class _Closing:
    """Closes a consumer without waiting for a broker that is away."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer

    def close(self) -> None:
        with contextlib.suppress(kafka_errors.KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=500)
