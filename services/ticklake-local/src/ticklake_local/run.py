"""`ticklake run`: the batch pipeline and a short live part, once, from nothing running to nothing running."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from ticklake import keys
from ticklake.errors import ConfigurationError, ExitCode
from ticklake.lineage import StageRecord
from ticklake.pipeline import FETCH, WAREHOUSE, Stage
from ticklake.records import Source
from ticklake_local import batch_source, platform
from ticklake_local.background import attached
from ticklake_local.batch import StageFailed, run_batch
from ticklake_local.batch_source import BatchInput
from ticklake_local.data_folder import DEFAULT_FOLDER, DataFolder
from ticklake_local.environment import java_home
from ticklake_local.live_run import LivePart
from ticklake_local.platform import Platform
from ticklake_local.report import Journal, plain_console
from ticklake_local.stage_host_client import Hosts, make_hosts


@dataclass(frozen=True)
class RunOptions:
    """What `ticklake run` was called with."""

    folder: Path
    cache: Path
    source: str = "auto"
    symbols: str | None = None
    batch_date: date | None = None
    report: Path | None = None
    live: bool = True


def new_run_id() -> str:
    """A run id that sorts by time and is no other run's."""
    return f"local-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"


def run(options: RunOptions) -> None:
    """Run everything, print the closing table and stop everything.

    Raises:
        StageError: something failed or did not reconcile; nothing is left running then either.
    """
    console = plain_console()
    say: Callable[[str], None] = console.print
    if options.report and not options.report.parent.is_dir():
        raise ConfigurationError(f"--report {options.report}: there is no folder {options.report.parent}")
    folder = DataFolder.at(options.folder)
    journal = Journal(new_run_id())
    with folder.locked("run"), running_platform(folder, options.cache, say) as (here, hosts):
        asked = batch_source.choose(options.source, options.batch_date, options.symbols, say)
        try:
            run_into(journal, here, hosts, asked, say)
        except StageFailed as failure:
            if options.source != "auto" or asked.source is not Source.YAHOO or failure.stage is not FETCH:
                raise
            if failure.code != ExitCode.FAILED:
                raise
            output = failure.output.strip() or str(failure)
            asked = batch_source.fall_back(asked, options.batch_date, output.splitlines()[-1], say)
            journal = Journal(new_run_id())
            run_into(journal, here, hosts, asked, say)
        with ThreadPoolExecutor(1) as aside:
            # The live part has a Spark of its own: the batch's makes room.
            finished = aside.submit(hosts.spark.finish)
            try:
                if options.live:
                    LivePart(here, hosts, journal, say).run()
            except BaseException:
                hosts.spark.stop()  # else leaving would wait until it has finished
                raise
        finished.result()
        journal.reconciled = True
    journal.show(console)
    _where_to_look(options.folder, folder, asked, say)
    if options.report:
        journal.write(options.report)


def run_into(journal: Journal, here: Platform, hosts: Hosts, asked: BatchInput, say: Callable[[str], None]) -> None:
    """Run the batch pipeline for the journal's run and enter each stage as it is done."""
    journal.source, journal.batch_date = asked.source, asked.batch_date.isoformat()
    say(f"Batch {journal.run_id}: source {asked.source}, date {asked.batch_date}")

    def on_stage(stage: Stage, record: StageRecord) -> None:
        journal.stage_done(stage, record, _where(stage, asked))
        row = journal.rows[-1]
        say(f"  ✓ {row.stage}  {row.rows_out:,} rows in {row.seconds:.1f} s")

    run_batch(here, hosts, asked, journal.run_id, on_stage, say)


def _where(stage: Stage, asked: BatchInput) -> str:
    if stage.proves:
        return stage.proves
    names = [place.of_batch(asked.source, asked.batch_date) for place in stage.writes]
    labels = {"topic": "topic ", "table": "tables " if len(names) > 1 else "table "}
    return labels.get(stage.writes[0].kind, "") + " and ".join(names)


def _where_to_look(given: Path, folder: DataFolder, asked: BatchInput, say: Callable[[str], None]) -> None:
    # Text for a person to paste, nothing that runs here.
    statement = (
        f"select symbol, session_date, close, sma_20, rsi_14 from {WAREHOUSE.of_batch(asked.source, asked.batch_date)} "  # noqa: S608
        "order by session_date desc, symbol limit 5"
    )
    place = "" if given == DEFAULT_FOLDER else f"--data {given} "
    say("Everything is stopped; what was made stays:" if folder.running() is None else "What was made:")
    say(f"  lake       {folder.store / 'buckets' / keys.BUCKET} (plain files; over S3 while `ticklake up` runs)")
    say(f'  warehouse  .venv/bin/ticklake sql {place}"{statement}"')
    say(f"  logs       {folder.logs}")
    more = f' ARGS="--data {given}"' if place else ""
    say(f"  on a page  make live{more}  (this run, charts and live prices, until Ctrl-C)")


@contextmanager
def running_platform(folder: DataFolder, cache: Path, say: Callable[[str], None]) -> Iterator[tuple[Platform, Hosts]]:
    """The platform that `ticklake up` keeps on this folder, else one that starts here and stops at the end."""
    tools = platform.prepare_tools(cache, java_home(), say)
    if (found := attached(folder, tools)) is not None:
        say(f"Using the platform that runs in the background (process {found[2]})")
        yield found[0], found[1]
        return
    with ExitStack() as stack:
        stack.enter_context(folder.locked("platform"))
        here = platform.prepare(folder, tools)
        # The hosts load their libraries while the servers start.
        hosts = make_hosts(here)
        for host in (hosts.spark, hosts.python):
            stack.callback(host.stop)
            host.start()
        stack.enter_context(platform.started(here, say))
        yield here, hosts
