"""Whole batches side by side on the same rows: the old design, ours cold, ours warm, and a bare Spark session."""

import csv
import io
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.bench import old_design

from ticklake import calendar, kafka, lineage, pipeline
from ticklake.objects import ObjectStore
from ticklake.records import Source
from ticklake.topics import TopicSpec
from ticklake_local.batch import run_batch
from ticklake_local.batch_source import BatchInput, default_date
from ticklake_local.platform import Platform
from ticklake_local.run import new_run_id
from ticklake_local.stage_host_client import Hosts, make_hosts

STAGES = {
    "produce": pipeline.FETCH.task_id,
    "consume": pipeline.CONSUME.task_id,
    "validate raw": pipeline.VALIDATE_RAW.task_id,
    "process": pipeline.PROCESS.task_id,
    "load": pipeline.LOAD.task_id,
    "validate loaded": pipeline.VALIDATE_LOADED.task_id,
    "reconcile": pipeline.SUCCESS.task_id,
}
"""Ours, in order."""
SHARED = ("produce", "consume", "process", "load")
"""Those of both; the old design neither validates nor reconciles."""

Times = dict[str, float]


class Whole:
    """Times whole batches on one running platform."""

    def __init__(self, platform: Platform, work: Path) -> None:
        self.platform, self.work = platform, work
        last = default_date(Source.SIMULATED)
        # A date after the other: an answer that brings nothing new would be left alone.
        self.dates = iter(calendar.sessions("XNYS", last - timedelta(days=60), last))
        store = platform.store
        self.old_env = os.environ | {
            "JAVA_HOME": str(platform.tools.java.home),
            "OLD_KAFKA": platform.kafka.bootstrap_servers,
            "OLD_S3": store.endpoint or "",
            "OLD_KEY": store.access_key.get_secret_value() if store.access_key else "",
            "OLD_SECRET": store.secret_key.get_secret_value() if store.secret_key else "",
            "OLD_BUCKET": store.bucket,
            "OLD_JARS": str(platform.tools.jars["spark"]),
            "OLD_WAREHOUSE": str(platform.ports.warehouse),
        }
        kafka.ensure_topics(platform.kafka, [TopicSpec(old_design.TOPIC, 3, {})])

    def prepare(self) -> int:
        """Run ours once, untimed, and write its rows for the old design; returns their count."""
        with self.hosts() as hosts:
            run_id = new_run_id()
            run_batch(self.platform, hosts, self._next_batch(), run_id, lambda *_: None, print)
        store = ObjectStore(self.platform.store)
        rows: list[dict[str, str]] = []
        for raw in lineage.read(store, run_id, pipeline.CONSUME.program).objects:
            rows.extend(csv.DictReader(io.StringIO(store.get(raw.key).decode())))
        with (self.work / "rows.jsonl").open("w") as file:
            for row in rows:
                plain = (
                    {name: row.get(name) for name in ("symbol", "batch_id", "batch_date")}
                    | {
                        "date": row["session_date"],
                        "volume": int(row["volume"]),
                    }
                    | {name: float(row[name]) for name in ("open", "high", "low", "close")}
                )
                file.write(json.dumps(plain) + "\n")
        self.rows = len(rows)
        return self.rows

    def old(self) -> Times:
        """One batch of the old design, each stage a fresh process as it was."""
        arguments = {"produce": [str(self.work / "rows.jsonl")], "consume": [str(self.rows)]}
        return {
            stage: self._process(["-m", "tests.bench.old_design", stage, *arguments.get(stage, [])]) for stage in SHARED
        }

    def bare_spark(self) -> Times:
        """The bare session, as a process."""
        return {"process": self._process(["-m", "tests.bench.bare_spark"])}

    def cold(self) -> Times:
        """One batch of ours with nothing running but broker, store and warehouse; the hosts' start is in it."""
        began = time.monotonic()
        with self.hosts() as hosts:
            times = self._ours(hosts)
            times["all"] = time.monotonic() - began
        return times

    def warm(self, hosts: Hosts) -> Times:
        """One batch of ours in hosts that run already."""
        began = time.monotonic()
        return self._ours(hosts) | {"all": time.monotonic() - began}

    def _ours(self, hosts: Hosts) -> Times:
        times: Times = {}
        last = time.monotonic()

        def done(stage: pipeline.Stage, _: object) -> None:
            nonlocal last
            now = time.monotonic()
            times[next(name for name, task in STAGES.items() if task == stage.task_id)] = now - last
            last = now

        run_batch(self.platform, hosts, self._next_batch(), new_run_id(), done, print)
        return times

    def _next_batch(self) -> BatchInput:
        return BatchInput(Source.SIMULATED, next(self.dates))

    def _process(self, arguments: list[str]) -> float:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, *arguments],
            env=self.old_env,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        if done.returncode != 0:
            raise RuntimeError(f"{arguments} failed:\n{done.stderr[-3000:]}")
        return time.monotonic() - began

    def hosts(self, *, warm: bool = False) -> "_RunningHosts":
        """Stage hosts for a `with` block."""
        return _RunningHosts(self.platform, warm=warm)


class _RunningHosts:
    """Stage hosts of their own, stopped at the end."""

    def __init__(self, platform: Platform, *, warm: bool) -> None:
        self._platform, self._warm, self._stack = platform, warm, ExitStack()

    def __enter__(self) -> Hosts:
        hosts = make_hosts(self._platform, warm=self._warm, label=f"-{uuid.uuid4().hex[:8]}")
        for host in (hosts.spark, hosts.python):
            self._stack.callback(host.stop)
            host.start()
        return hosts

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def total(times: Times) -> float:
    """Wall seconds of a whole batch."""
    return times.get("all", sum(times.values()))


def shared(times: Times) -> float:
    """Seconds of the stages that the old design has too; of a batch without stages, all of it."""
    return sum(times[stage] for stage in SHARED) if SHARED[0] in times else total(times)


def compare(whole: Whole, repetitions: int, console: Console) -> None:
    """Run the contenders in turn and print the median of each stage and the ratios of the whole."""
    console.print(f"{whole.prepare():,} rows; {repetitions} rounds, the contenders in turn in each")
    found: dict[str, list[Times]] = {}
    with whole.hosts(warm=True) as hosts:
        for _ in range(2):
            whole.warm(hosts)
        contenders: dict[str, Callable[[], Times]] = {
            "old design": whole.old,
            "ours, cold": whole.cold,
            "ours, warm": lambda: whole.warm(hosts),
            "bare Spark": whole.bare_spark,
        }
        for _ in range(repetitions):
            for name, contender in contenders.items():
                found.setdefault(name, []).append(contender())
    table = Table("seconds (median)", *found)
    for stage in STAGES:
        cells = [[run[stage] for run in runs if stage in run] for runs in found.values()]
        table.add_row(stage, *(f"{statistics.median(cell):.2f}" if cell else "" for cell in cells))
    totals = {name: statistics.median(map(total, runs)) for name, runs in found.items()}
    table.add_row("all", *(f"{value:.2f}" for value in totals.values()))
    console.print(table)
    for text, one, other, seconds in (
        ("old design / ours, warm, stages of both", "old design", "ours, warm", shared),
        ("old design / ours, warm", "old design", "ours, warm", total),
        ("old design / ours, cold", "old design", "ours, cold", total),
        ("ours, cold / bare Spark session", "ours, cold", "bare Spark", total),
    ):
        ratios = [seconds(a) / seconds(b) for a, b in zip(found[one], found[other], strict=True)]
        console.print(f"{text}: {statistics.median(ratios):.2f}  (from {min(ratios):.2f} to {max(ratios):.2f})")
