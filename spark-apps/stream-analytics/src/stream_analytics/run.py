"""Starts Spark and the application, and ends both."""

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

from pyspark.sql import SparkSession

from stream_analytics import queries
from stream_analytics.app import App
from stream_analytics.progress import Events, Metrics
from stream_analytics.settings import APP, StreamAnalyticsSettings
from ticklake import logs
from ticklake.kafka import ConfirmedProducer, topic_id
from ticklake.metrics import Health, served
from ticklake.names import QUARANTINE_TOPIC
from ticklake.objects import ObjectStore
from ticklake.spark import build_session, close_jvm, translated_errors

log = logs.get(__name__)


def run(settings: StreamAnalyticsSettings, stop: threading.Event) -> None:
    """Run until `stop` is set or the wanted windows are written.

    Raises:
        ConfigurationError: a topic or the bucket is missing, or refuses us.
        StageError: a query failed; what it had not finished is repeated after the next start.
    """
    # A failure inside `foreachBatch` comes back as an exception here; py4j would print its stack besides.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    metrics, events = Metrics(), Events()
    started: list[App] = []
    health = Health(alive=lambda: _alive(settings, events), ready=lambda: bool(started) and started[0].active)
    with ExitStack() as stack:
        port = stack.enter_context(served(health, settings.metrics_port))
        with ThreadPoolExecutor(1) as pool:
            # The broker and the store are looked at while the JVM starts.
            checked = pool.submit(_check, settings)
            spark = stack.enter_context(_session(settings, stop))
            topic, store = checked.result()
        producer = stack.enter_context(ConfirmedProducer(settings.kafka, APP))
        spark.streams.addListener(events)
        app = App(settings, spark, store, producer, topic, metrics, events)
        stack.callback(app.stop)
        app.start()
        started.append(app)
        log.info("started", topic=settings.live.names.topic, metrics_port=port, heartbeat=settings.heartbeat)
        app.wait(stop)


def _alive(settings: StreamAnalyticsSettings, events: Events) -> bool:
    # Spark tells at least every ten seconds that there is nothing to read; a large backlog may take minutes.
    return time.monotonic() - events.last_sign < 900 + 3 * settings.stream.trigger_seconds


def _check(settings: StreamAnalyticsSettings) -> tuple[str, ObjectStore]:
    names = settings.live.names
    found = topic_id(settings.kafka, names.topic)
    for topic in [names.analytics_topic] * settings.stream.running + [QUARANTINE_TOPIC]:
        topic_id(settings.kafka, topic)
    store = ObjectStore(settings.store)
    next(store.list_objects(f"{names.processed_prefix}/_epochs/"), None)
    import pyarrow.parquet  # noqa: F401 - loaded here, beside Spark's start, instead of at the first closed window

    return found, store


@contextmanager
def _session(settings: StreamAnalyticsSettings, stop: threading.Event) -> Iterator[SparkSession]:
    done = False
    with translated_errors("start"):
        spark = build_session(APP, settings.spark, settings.store, **queries.session_options(settings))
    try:
        yield spark
        # Told to stop, there is no time to write an archive of the classes that were loaded.
        done = not stop.is_set()
    finally:
        with suppress(Exception):  # its JVM may have ended already, which is then the error at hand
            spark.stop()
        close_jvm(keep_archive=done)
