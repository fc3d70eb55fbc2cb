"""The warehouse's schemas and tables: created where missing, every column documented."""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

from collections.abc import Iterable
from dataclasses import dataclass

from load_warehouse.errors import AbsentError
from load_warehouse.session import Session
from ticklake import names
from ticklake.errors import ConfigurationError
from ticklake.records import Source
from ticklake.tables import DAILY_COLUMNS, WINDOW_COLUMNS, Column

TYPES = {
    "string": "VARCHAR",
    "date": "DATE",
    # Without a zone and in UTC, so that what is read does not depend on the reader's session.
    "timestamp": "TIMESTAMP_NTZ(6)",
    "double": "FLOAT",
    "bigint": "NUMBER(19,0)",
    "int": "NUMBER(10,0)",
}

SCHEMAS = {
    names.SCHEMA_YAHOO: "Stock-market data from Yahoo and Alpha Vantage",
    names.SCHEMA_OTHER: "Recorded and simulated stock-market data, kept apart from the real",
}


@dataclass(frozen=True)
class Table:
    """A table: its name, columns in order, key and meaning."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    comment: str

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names as the warehouse keeps them."""
        return tuple(column.name.upper() for column in self.columns)


FLOW = Column("flow", "string", "Live flow: empty for the real one, else its namespace", nullable=False)
"""Where two accelerated flows play the same hours, their windows share every other part of the key."""

DAILY = Table(
    names.DAILY_TABLE, DAILY_COLUMNS, ("SYMBOL", "SESSION_DATE"), "Daily bars with indicators, a row per session"
)
WINDOWS = Table(
    names.WINDOWS_TABLE,
    (FLOW, *WINDOW_COLUMNS),
    ("FLOW", "SYMBOL", "SOURCE", "WINDOW_LENGTH", "WINDOW_START"),
    "Final sliding windows over live ticks; a row never changes",
)
AUDIT = Table(
    names.AUDIT_TABLE,
    (
        Column("load_id", "string", "Id of the load; a retry is a load of its own", nullable=False),
        Column("run_id", "string", "Run that the load belongs to", nullable=False),
        Column("batch_id", "string", "Batch that was loaded; null for windows"),
        Column("kind", "string", "daily or windows", nullable=False),
        Column("rows_staged", "bigint", "Rows in the load's files", nullable=False),
        Column("rows_inserted", "bigint", "Rows that were not in the table before", nullable=False),
        Column("rows_updated", "bigint", "Rows that replaced an older one", nullable=False),
        Column("rows_unchanged", "bigint", "Rows that the table held already, equal in every column", nullable=False),
        Column("rows_superseded", "bigint", "Rows not taken: the table holds a row that goes before", nullable=False),
        Column("files", "bigint", "Objects of the lake that were loaded", nullable=False),
        Column("started_at", "timestamp", "Start of the load (UTC)", nullable=False),
        Column("finished_at", "timestamp", "When the rows had been merged and read back (UTC)", nullable=False),
        Column("code_version", "string", "Version of the code that loaded", nullable=False),
        Column("checksum", "string", "SHA-256 over the row hashes read back, or over the files' for windows",
               nullable=False),
    ),
    ("LOAD_ID",),
    "One row per load, written in the transaction that changed the table",
)  # fmt: skip
LEDGER = Table(
    names.LOADED_MANIFESTS_TABLE,
    (
        Column("manifest", "string", "Key of a manifest of streaming windows in the lake", nullable=False),
        Column("etag", "string", "The manifest's entity tag when it was loaded", nullable=False),
        Column("load_id", "string", "Load that took it, see LOAD_AUDIT", nullable=False),
    ),
    ("MANIFEST", "ETAG"),
    "Manifests of streaming windows that were loaded",
)


def schema_of(source: Source) -> str:
    """The schema for rows from `source`: nothing recorded or simulated stands beside the real."""
    return names.SCHEMA_YAHOO if source.is_real else names.SCHEMA_OTHER


def literal(text: str) -> str:
    """`text` as a string literal of Snowflake's, in which a backslash escapes too."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def create_table(qualified: str, table: Table) -> str:
    """The statement that creates `table` as `qualified` unless it is there."""
    columns = ", ".join(_definition(column) for column in table.columns)
    return (
        f"CREATE TABLE IF NOT EXISTS {qualified} ({columns}, PRIMARY KEY ({', '.join(table.key)})) "
        f"COMMENT = {literal(table.comment)}"
    )


def _definition(column: Column) -> str:
    null = "" if column.nullable else " NOT NULL"
    return f"{column.name.upper()} {TYPES[column.type]}{null} COMMENT {literal(column.comment)}"


def present(session: Session) -> dict[tuple[str, str], set[str]]:
    """Columns of each (schema, table) of the platform's that there is; the database is created where missing."""
    schemas = ", ".join(literal(schema) for schema in SCHEMAS)
    query = (
        f"SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME FROM {session.database}.INFORMATION_SCHEMA.COLUMNS "
        f"WHERE TABLE_SCHEMA IN ({schemas})"
    )
    try:
        found = session.run(query)
    except AbsentError:
        session.run(
            f"CREATE DATABASE IF NOT EXISTS {session.database} COMMENT = {literal('Stock-market data platform')}"
        )
        found = session.run(query)
    tables: dict[tuple[str, str], set[str]] = {}
    for schema, table, column in found.rows:
        tables.setdefault((schema, table), set()).add(column)
    return tables


def ensure(session: Session, there: dict[tuple[str, str], set[str]], schema: str, tables: Iterable[Table]) -> None:
    """Create the schema and what is missing of `tables`, and make the schema the session's.

    A nullable column that a newer version brings is added to a table that lacks it.

    Raises:
        ConfigurationError: a table lacks a column that cannot be added to rows that are there, or a right is missing.
    """
    database = session.database
    if not any(found == schema for found, _ in there):
        session.run(f"CREATE SCHEMA IF NOT EXISTS {database}.{schema} COMMENT = {literal(SCHEMAS[schema])}")
    for table in tables:
        qualified = f"{database}.{schema}.{table.name}"
        columns = there.get((schema, table.name))
        if columns is None:
            session.run(create_table(qualified, table))
            there[schema, table.name] = set(table.column_names)
            continue
        for column in table.columns:
            if column.name.upper() in columns:
                continue
            if not column.nullable:
                raise ConfigurationError(
                    f"table {qualified} lacks the column {column.name.upper()}, which cannot be empty: "
                    "it was made by another version; move it away and load again"
                )
            session.run(f"ALTER TABLE {qualified} ADD COLUMN {_definition(column)}")
            columns.add(column.name.upper())
    session.run(f"USE SCHEMA {database}.{schema}")
