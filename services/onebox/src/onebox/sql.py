"""`onebox sql`: one statement to the one-box warehouse, its answer as a table."""

from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from onebox.folder import DataFolder
from onebox.processes import free_port
from onebox.warehouse import Warehouse
from ticklake.errors import ConfigurationError
from ticklake.settings import WarehouseSettings

_MOST_ROWS = 1000


def query(path: Path, statement: str) -> None:
    """Run `statement` on the warehouse of the data folder, starting its server for the time where none runs."""
    import snowflake.connector
    from snowflake.connector.errors import Error

    folder = DataFolder.at(path)
    database = WarehouseSettings().database
    with ExitStack() as stack:
        running = folder.running()
        if running is None:
            stack.enter_context(folder.locked("platform"))
            server = Warehouse(folder.warehouse, folder.logs, free_port())
            stack.callback(server.stop)
            server.start()
            server.wait_ready()
            port = server.port
        else:
            port = running.ports.warehouse
        connection = stack.enter_context(
            snowflake.connector.connect(
                account="ticklake", user="ticklake", password="onebox", host="127.0.0.1", port=port,
                protocol="http", database=database,
            )
        )  # fmt: skip
        try:
            cursor = connection.cursor().execute(statement)
            rows = cursor.fetchmany(_MOST_ROWS + 1)
            headings = [column.name for column in cursor.description]
        except Error as error:
            raise ConfigurationError(f"the warehouse says: {error.msg or error}") from error
    _show(headings, rows)


def _show(headings: list[str], rows: list[tuple[object, ...]]) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows[:_MOST_ROWS]:
        table.add_row(*("" if value is None else str(value) for value in row))
    console.print(table)
    console.print(f"{min(len(rows), _MOST_ROWS):,} rows" + (" (more were cut)" if len(rows) > _MOST_ROWS else ""))
