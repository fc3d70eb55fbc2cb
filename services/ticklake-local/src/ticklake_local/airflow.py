"""`ticklake airflow`: Airflow beside broker, store and warehouse, its tasks local processes, until Ctrl-C."""

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from ticklake.records import Source
from ticklake_local import batch_source, platform
from ticklake_local.airflow_parts import USER, Airflow, dags_folder
from ticklake_local.background import attached
from ticklake_local.data_folder import DEFAULT_FOLDER, DataFolder
from ticklake_local.environment import java_home
from ticklake_local.platform import Platform, Say
from ticklake_local.report import plain_console

_DAG = "stock_market_pipeline"


@dataclass(frozen=True)
class AirflowOptions:
    """What `ticklake airflow` was called with."""

    folder: Path
    cache: Path
    source: str = "auto"
    symbols: str | None = None


def airflow(options: AirflowOptions) -> None:
    """Run Airflow until SIGINT or SIGTERM, then stop everything.

    Raises:
        StageError: something did not start, or ended meanwhile; nothing is left running then either.
    """
    say: Callable[[str], None] = plain_console().print
    dags = dags_folder()
    folder = DataFolder.at(options.folder)
    stop = threading.Event()
    # While it starts, which takes a while, a signal ends it there and then.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with folder.locked("run"), ExitStack() as stack:
        here = _running_platform(stack, folder, options.cache, say)
        stage_env = here.stage_env() | _asked(options, say)
        say("Starting Airflow …")
        airflow = Airflow.on(folder, stage_env, dags)
        stack.callback(airflow.stop)
        airflow.prepare()
        airflow.start()
        airflow.wait_ready(_DAG)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: stop.set())
        _how_to(airflow, options.folder, say)
        while not stop.wait(1):
            here.check()
            airflow.check()
        say("Stopping everything …")


def _running_platform(stack: ExitStack, folder: DataFolder, cache: Path, say: Say) -> Platform:
    """The servers that `ticklake up` keeps on this folder, else some that start here and stop with `stack`."""
    tools = platform.prepare_tools(cache, java_home(), say)
    if (found := attached(folder, tools)) is not None:
        say(f"Using the platform that runs in the background (process {found[2]})")
        return found[0]
    stack.enter_context(folder.locked("platform"))
    here = platform.prepare(folder, tools)
    stack.enter_context(platform.started(here, say))
    return here


def _asked(options: AirflowOptions, say: Say) -> dict[str, str]:
    """The variables that pass what the user asked for to fetch-historical."""
    source = Source.YAHOO if options.source == "auto" else Source(options.source)
    if options.source == "auto":
        reason: list[str] = []
        if batch_source.choose("auto", None, None, reason.append).source is not Source.YAHOO:
            # The recorded bars end in 2013, and a run works for its own date.
            source = Source.SIMULATED
            say("Yahoo Finance cannot be reached: the DAG takes simulated bars (another source: --source)")
    return {"TICKLAKE_SOURCE": source} | ({"TICKLAKE_SYMBOLS": options.symbols} if options.symbols else {})


def _how_to(airflow: Airflow, given: Path, say: Say) -> None:
    place = "" if given == DEFAULT_FOLDER else f"--data {given} "
    command = f".venv/bin/ticklake airflow {place}"
    say(f"Airflow runs at {airflow.address}; Ctrl-C stops everything")
    say(f"  sign in    user {USER}, password {airflow.password}")
    say(f"  trigger    open the DAG {_DAG} and press Trigger, or in another terminal:")
    say(f"             {command}dags trigger {_DAG}")
    say(f'             {command}dags trigger {_DAG} --conf \'{{"source": "replay", "date": "2013-03-01"}}\'')
    say(f"  look       {command}dags list-runs {_DAG}")
    say(f"  backfill   {command}backfill create --dag-id {_DAG} --from-date … --to-date … --max-active-runs 1")
    say("             (with TICKLAKE_SCHEDULE=sessions set before the start)")
