"""Keeps the queries running: stopped after a failure, they are started again from their checkpoints.

An orchestrator takes minutes to start a failed process, and waits longer each time. So a broker or store that is away
is waited for here. What another try in this process cannot help ends it, see `failures`.
"""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from pyspark.sql import SparkSession

from stream_analytics.app import App
from stream_analytics.epochs import Epoch, open_epochs
from stream_analytics.failures import check_sign_in, raise_final
from stream_analytics.progress import Events, Metrics
from stream_analytics.settings import APP, StreamAnalyticsSettings
from stream_analytics.topic import LiveTopic
from ticklake import logs
from ticklake.backoff import full_jitter
from ticklake.errors import StageError
from ticklake.kafka import ConfirmedProducer, topic_id
from ticklake.names import QUARANTINE_TOPIC
from ticklake.objects import ObjectStore

_FIRST_SECONDS, _MOST_SECONDS = 2.0, 60.0
_HEALTHY_SECONDS = 300.0
"""Once the queries have run so long, and got on, the next failure counts as the first."""

T = TypeVar("T")

log = logs.get(__name__)


@dataclass(frozen=True)
class Servers:
    """What the broker and the store said before a start."""

    store: ObjectStore
    topic_id: str


def check_servers(settings: StreamAnalyticsSettings) -> Servers:
    """Look whether the topics and the bucket are there.

    Raises:
        ConfigurationError: one is missing, or not for us.
        StageError: the broker or the store does not answer.
    """
    names = settings.live.names
    found = topic_id(settings.kafka, names.topic)
    for topic in [names.analytics_topic] * settings.stream.running + [QUARANTINE_TOPIC]:
        topic_id(settings.kafka, topic)
    store = ObjectStore(settings.store)
    next(store.list_objects(f"{names.processed_prefix}/_epochs/"), None)
    import pyarrow.parquet  # noqa: F401 - loaded here, beside Spark's start, instead of at the first closed window

    return Servers(store, found)


@dataclass(frozen=True)
class _Opened:
    servers: Servers
    producer: ConfirmedProducer
    query_id: str
    epoch: Epoch


class Supervisor:
    """Runs the queries of one process in one session, until `stop` is set or the wanted windows are written."""

    def __init__(
        self, settings: StreamAnalyticsSettings, spark: SparkSession, metrics: Metrics, events: Events,
        stop: threading.Event,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._spark = spark
        self._metrics = metrics
        self._events = events
        self._stop = stop
        self._app: App | None = None
        self._topic: LiveTopic | None = None
        self._was_healthy = False
        self._rng = random.Random()  # noqa: S311 - spreads load, keeps no secret

    @property
    def ready(self) -> bool:
        """Whether all queries run."""
        app = self._app
        return app is not None and app.active

    def run(self, first_check: Callable[[], Servers]) -> None:
        """Run the queries, and again after a failure that another try may help.

        Args:
            first_check: gives what `check_servers` found while Spark started.

        Raises:
            ConfigurationError, CheckpointError: a person has to change something.
            StageError: a new process may help.
        """
        check, attempt = first_check, 0
        try:
            while not self._stop.is_set():
                self._events.last_sign = time.monotonic()  # to wait for a server is not to be stuck
                self._was_healthy = False
                try:
                    self._run_once(check)
                    return
                except StageError as error:
                    raise_final(error, self._settings, self._spark)
                    reason = str(error)  # the error itself would keep what failed from going away
                if self._stop.is_set():
                    return
                attempt = 0 if self._was_healthy else attempt
                self._wait(reason, attempt)
                check, attempt = self._check_again, attempt + 1
        finally:
            if self._topic is not None:
                self._topic.stop()

    def _wait(self, reason: str, attempt: int) -> None:
        seconds = full_jitter(attempt, _FIRST_SECONDS, _MOST_SECONDS, self._rng)
        self._metrics.restarts.inc()
        log.warning("the queries are started again", reason=reason, after_seconds=round(seconds, 1))
        self._stop.wait(seconds)

    def _check_again(self) -> Servers:
        check_sign_in(self._settings, self._spark)
        return check_servers(self._settings)

    def _run_once(self, check: Callable[[], Servers]) -> None:
        opened = unless_stopped(in_background(lambda: self._open(check())), self._stop)
        if opened is None:
            return
        if self._topic is None:
            self._topic = LiveTopic(
                self._settings.kafka, self._settings.live.names.topic, opened.servers.topic_id, self._metrics
            )
            self._topic.start()
        with opened.producer as producer:
            app = App(
                self._settings, self._spark, opened.servers.store, producer, self._topic, opened.query_id,
                opened.epoch, self._metrics, self._events,
            )  # fmt: skip
            began, restart = time.monotonic(), False
            try:
                app.start()
                self._app = app
                log.info("started", topic=self._topic.name, heartbeat=self._settings.heartbeat)
                app.wait(self._stop)
            except StageError as error:
                raise_final(error, self._settings, self._spark)
                restart = True
                raise
            finally:
                self._app = None
                self._was_healthy = app.progressed and time.monotonic() - began > _HEALTHY_SECONDS
                app.stop(self._stop, restart=restart)

    def _open(self, servers: Servers) -> _Opened:
        query_id, epoch = open_epochs(self._settings, self._spark, servers.store, servers.topic_id)
        return _Opened(servers, ConfirmedProducer(self._settings.kafka, APP), query_id, epoch)


def in_background(work: Callable[[], T]) -> Future[T]:
    """Do `work` in a thread of its own, which never keeps the process from ending."""
    outcome: Future[T] = Future()

    def do() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:  # raised again where the result is asked for
            outcome.set_exception(error)

    threading.Thread(target=do, name="servers", daemon=True).start()
    return outcome


def unless_stopped(outcome: Future[T], stop: threading.Event) -> T | None:
    """The result of `outcome`; None where `stop` is set first."""
    while not stop.is_set():
        if wait([outcome], timeout=0.2).done:
            return outcome.result()
    return None
