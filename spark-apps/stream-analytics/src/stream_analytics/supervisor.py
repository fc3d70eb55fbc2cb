"""Keeps the queries running: stopped after a failure, they are started again from their checkpoints.

An orchestrator takes minutes to start a failed process, and waits longer each time. So a broker or store that is away
is waited for here. What another try in this process cannot help ends it, see `failures`.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from pyspark.sql import SparkSession

from stream_analytics.checkpoint_records import CheckpointRecord, open_checkpoints
from stream_analytics.query_failures import check_sign_in, raise_final
from stream_analytics.query_progress import Events, Metrics
from stream_analytics.query_runner import App
from stream_analytics.settings import StreamAnalyticsSettings
from stream_analytics.topic_monitor import LiveTopic
from stream_analytics.windows_table import WindowLake, WrittenUntil
from ticklake import logs
from ticklake.backoff import full_jitter
from ticklake.catalog import LakeTables
from ticklake.credentials import SignIn
from ticklake.errors import ConfigurationError, CredentialsError, StageError
from ticklake.kafka import topic_id
from ticklake.objects import ObjectStore

_FIRST_SECONDS, _MOST_SECONDS = 2.0, 10.0
_HEALTHY_SECONDS = 60.0
"""Once the queries have run so long, and got on, the next failure counts as the first."""

T = TypeVar("T")

log = logs.get(__name__)


@dataclass(frozen=True)
class Servers:
    """What the broker, the store and the catalog reported before a start."""

    store: ObjectStore
    lake: WindowLake
    topic_id: str


def check_servers(settings: StreamAnalyticsSettings) -> Servers:
    """Look whether the topics, the bucket and the tables are there; tables that are missing are created.

    Raises:
        ConfigurationError: one is missing, or not for us.
        StageError: the broker, the store or the catalog does not answer.
    """
    names = settings.live.names
    found = topic_id(settings.kafka, names.topic)
    if settings.stream.running:
        topic_id(settings.kafka, names.analytics_topic)
    store = ObjectStore(settings.store)
    next(store.list_objects(f"{names.processed_prefix}/_checkpoints/"), None)
    lake = WindowLake(LakeTables(settings.catalog, settings.store), settings.live)
    lake.ensure()
    return Servers(store, lake, found)


def check_at_start(settings: StreamAnalyticsSettings, stop: threading.Event) -> Servers:
    """`check_servers`, again while credentials are rejected: a new installation makes users after the pods.

    Spark takes a minute to start. What was rejected in its first seconds says little of what holds when it is there.

    Raises:
        CredentialsError: they stayed rejected, `stop` was set meanwhile, or the program is one that ends by itself.
        ConfigurationError, StageError: as `check_servers`.
    """
    sign_in = SignIn(settings)
    while True:
        try:
            return check_servers(settings)
        except ConfigurationError as error:
            rejected = isinstance(error, CredentialsError)
            ends = sign_in.rejected(str(error)) if rejected else not sign_in.awaits_rights
            if ends or settings.stream.ends_by_itself:
                raise
            log.warning("not let in yet", reason=str(error))
            if stop.wait(_FIRST_SECONDS):
                raise


@dataclass(frozen=True)
class _Opened:
    servers: Servers
    written_until: WrittenUntil
    query_id: str
    record: CheckpointRecord


class Supervisor:
    """Runs the queries of one process in one session, until `stop` is set or the wanted windows are written."""

    def __init__(
        self,
        settings: StreamAnalyticsSettings,
        spark: SparkSession,
        metrics: Metrics,
        events: Events,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._spark = spark
        self._metrics = metrics
        self._events = events
        self._stop = stop
        self._app: App | None = None
        self._topic: LiveTopic | None = None
        self._was_healthy = False

    @property
    def ready(self) -> bool:
        """Whether all queries run."""
        app = self._app
        return app is not None and app.active

    def run(self, first_check: Callable[[], Servers]) -> None:
        """Run the queries, and again after a failure that another try may help.

        Args:
            first_check: gives what `check_at_start` found while Spark started.

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
        seconds = full_jitter(attempt, _FIRST_SECONDS, _MOST_SECONDS)
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
        began, restart, app = time.monotonic(), False, None
        try:
            app = App(
                self._settings,
                self._spark,
                opened.servers.store,
                opened.servers.lake,
                opened.written_until,
                self._topic,
                opened.query_id,
                opened.record,
                self._metrics,
                self._events,
            )
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
            if app is not None:
                self._was_healthy = app.progressed and time.monotonic() - began > _HEALTHY_SECONDS
                app.stop(self._stop, restart=restart)

    def _open(self, servers: Servers) -> _Opened:
        until = servers.lake.written_until()
        query_id, record = open_checkpoints(
            self._settings, self._spark, servers.store, servers.topic_id, written=bool(until)
        )
        return _Opened(servers, until, query_id, record)


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
