"""The statements that bring a staging table's rows into the table they are for.

They are written in what Snowflake and the local server both run alike: qualified names, plain columns of the source as
values, every condition in its WHEN clause. A transaction can have one MERGE, as its first statement: the local server
makes a helper table for it, which ends the transaction before.
"""
# ruff: noqa: S608 - identifiers are this package's own and the checked database name; values are parameters

from collections.abc import Collection, Sequence

from load_warehouse.schema import ACTIONS, BARS, Table

_FATES = {
    BARS.name: "CASE WHEN CHANGE = 'revision' THEN 'revised' ELSE 'new' END",
    ACTIONS.name: "CASE WHEN WITHDRAWN THEN 'withdrawn' "
    "WHEN MIN(KNOWN_AT) OVER (PARTITION BY SYMBOL, SOURCE, EX_DATE, KIND) < KNOWN_AT THEN 'revised' "
    "ELSE 'new' END",
}
"""What a version of a fact is to those before it."""


def of_symbols(symbols: Collection[str], source: str) -> tuple[str, tuple[str, ...]]:
    """The condition of rows of these symbols from this source, and its parameters."""
    return f"SOURCE = %s AND SYMBOL IN ({', '.join(['%s'] * len(symbols))})", (source, *symbols)


def mirror(target: str, staging: str, table: Table) -> str:
    """MERGE: new rows come in, those that differ in any value are replaced, equal ones are left alone."""
    return (
        f"{_merge_into(target, staging, table)} WHEN MATCHED AND ({_differ(table.compared)}) THEN UPDATE SET "
        f"{', '.join(f'T.{name} = S.{name}' for name in table.value_names)} {_insert(table)}"
    )


def withdraw(target: str, staging: str, table: Table) -> str:
    """DELETE of the rows of staged symbols whose key is not staged."""
    key = ", ".join(table.key)
    return (
        f"DELETE FROM {target} WHERE (SYMBOL, SOURCE) IN (SELECT SYMBOL, SOURCE FROM {staging}) "
        f"AND ({key}) NOT IN (SELECT {key} FROM {staging})"
    )


def fates(target: str, staging: str, table: Table) -> str:
    """How many staged facts the table lacks, by what they are: new, revised or withdrawn."""
    return (
        f"SELECT FATE, COUNT(*) FROM (SELECT *, {_FATES[table.name]} AS FATE FROM {staging}) AS S "
        f"WHERE {_absent(target, table)} GROUP BY FATE"
    )


def append(target: str, staging: str, table: Table) -> str:
    """INSERT of the staged rows whose key the table lacks."""
    columns = ", ".join(table.column_names)
    return (
        f"INSERT INTO {target} ({columns}) SELECT {', '.join(f'S.{name}' for name in table.column_names)} "
        f"FROM {staging} AS S WHERE {_absent(target, table)}"
    )


def unlike(target: str, staging: str, table: Table) -> str:
    """The keys of staged rows that the table lacks, or holds with another value in a column that is compared."""
    key = ", ".join(f"S.{name}" for name in table.key)
    return (
        f"SELECT {key} FROM {staging} AS S LEFT JOIN {target} AS T ON {_same_key(table)} "
        f"WHERE T.SYMBOL IS NULL OR {_differ(table.compared)} ORDER BY {key} LIMIT 1"
    )


def count(target: str, staging: str) -> str:
    """How many rows the table has of the staged symbols."""
    return f"SELECT COUNT(*) FROM {target} WHERE (SYMBOL, SOURCE) IN (SELECT SYMBOL, SOURCE FROM {staging})"


def remove(target: str, keys: str, table: Table) -> str:
    """DELETE of the rows whose key is in the table `keys`."""
    key = ", ".join(table.key)
    return f"DELETE FROM {target} WHERE ({key}) IN (SELECT {key} FROM {keys})"


def remove_others(target: str, staging: str | None, table: Table) -> str:
    """DELETE of the rows of a flow (the parameter) whose key is not staged; of all where nothing is."""
    key = ", ".join(table.key)
    others = f" AND ({key}) NOT IN (SELECT {key} FROM {staging})" if staging else ""
    return f"DELETE FROM {target} WHERE FLOW = %s{others}"


def _merge_into(target: str, staging: str, table: Table) -> str:
    return f"MERGE INTO {target} AS T USING {staging} AS S ON {_same_key(table)}"


def _absent(target: str, table: Table) -> str:
    return f"NOT EXISTS (SELECT 1 FROM {target} AS T WHERE {_same_key(table)})"


def _same_key(table: Table) -> str:
    return " AND ".join(f"T.{name} = S.{name}" for name in table.key)


def _differ(values: Sequence[str]) -> str:
    return " OR ".join(f"T.{name} IS DISTINCT FROM S.{name}" for name in values)


def _insert(table: Table) -> str:
    columns = ", ".join(table.column_names)
    return f"WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({', '.join(f'S.{name}' for name in table.column_names)})"
