"""`ticklake sql`: one statement to the warehouse, its answer as a table."""

import csv
import os
import sys
from contextlib import ExitStack
from pathlib import Path

from rich.table import Table

from ticklake.errors import ConfigurationError, StageError
from ticklake.settings import WarehouseSettings, load
from ticklake_local.data_folder import DataFolder
from ticklake_local.platform import OWN_ACCOUNT, with_warehouse
from ticklake_local.report import plain_console

_MOST_ROWS = 1000


def query(path: Path, statement: str, *, as_csv: bool = False) -> None:
    """Print what `statement` gives on the user's own account where one is set, else on the data folder's warehouse.

    The latter's server is started for the time where no other command runs it.

    Args:
        as_csv: print every row as CSV with a header; otherwise a table of at most a thousand rows.
    """
    with ExitStack() as stack:
        if os.environ.get(OWN_ACCOUNT):
            settings = load(WarehouseSettings)
        else:
            settings = stack.enter_context(with_warehouse(DataFolder.at(path)))
        headings, rows = ask(settings, statement, None if as_csv else _MOST_ROWS + 1)
    try:
        if as_csv:
            csv.writer(sys.stdout).writerows([headings, *rows])
        else:
            _show(headings, rows)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, such as `head`. What is still to be flushed at the exit must not fail there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def ask(settings: WarehouseSettings, statement: str, most: int | None) -> tuple[list[str], list[tuple[object, ...]]]:
    """Column names and rows of a statement, no more of these than `most`.

    Raises:
        ConfigurationError: sign-in or statement is rejected.
        StageError: the warehouse does not answer.
    """
    import snowflake.connector
    from snowflake.connector.errors import Error, OperationalError

    from load_warehouse.errors import explain_sign_in
    from load_warehouse.session import connection_arguments

    # A database that no load has made yet is no reason to reject the sign-in.
    arguments = connection_arguments(settings, "ticklake sql") | {
        "database": settings.database,
        "validate_default_parameters": False,
    }
    with ExitStack() as stack:
        with explain_sign_in(settings, Error):
            connection = stack.enter_context(snowflake.connector.connect(**arguments))
        try:
            cursor = connection.cursor()
            cursor.execute(statement)
            rows = cursor.fetchall() if most is None else cursor.fetchmany(most)
            return [column.name for column in cursor.description], rows
        except OperationalError as error:
            raise StageError(f"the warehouse does not answer: {error.msg}") from error
        except Error as error:
            raise ConfigurationError(f"the warehouse says: {error.msg or error}") from error


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
