"""Starts Spark and what runs in it, and ends both."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from pyspark.sql import SparkSession

from stream_analytics import queries
from stream_analytics.query_failures import CheckpointError
from stream_analytics.query_progress import Events, Metrics
from stream_analytics.settings import APP, StreamAnalyticsSettings
from stream_analytics.supervisor import Supervisor, check_at_start, in_background
from ticklake import logs
from ticklake.metrics import Health, served
from ticklake.spark import build_session, close_jvm, translated_errors, with_catalog

_SAY_SECONDS = 60.0
_STOP_SECONDS = 1.0

log = logs.get(__name__)


def run(settings: StreamAnalyticsSettings, stop: threading.Event) -> None:
    """Run until `stop` is set or the wanted windows are written.

    Raises:
        ConfigurationError: a topic or the bucket is missing, or denies access.
        CheckpointError: a person has to start with new checkpoints.
        StageError: what another try in this process cannot help; what was not finished is repeated by the next one.
    """
    # A failure inside `foreachBatch` comes back as an exception here; py4j would print its stack besides.
    logging.getLogger("py4j").setLevel(logging.CRITICAL)
    metrics, events = Metrics(), Events()
    running: list[Supervisor] = []
    health = Health(alive=lambda: _alive(settings, events), ready=lambda: any(each.ready for each in running))
    with ExitStack() as stack:
        port = stack.enter_context(served(health, settings.metrics_port))
        # The broker and the store are checked while the JVM starts.
        checked = in_background(lambda: check_at_start(settings, stop))
        spark = stack.enter_context(_session(settings, stop))
        spark.streams.addListener(events)
        log.info("session started", metrics_port=port)
        running.append(Supervisor(settings, spark, metrics, events, stop))
        try:
            running[0].run(checked.result)
        except CheckpointError as error:
            _hold(settings.stream.hold_seconds, events, stop, str(error))
            raise


def _hold(seconds: float, events: Events, stop: threading.Event, reason: str) -> None:
    """Stay, for a person to see what has to be changed: the Spark operator would start the same again at once."""
    deadline = time.monotonic() + seconds
    while not stop.is_set() and (left := deadline - time.monotonic()) > 0:
        events.last_sign = time.monotonic()
        log.error("held until a person changes something", reason=reason, seconds_left=round(left))
        stop.wait(min(_SAY_SECONDS, left))


def _alive(settings: StreamAnalyticsSettings, events: Events) -> bool:
    # Spark reports at least every ten seconds that there is nothing to read; a large backlog may take minutes.
    return time.monotonic() - events.last_sign < 900 + 3 * settings.stream.trigger_seconds


@contextmanager
def _session(settings: StreamAnalyticsSettings, stop: threading.Event) -> Iterator[SparkSession]:
    done = False
    with translated_errors("start"):
        plain = build_session(APP, settings.spark, settings.store, **queries.session_options(settings))
        spark = with_catalog(plain, settings.catalog, settings.store)
    try:
        yield spark
        # Asked to stop, there is no time to write an archive of the classes that were loaded.
        done = not stop.is_set()
    finally:
        # Not waited for where there is no time: a JVM that is ended in the middle of a batch loses nothing.
        stopping = threading.Thread(target=_stop, args=(spark,), daemon=True)
        stopping.start()
        stopping.join(_STOP_SECONDS if stop.is_set() else None)
        close_jvm(keep_archive=done)


def _stop(spark: SparkSession) -> None:
    with suppress(Exception):  # its JVM may have ended already, which is then the error at hand
        spark.stop()
