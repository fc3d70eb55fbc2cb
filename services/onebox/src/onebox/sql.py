"""`onebox sql`: one statement to the one-box warehouse, its answer as a table."""

import csv
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from onebox.folder import DataFolder
from onebox.processes import free_port
from onebox.report import plain_console
from onebox.warehouse import Warehouse
from ticklake.errors import ConfigurationError, StageError
from ticklake.settings import WarehouseSettings, load

_MOST_ROWS = 1000
_ANSWER_SECONDS = 60


def query(path: Path, statement: str, *, as_csv: bool = False) -> None:
    """Print what `statement` gives on the warehouse of the data folder, starting its server where none runs.

    Args:
        as_csv: print every row as CSV with a header; otherwise a table of at most a thousand rows.
    """
    import snowflake.connector
    from snowflake.connector.errors import Error, OperationalError

    folder = DataFolder.at(path)
    database = load(WarehouseSettings).database
    with ExitStack() as stack:
        running = folder.running()
        server = Warehouse(folder.warehouse, folder.logs, running.ports.warehouse if running else free_port())
        if running is None:
            stack.enter_context(folder.locked("platform"))
            stack.callback(server.stop)
            server.start()
            server.wait_ready()
        try:
            connection = stack.enter_context(
                snowflake.connector.connect(
                    **server.connection_parameters, database=database, login_timeout=_ANSWER_SECONDS,
                    network_timeout=_ANSWER_SECONDS,
                )
            )  # fmt: skip
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = cursor.fetchall() if as_csv else cursor.fetchmany(_MOST_ROWS + 1)
            headings = [column.name for column in cursor.description]
        except OperationalError as error:
            raise StageError(f"the warehouse at 127.0.0.1:{server.port} does not answer: {error.msg}") from error
        except Error as error:
            raise ConfigurationError(f"the warehouse says: {error.msg or error}") from error
    try:
        if as_csv:
            csv.writer(sys.stdout).writerows([headings, *rows])
        else:
            _show(headings, rows)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, such as `head`. What is still to be flushed at the exit must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show(headings: list[str], rows: list[tuple[object, ...]]) -> None:
    # What looks like rich's markup is data.
    console = plain_console()
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)
    console.print(f"{min(len(rows), _MOST_ROWS):,} rows" + (" (more were cut)" if len(rows) > _MOST_ROWS else ""))
