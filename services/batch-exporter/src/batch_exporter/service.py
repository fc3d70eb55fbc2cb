"""Reads the lake periodically and serves what it finds."""

import threading
from datetime import UTC, datetime

from prometheus_client import REGISTRY, CollectorRegistry

from batch_exporter.metrics import BatchCollector, Metrics
from batch_exporter.runs import Runs
from batch_exporter.settings import ExporterSettings
from batch_exporter.snapshot import Snapshot, snapshot
from ticklake import calendar, credentials, logs, maintenance
from ticklake.credentials import Rejected
from ticklake.errors import IntegrityError, StageError
from ticklake.held_symbols import HeldSymbols
from ticklake.maintenance import Maintenance
from ticklake.metrics import Health, served
from ticklake.objects import ObjectStore
from ticklake.runs import PREFIX
from ticklake.service import Heartbeat

log = logs.get(__name__)

_STUCK_SECONDS = 300.0


class Exporter:
    """One process of the exporter."""

    def __init__(
        self,
        settings: ExporterSettings,
        store: ObjectStore,
        registry: CollectorRegistry = REGISTRY,
        rejected: Rejected = str,
    ) -> None:
        self._settings, self._store, self._rejected = settings, store, rejected
        self._runs, self._held = Runs(store, settings.batch.recent_runs), HeldSymbols(store)
        self._metrics = Metrics(registry)
        self._snapshot = Snapshot()
        self._first, self._fresh = True, False
        self._heartbeat = Heartbeat(_STUCK_SECONDS)
        registry.register(BatchCollector(lambda: self._snapshot, settings.batch, settings.calendar))

    def run(self, stop: threading.Event, registry: CollectorRegistry = REGISTRY) -> None:
        """Serve until `stop` is set.

        Raises:
            ConfigurationError: there is no such calendar.
        """
        calendar.last_closed_session(self._settings.calendar, datetime.now(UTC))
        health = Health(self._heartbeat.alive, lambda: self._fresh, self._rejected)
        with served(health, self._settings.metrics_port, registry=registry) as port:
            log.info("watching the batch runs", schedule=self._settings.batch.schedule, metrics_port=port)
            while not stop.is_set():
                self._look()
                stop.wait(self._settings.batch.refresh_seconds)

    def _look(self) -> None:
        self._heartbeat.beat()
        try:
            listed = list(self._store.list_objects(PREFIX))
            news, held = self._runs.refresh(listed), self._held.now(listed)
            maintained = self._maintained()
        except StageError as error:
            # Also a key that may not do this or a bucket that is not there: a new installation makes both late.
            self._fresh = False
            self._metrics.lake_errors.inc()
            if not self._rejected():  # which is logged once
                log.warning("will look again", error=str(error), seconds=self._settings.batch.refresh_seconds)
            return
        self._snapshot = snapshot(self._runs.by_folder.values(), self._settings.batch, held, maintained)
        self._metrics.looked(news, first=self._first)
        self._first, self._fresh = False, True

    def _maintained(self) -> Maintenance | None:
        try:
            return maintenance.read(self._store)
        except IntegrityError as error:
            log.warning("no readable record", key=maintenance.KEY, reason=str(error))
            return self._snapshot.maintenance


def run(settings: ExporterSettings, stop: threading.Event) -> None:
    """Export the runs of the lake of `settings` until `stop` is set.

    Raises:
        ConfigurationError: there is no such calendar.
        CredentialsError: the store rejected the key for too long.
    """
    credentials.watched(
        settings,
        stop,
        lambda rejected: Exporter(settings, ObjectStore(settings.store), rejected=rejected).run(stop),
        store=settings.store,
        prefix=PREFIX,
    )
