"""The warehouse's schemas and tables: created where missing, every column documented."""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

from collections.abc import Iterable
from dataclasses import dataclass

from load_warehouse.errors import AbsentError
from load_warehouse.session import Session
from ticklake import tables, warehouse_tables
from ticklake.errors import ConfigurationError
from ticklake.tables import CORPORATE_ACTIONS, DAILY_ANALYTICS, DAILY_BARS, Column

TYPES = {
    "string": "VARCHAR",
    "date": "DATE",
    # Without a zone and in UTC, so that what is read does not depend on the reader's session.
    "timestamp": "TIMESTAMP_NTZ(6)",
    "double": "FLOAT",
    "bigint": "NUMBER(19,0)",
    "int": "NUMBER(10,0)",
    "boolean": "BOOLEAN",
}

SCHEMAS = {
    warehouse_tables.SCHEMA_YAHOO: "Stock-market data from real sources",
    warehouse_tables.SCHEMA_OTHER: "Recorded and simulated stock-market data, kept apart from the real",
}


@dataclass(frozen=True)
class Table:
    """A table: its name, columns in order, key and meaning."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    comment: str
    remembered: tuple[str, ...] = ()
    """Columns in which the table may rightly differ from the lake's."""

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns' names as the warehouse keeps them."""
        return tuple(column.name.upper() for column in self.columns)

    @property
    def value_names(self) -> tuple[str, ...]:
        """The columns beside the key."""
        return tuple(name for name in self.column_names if name not in self.key)

    @property
    def compared(self) -> tuple[str, ...]:
        """Of these, the columns that must be as in the lake."""
        return tuple(name for name in self.value_names if name not in self.remembered)


@dataclass(frozen=True)
class View:
    """A view: its name, each column with its meaning, the table whose columns they are, and what it is for."""

    name: str
    columns: tuple[tuple[str, str], ...]
    table: Table
    comment: str


BARS = Table(
    warehouse_tables.BARS_TABLE,
    DAILY_BARS.columns,
    ("SYMBOL", "SOURCE", "SESSION_DATE", "KNOWN_AT", "BATCH_ID"),
    DAILY_BARS.comment,
    # A lake that was lost and filled again from later batches takes for a first version what was a revision.
    remembered=("CHANGE",),
)
ACTIONS = Table(
    warehouse_tables.ACTIONS_TABLE,
    CORPORATE_ACTIONS.columns,
    ("SYMBOL", "SOURCE", "EX_DATE", "KIND", "KNOWN_AT", "BATCH_ID"),
    CORPORATE_ACTIONS.comment,
)
DAILY = Table(
    warehouse_tables.DAILY_TABLE,
    DAILY_ANALYTICS.columns,
    ("SYMBOL", "SOURCE", "SESSION_DATE"),
    f"{DAILY_ANALYTICS.comment}; known_at, fact_versions and batch are those that last changed the row",
    # A new session makes all of a symbol's rows be recomputed, most of them to what they were.
    remembered=("KNOWN_AT", "FACT_VERSIONS", "BATCH_ID", "BATCH_DATE"),
)
ADJUSTED_PRICES = View(
    warehouse_tables.ADJUSTED_PRICES_VIEW,
    (
        ("SYMBOL", "Ticker in Yahoo's notation"),
        ("SOURCE", "Where the bars come from"),
        ("SESSION_DATE", "Session of the exchange"),
        ("OPEN", "First price, adjusted for splits"),
        ("HIGH", "Highest price, adjusted for splits"),
        ("LOW", "Lowest price, adjusted for splits"),
        ("CLOSE", "Last price, adjusted for splits"),
        ("ADJ_OPEN", "First price, adjusted for splits and dividends"),
        ("ADJ_HIGH", "Highest price, adjusted for splits and dividends"),
        ("ADJ_LOW", "Lowest price, adjusted for splits and dividends"),
        ("ADJ_CLOSE", "Last price, adjusted for splits and dividends"),
        ("VOLUME", "Shares traded, adjusted for splits"),
        ("CURRENCY", "Of the prices, as the source names it"),
        ("KNOWN_AT", "Latest answer that the symbol's rows are computed from (UTC)"),
    ),
    DAILY,
    "Daily prices adjusted for splits, and for splits and dividends; prices as traded are in DAILY_BARS",
)
WINDOWS = Table(
    warehouse_tables.WINDOWS_TABLE,
    tables.WINDOWS.columns,
    ("FLOW", "SYMBOL", "SOURCE", "WINDOW_LENGTH", "WINDOW_START"),
    f"{tables.WINDOWS.comment}; one that was recomputed replaces what it was",
)
LIVE_BARS = Table(
    warehouse_tables.LIVE_BARS_TABLE,
    tables.TICK_BARS.columns,
    ("FLOW", "SYMBOL", "SOURCE", "BAR_LENGTH", "BAR_START"),
    tables.TICK_BARS.comment,
)
AUDIT = Table(
    warehouse_tables.AUDIT_TABLE,
    (
        Column("load_id", "string", "Id of the load; a retry is a load of its own", nullable=False),
        Column("run_id", "string", "Run that the load belongs to", nullable=False),
        Column("batch_id", "string", "Batch that was loaded; null for windows and bars"),
        Column("kind", "string", "daily_bars, corporate_actions, daily_analytics, windows or bars", nullable=False),
        Column("lake_snapshot", "bigint", "Snapshot of the lake's table that was read; null where it has none"),
        Column("rows_staged", "bigint", "Rows in the load's files", nullable=False),
        Column("rows_new", "bigint", "Rows that were not in the table before", nullable=False),
        Column(
            "rows_unchanged",
            "bigint",
            "Rows of the batch's symbols, or of the files of windows and bars, that stay as they are",
            nullable=False,
        ),
        Column(
            "rows_revised",
            "bigint",
            "Versions that revise a known fact; else rows that replaced others",
            nullable=False,
        ),
        Column(
            "rows_withdrawn",
            "bigint",
            "Splits and dividends withdrawn by the source; else rows removed",
            nullable=False,
        ),
        Column("files", "bigint", "Files that went to the warehouse", nullable=False),
        Column("started_at", "timestamp", "Start of the load (UTC)", nullable=False),
        Column("finished_at", "timestamp", "When the rows had been loaded and verified (UTC)", nullable=False),
        Column("code_version", "string", "Version of the code that loaded", nullable=False),
        Column("checksum", "string", "SHA-256 over the row hashes read back of analytics"),
        Column("flow", "string", "Live flow of windows and bars, empty for the real one; null for daily tables"),
    ),
    ("LOAD_ID", "KIND"),
    "One row per load and table, written in the transaction that changed the tables",
)


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


def create_view(schema: str, view: View) -> str:
    """The statement that creates `view` in `schema` (with its database) unless it is there."""
    columns = ", ".join(f"{name} COMMENT {literal(comment)}" for name, comment in view.columns)
    selected = ", ".join(name for name, _ in view.columns)
    return (
        f"CREATE VIEW IF NOT EXISTS {schema}.{view.name} ({columns}) COMMENT = {literal(view.comment)} "
        f"AS SELECT {selected} FROM {schema}.{view.table.name}"
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


def ensure(
    session: Session,
    there: dict[tuple[str, str], set[str]],
    schema: str,
    tables: Iterable[Table],
    views: Iterable[View] = (),
) -> None:
    """Create the schema and what is missing of `tables` and `views`, and make the schema the session's.

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
    for view in views:
        if (schema, view.name) not in there:
            session.run(create_view(f"{database}.{schema}", view))
            there[schema, view.name] = {name for name, _ in view.columns}
    session.run(f"USE SCHEMA {database}.{schema}")
