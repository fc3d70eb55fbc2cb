"""What `ticklake doctor` checks on this machine and in its data folder, with the code that the platform itself uses."""

import difflib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from importlib.metadata import Distribution, entry_points, requires
from pathlib import Path

import psutil
from pydantic_settings import BaseSettings

from batch_exporter.runs import Runs, RunState
from batch_exporter.settings import BatchSettings
from batch_exporter.snapshot import snapshot
from ticklake.catalog import LakeTables
from ticklake.errors import ConfigurationError
from ticklake.held_symbols import HeldSymbols
from ticklake.objects import ObjectStore
from ticklake.records import iso_ms
from ticklake.runs import PREFIX
from ticklake.runs import State as Progress
from ticklake.settings import StageSettings, WarehouseSettings, load
from ticklake.tables import ALL_TABLES, NAMESPACES
from ticklake_local import batch_source, platform, sql
from ticklake_local.data_folder import DataFolder
from ticklake_local.doctor import Check, Finding, State
from ticklake_local.environment import java_home
from ticklake_local.jars import missing_sets
from ticklake_local.java import find_java
from ticklake_local.platform import OWN_ACCOUNT

_LEAST_MEMORY = 4 * 2**30
"""Bytes available that a run with its broker, store, warehouse and Spark needs."""
_RECENT_RUNS = 5
OWN_VARIABLES = {"TICKLAKE_CACHE", "TICKLAKE_JAVA_HOME"}
_OTHERS = ("TICKLAKE_TASKS_", "TICKLAKE_SCHEDULE", "TICKLAKE_NOTIFY_", "TICKLAKE_METADATA_", "TICKLAKE_PART_")
"""Prefixes of variables for Airflow and images, whose settings need not be installed here."""


def checks(path: Path, cache: Path) -> dict[str, Check]:
    """All checks by subject, in the order in which they make sense."""
    folder = DataFolder(path.resolve())
    return {
        "Java": _java,
        "jars": partial(_jars, cache),
        "memory": _memory,
        "Yahoo Finance": _yahoo,
        "settings": _settings,
        "data folder": partial(_data_folder, folder),
        "catalog": partial(_catalog, folder),
        "lake": partial(_lake, folder, cache),
        "warehouse": partial(_warehouse, folder),
    }


def _java() -> Iterator[Finding]:
    java = find_java(java_home())
    for reason in java.skipped:
        yield Finding(State.NOTE, f"not used: {reason}")
    yield Finding(State.GOOD, f"the bundled {java.major}" if java.bundled else f"{java.major} in {java.home}")


def _jars(cache: Path) -> Iterator[Finding]:
    if missing := missing_sets(cache):
        yield Finding(
            State.NOTE,
            f"those of {', '.join(missing)} are not in {cache} yet",
            "the first run fetches them; `ticklake fetch-jars` does it now and says what is in its way",
        )
    else:
        yield Finding(State.GOOD, f"all in {cache}, unchanged")


def _memory() -> Iterator[Finding]:
    free = psutil.virtual_memory().available
    text = f"{free / 2**30:.1f} GiB available, {os.cpu_count()} CPUs"
    if free < _LEAST_MEMORY:
        yield Finding(State.WRONG, text, f"a run needs {_LEAST_MEMORY / 2**30:.0f} GiB: end other programs")
    else:
        yield Finding(State.GOOD, text)


def _yahoo() -> Iterator[Finding]:
    reason = batch_source.out_of_reach()
    if reason is None:
        yield Finding(State.GOOD, "answers")
    else:
        yield Finding(State.NOTE, reason, "runs take recorded real bars; to insist on Yahoo: --source yahoo")


def _settings() -> Iterator[Finding]:
    # Of what the platform decides itself, a program's settings need only the address of the catalog.
    decided = {"TICKLAKE_CATALOG_URI": "sqlite:///catalog.db"}
    absent = {name: value for name, value in decided.items() if name not in os.environ}
    os.environ.update(absent)
    wrong: set[str] = set()
    _load_programs()
    try:
        # Each program's own, from which no others are derived.
        for program in (each for each in derived(StageSettings) if not each.__subclasses__()):
            try:
                load(program)
            except ConfigurationError as error:
                wrong.update(str(error).split("; "))
    finally:
        for name in absent:
            del os.environ[name]
    yield from (Finding(State.WRONG, text) for text in sorted(wrong))
    known = OWN_VARIABLES.union(*map(variables, derived(BaseSettings)))
    given = sorted(name for name in os.environ if name.startswith("TICKLAKE_"))
    unknown = [name for name in given if name not in known and not name.startswith(_OTHERS)]
    for name in unknown:
        near = difflib.get_close_matches(name, known, 1)
        yield Finding(State.WRONG, f"no program has a setting {name}", f"is {near[0]} meant?" if near else "unset it")
    if not wrong and not unknown:
        yield Finding(State.GOOD, f"{len(given)} variables TICKLAKE_… are set" if given else "none; defaults are taken")


def _load_programs() -> None:
    """Import the programs of all parts of the local platform, and so their settings."""
    parts = {re.split(r"[^\w-]", wanted)[0] for wanted in requires("ticklake-local") or []}
    for program in entry_points(group="console_scripts"):
        if program.dist is not None and program.dist.name in parts and _uses_library(program.dist):
            program.load()


def _uses_library(part: Distribution) -> bool:
    return any(each.startswith("ticklake") for each in part.requires or [])


def derived(base: type[BaseSettings]) -> set[type[BaseSettings]]:
    """All classes of settings below `base`, of the programs that are imported."""
    found = set(base.__subclasses__())
    return found.union(*map(derived, found))


def variables(settings: type[BaseSettings]) -> dict[str, str]:
    """The variables that `settings` read, each with the name of its field."""
    prefix = str(settings.model_config.get("env_prefix", ""))
    return {prefix + name.upper(): name for name in settings.model_fields}


def _data_folder(folder: DataFolder) -> Iterator[Finding]:
    if not folder.root.exists():
        yield Finding(State.GOOD, f"{folder.root} is not there yet: the first run makes it")
        return
    DataFolder.at(folder.root)
    folder.check_room()
    folder.credentials()
    running = folder.running()
    holder = folder.holder("platform") or folder.holder("run")
    if running is not None:
        use = f"in use by a platform in the background (process {running.pid})"
    elif holder is not None:
        use = f"in use by another ticklake (process {holder})"
    else:
        use = "not in use"
    free = shutil.disk_usage(folder.root).free
    yield Finding(State.GOOD, f"{folder.root}, {use}, {free / 2**30:.1f} GiB free")


def _catalog(folder: DataFolder) -> Iterator[Finding]:
    if not folder.catalog_file.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{folder.catalog_file}?mode=ro", uri=True)) as connection:
            (state,) = connection.execute("pragma quick_check(1)").fetchone()
            (tables,) = connection.execute("select count(*) from iceberg_tables").fetchone()
    except sqlite3.Error as error:
        state, tables = str(error), 0
    if state == "ok":
        yield Finding(State.GOOD, "1 table" if tables == 1 else f"{tables} tables")
    else:
        yield Finding(
            State.WRONG,
            f"{folder.catalog_file} is damaged: {state}",
            "restore it from a copy; without one, begin with another --data",
        )


def _lake(folder: DataFolder, cache: Path) -> Iterator[Finding]:
    if not folder.catalog_file.exists() or missing_sets(cache):
        return
    with platform.with_store(folder, cache, lambda _: None) as here:
        store, tables = ObjectStore(here.store), LakeTables(here.catalog, here.store)
        for namespace in NAMESPACES:
            for table in ALL_TABLES:
                tables.version(namespace, table)
        listed = list(store.list_objects(PREFIX))
        runs = Runs(store, _RECENT_RUNS)
        runs.refresh(listed)
        held = HeldSymbols(store).now(listed)
    yield Finding(State.GOOD, "its tables can be read")
    last = snapshot(runs.by_folder.values(), BatchSettings()).last_run
    if last is not None:
        yield _last_run(last)
    for hold in held:
        yield Finding(
            State.NOTE,
            f"{hold.symbol} is held by run {hold.run_id}: {'; '.join(hold.reasons)}",
            f"`ticklake held show {hold.symbol}`, then release or drop it",
        )


def _last_run(run: RunState) -> Finding:
    began = f"the last run, of {iso_ms(run.started_at)}, "
    if run.state is Progress.DISAGREED:
        return Finding(
            State.WRONG, f"{began}found different rows in lake and warehouse", "see the end of its output; run again"
        )
    if run.state is Progress.FAILED:
        # A stage that was killed after it had judged leaves its record and no failure.
        checks = [check.name for record in run.records.values() for check in record.checks if not check.passed]
        why = f"failed in {run.failed[0].stage}: {run.failed[0].reason}" if run.failed else f"failed: {checks[0]}"
        return Finding(State.WRONG, began + why, "mend that, then `ticklake run` again")
    if run.state is Progress.UNFINISHED:
        return Finding(State.NOTE, f"{began}is under way or was stopped", "if stopped: `ticklake run` again")
    return Finding(State.GOOD, f"{began}reconciled")


def _warehouse(folder: DataFolder) -> Iterator[Finding]:
    if os.environ.get(OWN_ACCOUNT):
        settings = load(WarehouseSettings)
        sql.ask(settings, "select 1", 1)
        yield Finding(State.GOOD, f"the account {settings.account} lets {settings.user} sign in")
    elif folder.warehouse.exists():
        with platform.with_warehouse(folder) as settings:
            sql.ask(settings, "select 1", 1)
        yield Finding(State.GOOD, "answers")
