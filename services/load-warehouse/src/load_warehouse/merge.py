"""The statements that bring a staging table's rows into the table they are for.

They are written in what Snowflake and the local server both run alike: qualified names, plain columns of the source as
values, every condition in its WHEN clause.
"""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

from load_warehouse.schema import DAILY, WINDOWS, Table

GOES_BEFORE = (
    "S.HISTORY_SESSIONS >= T.HISTORY_SESSIONS AND (S.BATCH_DATE > T.BATCH_DATE OR (S.BATCH_DATE = T.BATCH_DATE AND "
    "(S.FETCHED_AT > T.FETCHED_AT OR (S.FETCHED_AT = T.FETCHED_AT AND S.BATCH_ID >= T.BATCH_ID))))"
)
"""Whether a staged row S replaces the row T: its batch is newer or the same one, and its history is no shorter.

A batch knows the splits and dividends up to its date, so the later date goes first, whichever was loaded first: a
backfill of past dates never undoes what a later date restated. Batches of one date are ordered by when they were
fetched, and those of one millisecond by id, so that it never matters which is loaded first.
"""


def merge_daily(target: str, staging: str) -> str:
    """MERGE of daily rows: new ones come in, older ones are replaced, equal ones are left alone."""
    values = [name for name in DAILY.column_names if name not in DAILY.key]
    return (
        f"{_merge_into(target, staging, DAILY)} "
        f"WHEN MATCHED AND {GOES_BEFORE} AND ({_differ(values)}) THEN UPDATE SET "
        f"{', '.join(f'T.{name} = S.{name}' for name in values)} "
        f"{_insert(DAILY)}"
    )


def merge_windows(target: str, staging: str) -> str:
    """MERGE of final windows: new ones come in; one that is there already stays as it is."""
    return f"{_merge_into(target, staging, WINDOWS)} {_insert(WINDOWS)}"


def differing_windows(target: str, staging: str) -> str:
    """The staged windows that the table holds otherwise; none, unless a flow's ticks were analysed twice."""
    values = [name for name in WINDOWS.column_names if name not in WINDOWS.key]
    return (
        f"SELECT {', '.join(f'S.{name}' for name in WINDOWS.key)} FROM {target} AS T "
        f"JOIN {staging} AS S ON {_same_key(WINDOWS)} WHERE {_differ(values)} "
        f"ORDER BY {', '.join(f'S.{name}' for name in WINDOWS.key)}"
    )


BAR_VALUES = (
    "SYMBOL", "SESSION_DATE", "OPEN", "HIGH", "LOW", "CLOSE", "ADJ_CLOSE", "VOLUME", "DIVIDENDS", "STOCK_SPLITS",
    "SOURCE",
)  # fmt: skip
"""The arguments of `ticklake.records.row_hash`, in order."""


def read_back(target: str, staging: str) -> str:
    """For every staged row the row that the table holds now, by symbol and session.

    Columns: the bar's values, BATCH_ID, then whether the row is the staged one (1) or goes before it (0).
    """
    return (
        f"SELECT {', '.join(f'T.{name}' for name in BAR_VALUES)}, T.BATCH_ID, S.ROW_HASH, "
        f"CASE WHEN {GOES_BEFORE} THEN 1 ELSE 0 END AS TAKEN FROM {target} AS T "
        f"JOIN {staging} AS S ON {_same_key(DAILY)} ORDER BY T.SYMBOL, T.SESSION_DATE"
    )


def _merge_into(target: str, staging: str, table: Table) -> str:
    return f"MERGE INTO {target} AS T USING {staging} AS S ON {_same_key(table)}"


def _same_key(table: Table) -> str:
    return " AND ".join(f"T.{name} = S.{name}" for name in table.key)


def _differ(values: list[str]) -> str:
    return " OR ".join(f"T.{name} IS DISTINCT FROM S.{name}" for name in values)


def _insert(table: Table) -> str:
    columns = ", ".join(table.column_names)
    return f"WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({', '.join(f'S.{name}' for name in table.column_names)})"
