"""`make faults`: a seeded storm of faults on the platform's real parts, then what must hold."""

import argparse
import random
import re
import secrets
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table
from tests.fault_injection.faults import KINDS, Planned, plan
from tests.fault_injection.flow import Flow
from tests.fault_injection.progress import Place, Progress
from tests.fault_injection.verification import Verified, verify
from tests.fault_injection.zombies import overwritten

from ticklake.objects import ObjectStore
from ticklake_local import platform
from ticklake_local.airflow_parts import postgres_programs
from ticklake_local.data_folder import DataFolder
from ticklake_local.environment import cache_folder, java_home
from ticklake_local.live_services import STREAM_TICKS

_RECOVERY_SECONDS = 300.0
_WINDOWS = "windows"


class Storm:
    """Injects planned faults into a flow, one after the other, and measures how soon it has recovered from each."""

    def __init__(self, flow: Flow, progress: Progress, console: Console) -> None:
        self._flow, self._progress, self._console = flow, progress, console
        self.recoveries: dict[str, list[tuple[float, float]]] = defaultdict(list)
        """By kind of fault, seconds from its end until log, archive and alerts were past that moment, and windows."""

    def run(self, planned: Planned) -> None:
        """Inject one fault and wait for the recovery.

        Raises:
            TimeoutError: there is none.
        """
        kind = planned.kind
        with kind.inject(self._flow, random.Random(planned.seed)):
            self._tend(planned.seconds)
        ended = time.monotonic()
        found = self.wait_for(self._progress.place(), ended)
        self.recoveries[kind.name].append(found)
        self._console.print(
            f"{kind.name} for {planned.seconds:.1f} s: recovered after {found[0]:.1f} s, windows {found[1]:.1f} s"
        )
        self._tend(random.Random(planned.seed).uniform(0.2, 1.5))

    def wait_for(self, place: Place, since: float) -> tuple[float, float]:
        """Wait until everything has come to `place`; seconds since then, without the windows and of the windows."""
        rest = windows = None
        while rest is None or windows is None:
            self._tend(0.2)
            behind, seconds = self._progress.behind(place), time.monotonic() - since
            if windows is None and _WINDOWS not in behind:
                windows = seconds
            if rest is None and not set(behind) - {_WINDOWS}:
                rest = seconds
            if seconds > _RECOVERY_SECONDS:
                raise TimeoutError(f"no recovery within {_RECOVERY_SECONDS:g} s of {behind}\n{self._flow.logs()}")
        return rest, windows

    def _tend(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while True:
            self._flow.tend()
            if (left := until - time.monotonic()) <= 0:
                return
            time.sleep(min(0.2, left))


def main() -> None:
    """Run the storm that the arguments describe; exit code 1 where something does not hold."""
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="of the plan (default: any)")
    parser.add_argument("--faults", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--ids", type=int, default=1_000_000, help="ticks at least (default 1,000,000)")
    parser.add_argument("--rate", type=float, default=600, help="ticks per second (default 600)")
    parser.add_argument("--minutes", type=float, default=90, help="no new fault begins after this time (default 90)")
    parser.add_argument("--only", default="", help="kinds whose names this regular expression finds")
    parser.add_argument("--zombies", type=int, default=100, help="writers that wake up too late (default 100)")
    arguments = parser.parse_args()
    # What was started and mounted is to be ended and unmounted.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    console = Console(soft_wrap=True, highlight=False, width=120)
    console.print(f"Seed {arguments.seed}: {arguments.faults} faults, {arguments.ids:,} ticks at least")
    tools = platform.prepare_tools(cache_folder(), java_home(), console.print)
    with ExitStack() as stack:
        folder = DataFolder.at(
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ticklake-faults-"))) / "data"
        )
        flow = Flow(folder, tools, postgres_programs(), arguments.rate, arguments.seed)
        stack.enter_context(flow)
        ok = _zombies(flow, arguments.zombies, console)
        flow.open()
        progress = stack.enter_context(Progress(flow.platform.kafka.bootstrap_servers, flow.live))
        storm = Storm(flow, progress, console)
        ok &= _storm(flow, progress, storm, arguments, console)
    sys.exit(not ok)


def _zombies(flow: Flow, rounds: int, console: Console) -> bool:
    direct = flow.direct_store
    ObjectStore(direct).create_bucket()
    guarded, control = (overwritten(direct, rounds, conditional=conditional) for conditional in (True, False))
    console.print(f"Writers that woke up too late: {guarded} of {rounds} overwrote; without the condition {control}")
    return guarded == 0 and control == rounds


def _storm(flow: Flow, progress: Progress, storm: Storm, arguments: argparse.Namespace, console: Console) -> bool:
    began = time.monotonic()
    flow.start()
    storm.wait_for(progress.first_place(), time.monotonic())
    kinds = [
        kind
        for kind in KINDS
        if re.search(arguments.only, kind.name) and (flow.store_is_limited or not kind.needs_limited_store)
    ]
    for kind in KINDS:
        if kind.needs_limited_store and not flow.store_is_limited:
            console.print(f"Not tried: {kind.name} (needs root, to mount a small disk)")
    for planned in plan(kinds, arguments.faults, arguments.seed):
        if time.monotonic() - began > arguments.minutes * 60:
            console.print(f"The {arguments.minutes:g} minutes are over")
            break
        storm.run(planned)
    while sum(progress.place().ends.values()) < arguments.ids and time.monotonic() - began < arguments.minutes * 60:
        storm.wait_for(progress.place(), time.monotonic())
    producer = flow.programs.pop(STREAM_TICKS)
    assert producer.service is not None
    producer.service.stop()
    newest = datetime.fromisoformat(progress.last_event_time())
    found = verify(flow, newest)
    _report(storm, found, [end for program in (producer, *flow.programs.values()) for end in program.ends], console)
    return not found.faults


def _report(storm: Storm, found: Verified, ends: list[str], console: Console) -> None:
    table = Table("fault", "times", "p50 s", "p99 s", "windows p50 s", "windows p99 s", title="Recovery")
    recoveries = dict(sorted(storm.recoveries.items()))
    recoveries["all"] = [each for found in recoveries.values() for each in found]
    for name, times in recoveries.items():
        cuts = [f"{cut:.1f}" for part in zip(*times, strict=True) for cut in _cuts(part)]
        table.add_row(name, str(len(times)), *cuts)
    console.print(table)
    console.print(
        f"{found.ids:,} ticks of {found.runs} starts of the producer, {found.windows:,} windows and {found.alerts:,} "
        "alerts compared with a computation without faults"
    )
    for end in ends:
        console.print(f"Started again: {end}")
    for fault in found.faults or ["Nothing lost, doubled, misordered or different."]:
        console.print(fault)


def _cuts(values: tuple[float, ...]) -> tuple[float, float]:
    return statistics.median(values), sorted(values)[min(len(values) - 1, int(len(values) * 0.99))]


if __name__ == "__main__":
    main()
