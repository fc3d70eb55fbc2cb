"""`ticklake held`: what waits for a person's decision, shown, released or dropped."""

import getpass
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from fetch_historical.answer_comparison import Compared, compared
from ticklake import held_symbols
from ticklake.catalog import LakeTables
from ticklake.held_symbols import Action, Hold
from ticklake.objects import ObjectStore
from ticklake_local import platform
from ticklake_local.background import attached
from ticklake_local.batch_source import BatchInput
from ticklake_local.data_folder import DEFAULT_FOLDER, DataFolder
from ticklake_local.environment import java_home
from ticklake_local.platform import Platform, Say
from ticklake_local.report import Journal, plain_console, print_whole
from ticklake_local.run import run_into, running_platform
from ticklake_local.stage_host_client import Hosts, make_hosts

_GREAT = 1e5
"""Volumes, mostly: in whole numbers with separators."""


@dataclass(frozen=True)
class HeldOptions:
    """What `ticklake held` was called with."""

    folder: Path
    cache: Path
    symbol: str = ""
    run_id: str | None = None
    """The run that holds it; None for the newest."""
    by: str | None = None
    """Who decides; None for the user whose process this is."""


def show_list(options: HeldOptions) -> None:
    """Print what is held now: since when, by which run, and why."""
    console = plain_console()
    with _lake(options) as here:
        found = held_symbols.HeldSymbols(ObjectStore(here.store)).now()
    if not found:
        console.print("Nothing is held")
        return
    # Lines and no table: run ids and reasons are longer than a terminal is wide.
    for hold in found:
        where = f"by run {hold.run_id} of {hold.batch_date}{_since(hold)}"
        console.print(f"{hold.symbol}  {hold.source}, {hold.rows:,} rows wait, {where}")
        for line in (*hold.reasons, *_state(hold)):
            console.print(f"  {line}")
    console.print(f"look, then decide:  {_command(options)} show SYMBOL, release SYMBOL or drop SYMBOL")


def show(options: HeldOptions) -> None:
    """Print the rows of the stored answer beside those that are known, and why it is held.

    Raises:
        ConfigurationError: the symbol is not held, or its answer is not there as it was stored.
    """
    console = plain_console()
    with _lake(options) as here:
        store = ObjectStore(here.store)
        hold = _found(store, options)
        rows: list[Compared] = []
        if hold.answer is not None:
            rows = compared(LakeTables(here.catalog, here.store), hold.source, held_symbols.check_answer(store, hold))
    if rows:
        table = Table(title=f"{hold.symbol} as traded: the answer, and what is known", title_justify="left")
        for heading in ("session", "open", "high", "low", "close", "volume", "known close", "known volume", ""):
            table.add_column(heading, justify="left" if heading in ("session", "") else "right", no_wrap=True)
        for row in rows:
            table.add_row(str(row.session), *map(_number, row.numbers()), row.verdict)
        print_whole(console, table)
    console.print(f"{hold.symbol} is held by run {hold.run_id} of {hold.batch_date} ({hold.source}, {hold.stage})")
    if hold.earlier:
        console.print(
            f"and was by {len(hold.earlier)} runs before, since {hold.since.run_id} of {hold.since.batch_date}"
        )
    for reason in (*hold.reasons, *_state(hold)):
        console.print(f"  {reason}")
    if hold.answer is None:
        console.print("there is no stored answer: the next run asks again")
    else:
        console.print(f"the stored answer is {hold.answer.key}")


def decide(options: HeldOptions, action: Action) -> None:
    """Release what is held of a symbol, and run the stages on its stored answer; or drop it.

    Raises:
        ConfigurationError: it cannot be decided so, see `ticklake.held_symbols.decide`.
        StageError: a stage failed; the release is kept, and the same command goes on with it.
    """
    console = plain_console()
    say: Say = console.print
    with _lake(options) as here:
        by = options.by or getpass.getuser()
        found = held_symbols.decide(ObjectStore(here.store), action, options.symbol, by, options.run_id)
    decision = found.decision
    what = f"{decision.symbol} of run {decision.run_id}"
    say(f"{what} is {decision.description()}" if found.made else f"{what} was {decision.description()} already")
    if found.done:
        say("its answer stays aside; the next run asks again" if action == "drop" else "nothing is left to do")
        return
    folder = DataFolder.at(options.folder)
    asked = BatchInput(found.source, found.batch_date, decision.symbol, decision.run_id)
    journal = Journal(found.release_run_id)
    with folder.locked("held"), _working(folder, options.cache, say) as (platform_, hosts):
        run_into(journal, platform_, hosts, asked, say)
    journal.reconciled = True
    journal.show(console)


def _found(store: ObjectStore, options: HeldOptions) -> Hold:
    found = held_symbols.HeldSymbols(store).now()
    hold = held_symbols.find(found, options.symbol, options.run_id)
    if hold is None:
        raise held_symbols.not_held(found, options.symbol, options.run_id)
    return hold


def _since(hold: Hold) -> str:
    if not hold.earlier:
        return ""
    return f", and by {len(hold.earlier)} before, since run {hold.since.run_id} of {hold.since.batch_date}"


def _state(hold: Hold) -> tuple[str, ...]:
    if hold.decision is None:
        return ()
    return (f"{hold.decision.description()}, but its run is not done: release it again to go on",)


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= _GREAT else f"{value:.7g}"


def _command(options: HeldOptions) -> str:
    place = "" if options.folder == DEFAULT_FOLDER else f" --data {options.folder}"
    return f".venv/bin/ticklake held{place}"


def _lake(options: HeldOptions) -> AbstractContextManager[Platform]:
    return platform.with_store(DataFolder.at(options.folder), options.cache, print)


@contextmanager
def _working(folder: DataFolder, cache: Path, say: Say) -> Iterator[tuple[Platform, Hosts]]:
    """A whole platform with stage hosts: what `ticklake up` keeps, or another command's with hosts of its own here."""
    tools = platform.prepare_tools(cache, java_home(), say)
    ports = platform.ports_in_use(folder, "store")
    if ports is None or attached(folder, tools) is not None:
        with running_platform(folder, cache, say) as found:
            yield found
        return
    say("Using the platform that another command runs")
    here = Platform(folder, tools, ports)
    hosts = make_hosts(here, label=".held")
    with ExitStack() as stack:
        for host in (hosts.spark, hosts.python):
            stack.callback(host.stop)
            host.start()
        yield here, hosts
