"""A writer that is killed at any point of a commit: readers see all of it or nothing, and a retry commits it once."""

import itertools
import multiprocessing

import pytest
from killed_writer import WRITES, write_and_die
from table_rows import batch_of, content, state_of
from waiting import SECONDS

from ticklake.catalog import LakeTables
from ticklake.settings import CatalogSettings, StoreSettings
from ticklake.tables import DAILY_BARS

Servers = tuple[CatalogSettings, StoreSettings]
_KILLED = -9


@pytest.fixture
def servers(catalog_settings: CatalogSettings, store_settings: StoreSettings) -> Servers:
    LakeTables(catalog_settings, store_settings).ensure("market", DAILY_BARS)
    return catalog_settings, store_settings


def killed_at_every_point(name: str, servers: Servers) -> int:
    """How many points there are; raises AssertionError where one leaves anything but the rows from before or after."""
    # Forked from a server that has no threads: from this process children would inherit locks that nobody lets go.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pyarrow.fs", "ticklake.catalog"])
    tables = LakeTables(*servers)
    for point in itertools.count(1):
        before = content(tables, "market", DAILY_BARS)
        process = context.Process(target=write_and_die, args=(name, point, point, *servers))
        process.start()
        process.join(SECONDS)
        assert process.exitcode in (0, _KILLED)
        kept, written = ([], state_of) if name == "replace" else (before, batch_of)
        after = sorted([*kept, *map(repr, written(DAILY_BARS, point).to_pylist())])
        assert content(tables, "market", DAILY_BARS) in (before, after), f"half of it after point {point}"
        WRITES[name](tables, DAILY_BARS)(point)
        assert content(tables, "market", DAILY_BARS) == after, f"another content once repeated after point {point}"
        if process.exitcode == 0:
            return point - 1
    raise AssertionError


@pytest.mark.parametrize("name", ["append", "replace"])
def test_killed_at_every_point_and_repeated(name: str, servers: Servers) -> None:
    # Data, manifest, manifest list and the table's metadata, each begun and half written; the catalog's transaction.
    assert killed_at_every_point(name, servers) >= 10


def test_a_writer_that_does_not_look_would_be_seen(servers: Servers) -> None:
    with pytest.raises(AssertionError, match="another content once repeated"):
        killed_at_every_point("careless append", servers)
