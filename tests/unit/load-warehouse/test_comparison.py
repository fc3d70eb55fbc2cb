"""As many rows are not the same rows."""

from datetime import date
from types import SimpleNamespace
from typing import Any

from load_warehouse.comparison import Comparison
from ticklake.lineage import SymbolResult

DAYS = [date(2024, 1, day) for day in (2, 3, 4)]
NONE: Any = None


def comparison() -> Comparison:
    records: Any = {"fetch-historical": SimpleNamespace(symbols={"A": SymbolResult(rows=3, checksum="c")})}
    return Comparison(NONE, NONE, NONE, records)


def test_rows_of_another_checksum_are_a_fault_though_they_are_as_many() -> None:
    compared = comparison()
    compared._against_record("fetch-historical", "A", 3, "c", "the raw CSV holds")
    assert compared.faults == []
    compared._against_record("fetch-historical", "A", 3, "d", "the raw CSV holds")
    compared._against_record("fetch-historical", "A", 2, "c", "the raw CSV holds")
    assert compared.faults == [
        "fetch-historical A: the raw CSV holds 3 rows of another checksum than its record",
        "fetch-historical A: its record says 3 rows, the raw CSV holds 2",
    ]


def test_missing_extra_and_different_rows_are_each_named() -> None:
    before, other = dict.fromkeys(DAYS[:2], "a"), date(2024, 1, 5)
    assert comparison()._differ("load-warehouse", "A", "BARS", before, dict(before)) == []
    after = {DAYS[1]: "b", other: "a"}
    assert comparison()._differ("load-warehouse", "A", "BARS", before, after) == [
        "load-warehouse A: BARS: 2 rows against 2 before: "
        "1 missing (2024-01-02), 1 extra (2024-01-05), 1 different (2024-01-03)"
    ]
