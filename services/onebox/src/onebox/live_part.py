"""The short live part of `onebox run`: ticks, archive and streaming analytics until the first windows are closed.

Event time runs faster than the clock here, so the flow has topics, checkpoint and prefixes of its own.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from load_warehouse.session import Session
from load_warehouse.windows_main import NAME as LOAD_WINDOWS
from onebox import live_check
from onebox.batch import run_program
from onebox.host_client import Hosts
from onebox.platform import Platform
from onebox.processes import ChildFailed
from onebox.report import Journal, Row
from onebox.services import ARCHIVE_TICKS, STREAM_ANALYTICS, STREAM_TICKS, Service
from ticklake import kafka, manifests
from ticklake.errors import IntegrityError, StageError
from ticklake.names import SCHEMA_OTHER, WINDOWS_TABLE, LiveNames, live_names
from ticklake.objects import ObjectStore

_SPEED_UP = 60
"""Event time runs this many times as fast as the clock: a minute a second."""
_DEADLINE_SECONDS = 180
_ARCHIVE_SECONDS = 60
_QUERIES = frozenset({"15m", "1h"})


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
        with ExitStack() as stack:
            services = {
                STREAM_ANALYTICS: Service(STREAM_ANALYTICS, self.platform, namespace, STREAM_TRIGGER_SECONDS="0"),
                ARCHIVE_TICKS: Service(ARCHIVE_TICKS, self.platform, namespace, ARCHIVE_ROLL_SECONDS="5"),
                STREAM_TICKS: Service(
                    STREAM_TICKS, self.platform, namespace, STREAM_SOURCE="simulated", STREAM_SPEED_UP=str(_SPEED_UP)
                ),
            }
            for service in services.values():
                stack.callback(service.stop)
            for name in (STREAM_ANALYTICS, ARCHIVE_TICKS):
                services[name].start()
            for name in (ARCHIVE_TICKS, STREAM_ANALYTICS):
                services[name].wait_ready()
            services[STREAM_TICKS].start()
            self._wait_for_windows(store, live, services)
            late = services[STREAM_ANALYTICS].metric("ticklake_stream_analytics_late_rows_total")
            # First what writes, then what reads, so that everything sent is also archived.
            for name in (STREAM_TICKS, ARCHIVE_TICKS, STREAM_ANALYTICS):
                if name == ARCHIVE_TICKS:
                    self._wait_for_archive(live, services[name])
                if (code := services[name].stop()) not in (0, None):
                    raise StageError(f"{name} ended with exit code {code}; see {services[name].log}")
        self._reconcile(store, live, time.monotonic() - began, int(late))
        self._load_windows(store, live, namespace)
        # The lake has it all now; a topic per run would only pile up in the broker.
        kafka.delete_topics(self.platform.kafka, [live.topic, live.analytics_topic])

    def _wait_for_windows(self, store: ObjectStore, live: LiveNames, services: dict[str, Service]) -> None:
        deadline = time.monotonic() + _DEADLINE_SECONDS
        while {manifest.query for manifest in manifests.all_windows(store, live)} != _QUERIES:
            for service in services.values():
                if service.child is not None and (code := service.child.poll()) is not None:
                    raise ChildFailed(service.program, code, service.log, service.child.tail())
            if time.monotonic() > deadline:
                raise StageError(f"no window was closed within {_DEADLINE_SECONDS} s; see {self.platform.folder.logs}")
            time.sleep(0.3)

    def _wait_for_archive(self, live: LiveNames, archive: Service) -> None:
        """Wait until the archive has written everything that was sent."""
        sent = sum(kafka.end_offsets(self.platform.kafka, live.topic).values())
        deadline = time.monotonic() + _ARCHIVE_SECONDS
        while sum(archive.metric(f"ticklake_archive_ticks_{name}_total") for name in ("rows", "invalid")) < sent:
            if time.monotonic() > deadline:
                raise StageError(f"the archive did not catch up within {_ARCHIVE_SECONDS} s; see {archive.log}")
            time.sleep(0.2)

    def _reconcile(self, store: ObjectStore, live: LiveNames, seconds: float, late: int) -> None:
        counts = live_check.check(self.platform.kafka, store, live, late)
        sent = counts.sent
        for stage, rows_out, quarantined, where in (
            (STREAM_TICKS, sent, 0, f"topic {live.topic}"),
            (ARCHIVE_TICKS, counts.archived, counts.quarantined, f"{live.raw_prefix}/"),
            (STREAM_ANALYTICS, counts.windows, late, f"{live.processed_prefix}/"),
        ):
            self.journal.rows.append(
                Row(stage=stage, seconds=round(seconds, 2), rows_in=sent, rows_out=rows_out,
                    quarantined=quarantined, where=where)
            )  # fmt: skip
            self.say(f"  ✓ {stage}  {rows_out:,} {'windows closed' if stage == STREAM_ANALYTICS else 'ticks'}")

    def _load_windows(self, store: ObjectStore, live: LiveNames, namespace: str) -> None:
        began = time.monotonic()
        run_program(self.platform, self.hosts.python, LOAD_WINDOWS, [], {"TICKLAKE_LIVE_NAMESPACE": namespace})
        seconds = time.monotonic() - began
        closed = sum(item.rows for manifest in manifests.all_windows(store, live) for item in manifest.objects)
        with Session(self.platform.warehouse, LOAD_WINDOWS) as session:
            table = f"{session.database}.{SCHEMA_OTHER}.{WINDOWS_TABLE}"
            ((loaded,),) = session.rows(f"SELECT COUNT(*) FROM {table} WHERE FLOW = %s", (namespace,))  # noqa: S608
        if loaded != closed:
            raise IntegrityError(f"{closed} windows were closed, but {loaded} are in {table}")
        self.journal.rows.append(
            Row(stage=LOAD_WINDOWS, seconds=round(seconds, 2), rows_in=closed, rows_out=loaded, quarantined=0,
                where=f"{SCHEMA_OTHER}.{WINDOWS_TABLE}")
        )  # fmt: skip
        self.say(f"  ✓ {LOAD_WINDOWS}  {loaded:,} windows in {seconds:.1f} s")
