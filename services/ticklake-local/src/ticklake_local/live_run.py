"""The short live part of `ticklake run`: ticks, archive and streaming analytics until the first windows are closed.

Event time runs faster than the clock here, so the flow has topics, checkpoint and prefixes of its own.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass

from load_warehouse.session import Session
from ticklake import kafka, keys
from ticklake.catalog import LakeTables
from ticklake.errors import ExitCode, IntegrityError, StageError
from ticklake.objects import ObjectStore
from ticklake.pipeline import LOAD_LIVE
from ticklake.settings import LiveSettings
from ticklake.topics import LiveNames, live_names, live_topics
from ticklake.warehouse_tables import SCHEMA_OTHER, WINDOWS_TABLE
from ticklake_local import live_verification
from ticklake_local.batch import run_stage
from ticklake_local.live_services import ARCHIVE_TICKS, STREAM_ANALYTICS, STREAM_TICKS, Service
from ticklake_local.platform import Platform
from ticklake_local.report import Journal, Row
from ticklake_local.stage_host_client import Hosts

_SPEED_UP = 60
"""Event time runs this many times as fast as the clock: a minute a second."""
_DEADLINE_SECONDS = 600
_ARCHIVE_SECONDS = 60


@dataclass
class LivePart:
    """One short live flow."""

    platform: Platform
    hosts: Hosts
    journal: Journal
    say: Callable[[str], None]

    def run(self) -> None:
        """Run the flow and enter its stages into the journal.

        Raises:
            IntegrityError: a tick was lost or doubled on its way to the archive or into a window.
            StageError: a service failed, or no window was closed in time.
        """
        namespace = self.journal.run_id
        live, store = live_names(namespace), ObjectStore(self.platform.store)
        self.platform.ensure_live_topics(namespace)
        self.say(f"Live: simulated ticks, event time {_SPEED_UP} times as fast as the clock, until windows are closed")
        began = time.monotonic()
        checkpoints = self.platform.folder.root / "checkpoints" / namespace
        analytics = Service(
            STREAM_ANALYTICS,
            self.platform,
            namespace,
            WINDOWS_TRIGGER_SECONDS="0",
            WINDOWS_UNTIL_CLOSED_WINDOWS="1",
            WINDOWS_CHECKPOINT=checkpoints.as_uri(),
        )
        archive = Service(ARCHIVE_TICKS, self.platform, namespace, ARCHIVE_ROLL_SECONDS="5")
        ticks = Service(
            STREAM_TICKS, self.platform, namespace, STREAM_SOURCE="simulated", STREAM_SPEED_UP=str(_SPEED_UP)
        )
        with ExitStack() as stack:
            for service in (analytics, archive, ticks):
                stack.callback(service.stop)
            analytics.start()
            archive.start()
            for service in (archive, analytics):
                service.wait_ready(check=self.platform.check)
            ticks.start()
            late = self._wait_for_windows(analytics, (archive, ticks))
            # First what writes, then what reads, so that everything sent is also archived.
            self._stop(ticks)
            self._wait_for_archive(live, archive)
            self._stop(archive)
        shutil.rmtree(checkpoints, ignore_errors=True)
        closed = self._reconcile(store, LiveSettings(namespace=namespace), time.monotonic() - began, late)
        self._load(closed, namespace)
        # The lake has it all now; a topic per run would only pile up in the broker.
        kafka.delete_topics(self.platform.kafka, [topic.name for topic in live_topics(live)])

    def _wait_for_windows(self, analytics: Service, others: Iterable[Service]) -> int:
        """Wait until the analytics ends, as it does once it has written closed windows; returns its late ticks."""
        deadline = time.monotonic() + _DEADLINE_SECONDS
        late = 0.0
        while (code := analytics.ended()) is None:
            self.platform.check()
            late = max(late, analytics.metric("ticklake_stream_analytics_late_ticks_total"))
            for service in others:
                if service.ended() is not None:
                    raise service.failure()
            if time.monotonic() > deadline:
                raise StageError(f"no window was closed within {_DEADLINE_SECONDS} s; see {analytics.log}")
            time.sleep(0.2)
        if code != ExitCode.DONE:
            raise analytics.failure()
        return int(late)

    def _wait_for_archive(self, live: LiveNames, archive: Service) -> None:
        """Wait until the archive has written everything that was sent."""
        sent = sum(kafka.end_offsets(self.platform.kafka, live.topic).values())
        deadline = time.monotonic() + _ARCHIVE_SECONDS
        while sum(archive.metric(f"ticklake_archive_ticks_{name}_total") for name in ("rows", "invalid")) < sent:
            self.platform.check()
            if time.monotonic() > deadline:
                raise StageError(f"the archive did not catch up within {_ARCHIVE_SECONDS} s; see {archive.log}")
            time.sleep(0.2)

    def _reconcile(self, store: ObjectStore, flow: LiveSettings, seconds: float, late: int) -> int:
        """Enter the flow's stages into the journal; returns the number of closed windows."""
        tables, live = LakeTables(self.platform.catalog, self.platform.store), flow.names
        counts = live_verification.check(self.platform.kafka, store, tables, flow, late)
        sent = counts.sent
        for stage, rows_out, quarantined, where in (
            (STREAM_TICKS, sent, 0, f"topic {live.topic}"),
            (ARCHIVE_TICKS, counts.archived, counts.quarantined, f"{live.raw_prefix}/"),
            (STREAM_ANALYTICS, counts.windows, late, f"{keys.PROCESSED_LIVE}/flow={flow.namespace}/"),
        ):
            self.journal.rows.append(
                Row(
                    stage=stage,
                    seconds=round(seconds, 2),
                    rows_in=sent,
                    rows_out=rows_out,
                    quarantined=quarantined,
                    where=where,
                )
            )
            self.say(f"  ✓ {stage}  {rows_out:,} {'windows closed' if stage == STREAM_ANALYTICS else 'ticks'}")
        return counts.windows

    def _load(self, closed: int, namespace: str) -> None:
        began = time.monotonic()
        run_stage(
            self.platform,
            self.hosts.python,
            LOAD_LIVE,
            ["--run-id", self.journal.run_id],
            {"TICKLAKE_LIVE_NAMESPACE": namespace},
            self.say,
        )
        seconds = time.monotonic() - began
        with Session(self.platform.warehouse, LOAD_LIVE.program) as session:
            table = f"{session.database}.{SCHEMA_OTHER}.{WINDOWS_TABLE}"
            ((loaded,),) = session.rows(f"SELECT COUNT(*) FROM {table} WHERE FLOW = %s", (namespace,))  # noqa: S608
        if loaded != closed:
            raise IntegrityError(f"{closed} windows were closed, but {loaded} are in {table}")
        self.journal.rows.append(
            Row(
                stage=LOAD_LIVE.program,
                seconds=round(seconds, 2),
                rows_in=closed,
                rows_out=loaded,
                quarantined=0,
                where=f"{SCHEMA_OTHER}.{WINDOWS_TABLE}",
            )
        )
        self.say(f"  ✓ {LOAD_LIVE.program}  {loaded:,} windows in {seconds:.1f} s")

    def _stop(self, service: Service) -> None:
        """Stop `service`, which has to end with exit code 0; where a server died, that is reported."""
        if service.stop() != ExitCode.DONE:
            self.platform.check()
            raise service.failure()
